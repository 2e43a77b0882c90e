"""Where pairs are kept: one zarr store, or folders of PNG or OME-TIFF files. A new format is one class and one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tifffile
import zarr

from hdgan.labels import ClassList, Image, LabelMap
from hdgan.pairs.png_rows import PngRows
from hdgan.pairs.pyramid import TILE, averaged, majority, writing_pyramid
from hdgan.pairs.strips import HalfMap, Strip, banded
from tiling.errors import InputError
from tiling.files import replacing, sweep_partials
from tiling.png import open_png

_CHUNK = 512  # px: of zarr's chunks, of which a row across the image is a shard
_ROWS = 64  # that are filtered and compressed together in a PNG
_FOLDERS = ("images", "masks", "uncertainty")


class PairFormat(Protocol):
    """Keeps the images (H, W, 3) uint8, masks (H, W) uint8 and uncertainties (H, W) float16 of numbered pairs.

    It can be pickled, so that workers write, too: each pair is written by one of them.
    """

    def prepare(self, n: int, size: int) -> None:
        """Make room for n pairs of size x size px, keeping those that are there."""

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""

    def write(self, i: int, size: int, strips: Iterable[Strip]) -> None:
        """Keep pair i, of size x size px, in place of what may be left of an earlier attempt.

        Its strips are taken one by one, from above, as they are written: no more than some are in memory.
        """

    def image(self, i: int) -> Image:
        """Read an image."""

    def mask(self, i: int) -> LabelMap:
        """Read a mask."""

    def uncertainty(self, i: int) -> HalfMap:
        """Read an uncertainty map."""


class ZarrPairs:
    """`pairs.zarr`: arrays image (N, H, W, 3), mask and uncertainty (N, H, W), in chunks of an image or 512 px of it.

    Of larger images a row of chunks is a shard, and so a file.
    """

    def __init__(self, folder: Path, classes: ClassList) -> None:
        self._root = folder / "pairs.zarr"
        self._classes = classes
        self._arrays: dict[str, Any] = {}

    def prepare(self, n: int, size: int) -> None:
        """Create the arrays, or let them grow."""
        group = zarr.open_group(self._root, mode="a", zarr_format=3)
        group.update_attributes({"classes": [{"name": c.name, "colour": list(c.colour)} for c in self._classes]})
        edge = min(size, _CHUNK)
        for name, dtype, colours in (("image", "uint8", (3,)), ("mask", "uint8", ()), ("uncertainty", "float16", ())):
            shape = (n, size, size, *colours)
            shards = (1, edge, size, *colours) if size > edge else None
            if name in group:
                group[name].resize(shape)
            else:
                group.create_array(name, shape=shape, chunks=(1, edge, edge, *colours), shards=shards, dtype=dtype)
        self._arrays.clear()

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        for left in self._root.rglob("*.partial"):  # zarr writes every file under such a name first
            left.unlink()

    def write(self, i: int, size: int, strips: Iterable[Strip]) -> None:
        """Write pair i, whole chunks at a time, after `prepare`."""
        arrays = [zarr.open_array(self._root / name, mode="r+") for name in ("image", "mask", "uncertainty")]
        y = 0
        for strip in banded(strips, (arrays[0].shards or arrays[0].chunks)[1]):
            for array, rows in zip(arrays, strip.arrays, strict=True):
                array[i, y : y + len(strip)] = rows
            y += len(strip)

    def image(self, i: int) -> Image:
        """(H, W, 3) uint8."""
        return np.asarray(self._array("image")[i])

    def mask(self, i: int) -> LabelMap:
        """(H, W) uint8."""
        return np.asarray(self._array("mask")[i])

    def uncertainty(self, i: int) -> HalfMap:
        """(H, W) float16."""
        return np.asarray(self._array("uncertainty")[i])

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = zarr.open_array(self._root / name, mode="r")
        return self._arrays[name]


class PngPairs:
    """`images/` and `masks/` of PNG files, masks with the classes' colours as palette, and `uncertainty/` of .npy."""

    def __init__(self, folder: Path, classes: ClassList) -> None:
        self._folder, self._palette = folder, classes.colour_table().tobytes()

    def prepare(self, n: int, size: int) -> None:
        """Files need no room."""

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        _sweep(self._folder)

    def write(self, i: int, size: int, strips: Iterable[Strip]) -> None:
        """Write the three files of pair i, row by row."""
        with contextlib.ExitStack() as stack:
            partials = [stack.enter_context(replacing(self._path(kind, i))) for kind in _FOLDERS]
            files = [stack.enter_context(partial.open("wb")) for partial in partials]
            image, mask = PngRows(files[0], size, size), PngRows(files[1], size, size, palette=self._palette)
            header = {"descr": "<f2", "fortran_order": False, "shape": (size, size)}
            np.lib.format.write_array_header_1_0(files[2], header)
            for strip in banded(strips, _ROWS):
                image.add(strip.image)
                mask.add(strip.mask)
                files[2].write(strip.uncertainty.astype("<f2").tobytes())
            image.finish()
            mask.finish()

    def image(self, i: int) -> Image:
        """(H, W, 3) uint8."""
        return _read_png(self._path("images", i))

    def mask(self, i: int) -> LabelMap:
        """(H, W) uint8."""
        return _read_png(self._path("masks", i))

    def uncertainty(self, i: int) -> HalfMap:
        """(H, W) float16."""
        values: HalfMap = np.load(self._path("uncertainty", i))
        return values

    def _path(self, kind: str, i: int) -> Path:
        return self._folder / kind / f"{i:06d}{'.npy' if kind == 'uncertainty' else '.png'}"


