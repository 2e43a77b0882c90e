"""Slides that the tests make themselves."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiling.progress import set_quiet


@pytest.fixture(autouse=True)
def _quiet():
    set_quiet(True)
    yield
    set_quiet(False)


def _stained(width: int, height: int, seed: int = 0) -> np.ndarray:
    """A pink, textured disc on white glass, filling about half of the picture: (height, width, 3) uint8."""
    y, x = np.mgrid[0:height, 0:width]
    inside = ((x - width / 2) / width) ** 2 + ((y - height / 2) / height) ** 2 < 0.16
    texture = np.random.default_rng(seed).integers(-20, 20, (height, width, 1))
    tissue = np.clip(np.array([205, 110, 165]) + texture, 0, 255)
    return np.where(inside[..., None], tissue, 244).astype(np.uint8)


def _save(path: Path, pixels: np.ndarray) -> Path:
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture(scope="session")
def stained() -> Callable[..., np.ndarray]:
    return _stained


@pytest.fixture(scope="session")
def save() -> Callable[[Path, np.ndarray], Path]:
    return _save


@pytest.fixture
def stopped() -> Callable[..., AbstractContextManager[None]]:
    """`with stopped(owner, name, after=n):` is a block that ends as Ctrl-C ends it, after so many calls of a function.

    After none, it ends where the function would be called first.
    """

    @contextmanager
    def stopping(owner: object, name: str, *, after: int = 1) -> Iterator[None]:
        function, calls = getattr(owner, name), itertools.count(1)

        def called(*arguments: Any, **options: Any) -> Any:
            given = function(*arguments, **options) if after else None
            if next(calls) >= after:
                raise KeyboardInterrupt
            return given

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(owner, name, called)
            with pytest.raises(KeyboardInterrupt):
                yield

    return stopping


@pytest.fixture
def png(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str = "slide.png", width: int = 600, height: int = 500, seed: int = 0) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return _save(path, _stained(width, height, seed))

    return make


@pytest.fixture
def pyramid(tmp_path: Path) -> tuple[Path, list[np.ndarray]]:
    """A tiled JPEG TIFF of three levels, 0.5 micrometres per pixel, with an emoji in its name; and its pixels."""
    path = tmp_path / "biopsy 🔬.tiff"
    full = _stained(1024, 768)
    levels = [full] + [full.reshape(768 // f, f, 1024 // f, f, 3).mean((1, 3)).astype(np.uint8) for f in (2, 4)]
    with tifffile.TiffWriter(path) as file:
        for index, pixels in enumerate(levels):
            file.write(
                pixels,
                tile=(128, 128),
                photometric="rgb",
                compression="jpeg",
                compressionargs={"level": 90},
                resolution=(20000 / 2**index, 20000 / 2**index),
                resolutionunit="CENTIMETER",
                subfiletype=1 if index else 0,
                metadata=None,
            )
    return path, [page.asarray() for page in tifffile.TiffFile(path).pages]