class OmeTiffPairs:
    """`images/`, `masks/` and `uncertainty/` of deflated OME-TIFF; uncertainty as float32, as OME has no half.

    Images of more than 512 px are in tiles, and have coarser levels: averaged, or of a mask the class of most pixels.
    """

    def __init__(self, folder: Path, classes: ClassList) -> None:
        self._folder, self._classes = folder, classes

    def prepare(self, n: int, size: int) -> None:
        """Files need no room."""

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        _sweep(self._folder)

    def write(self, i: int, size: int, strips: Iterable[Strip]) -> None:
        """Write the three files of pair i."""
        names = ", ".join(f"{k}: {name}" for k, name in enumerate(self._classes.names))
        paths, shape = [self._path(kind, i) for kind in _FOLDERS], (size, size)
        with (
            writing_pyramid(paths[0], (size, size, 3), np.uint8, halve=averaged) as add_image,
            writing_pyramid(paths[1], shape, np.uint8, halve=majority, description=f"classes: {names}") as add_mask,
            writing_pyramid(paths[2], shape, np.float32, halve=averaged) as add_uncertainty,
        ):
            for strip in banded(strips, min(size, TILE)):
                add_image(strip.image)
                add_mask(strip.mask)
                add_uncertainty(strip.uncertainty.astype(np.float32))

    def image(self, i: int) -> Image:
        """(H, W, 3) uint8."""
        return np.asarray(tifffile.imread(self._path("images", i)))

    def mask(self, i: int) -> LabelMap:
        """(H, W) uint8."""
        return np.asarray(tifffile.imread(self._path("masks", i)))

    def uncertainty(self, i: int) -> HalfMap:
        """(H, W) float16."""
        return np.asarray(tifffile.imread(self._path("uncertainty", i))).astype(np.float16)

    def _path(self, kind: str, i: int) -> Path:
        return self._folder / kind / f"{i:06d}.ome.tiff"


FORMATS: dict[str, Callable[[Path, ClassList], PairFormat]] = {
    "zarr": ZarrPairs,
    "ome-tiff": OmeTiffPairs,
    "png": PngPairs,
}


def pair_format(name: str, folder: Path, classes: ClassList) -> PairFormat:
    """The format of that name, in a folder."""
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, not {name!r}")
    return FORMATS[name](folder, classes)


def _sweep(folder: Path) -> None:
    for kind in _FOLDERS:
        sweep_partials(folder / kind)


def _read_png(path: Path) -> npt.NDArray[np.uint8]:
    with open_png(path) as picture:
        return np.array(picture)
