"""Features on disk, as the generator made them: a folder per latent, a map per layer, read upsampled.

At 4096 px and 496 channels an image's features take 0.97 GiB in half precision; upsampled they would take 15.5 GiB.
"""

from __future__ import annotations

import functools
import resource
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.features.features import Features
from hdgan.features.maps import NativeMap, PlainMap, ShardMap, patch_of
from hdgan.features.patch import Patch, check_window
from tiling.errors import InputError
from tiling.files import read_json, write_json
from tiling.stage import completed
from tiling.wording import quoted

_MOST_FILES = 4096  # that are kept mapped, if the process may have as many


@dataclass(frozen=True)
class Kind:
    """How features are kept: folder below the stage's, file there that tells of them, and what reads a map."""

    folder: str
    description: str
    read: Callable[[Path, str], NativeMap] | None = None

    def describe(self, path: Path, attributes: Mapping[str, Any]) -> None:
        """Write what a store needs to know beside its maps."""
        file = path / self.folder / self.description
        group = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
        write_json(file, group if self.description == "zarr.json" else attributes)

    def described(self, path: Path) -> dict[str, Any]:
        """What :meth:`describe` was given."""
        content = read_json(path / self.folder / self.description)
        return dict(content["attributes"] if self.description == "zarr.json" else content)


_ZARR = Kind("features.zarr", "zarr.json", ShardMap)
STORES = {
    "zarr": _ZARR,
    "zarr-zstd": _ZARR,
    "memmap": Kind("maps", "features.json", PlainMap),
    "none": Kind("resynthesis", "features.json"),
}


class FeatureStore(Features):
    """Features of every latent, stored: see :class:`hdgan.features.Features` for what can be read of them."""

    def __init__(self, path: Path) -> None:
        kind = kind_of(path)
        if kind is None or kind.read is None:
            raise InputError(f"{path} holds no features; they are made again by `hdgan.features.open_features`")
        self.path, self._root, self._read = path, path / kind.folder, kind.read
        attributes = kind.described(path)
        self.layers: dict[str, int] = {entry["name"]: entry["channels"] for entry in attributes["layers"]}
        self.shape: tuple[int, int] = tuple(attributes["shape"])
        self.seeds: npt.NDArray[np.int64] = np.asarray(attributes["seeds"], np.int64)
        self.latents: tuple[str, ...] = tuple(attributes["latents"])
        self.generator: str = attributes["generator"]
        latents_at_once = max(_files_at_once() // len(self.layers), 1)
        self._maps = functools.lru_cache(latents_at_once)(self._open_maps)

    @classmethod
    def open(cls, path: str | Path) -> FeatureStore:
        """Open the folder of a finished extraction; an unfinished one is an :class:`InputError`."""
        completed(Path(path), made_by=f"hdgan features --study {quoted(Path(path).parent)}")
        return cls(Path(path))

    def native(self, i: int, layer: str) -> npt.NDArray[np.floating[Any]]:
        """One layer of latent `i`: (C, h', w') float16 or float32."""
        self._check(i, layer)
        native = self._maps(i)[layer]
        return np.ascontiguousarray(native.read((0, native.shape[1]), (0, native.shape[2])))

    def patch(self, i: int, *, y: int, x: int, h: int, w: int) -> dict[str, Patch]:
        """The native pixels of every layer that the window at (y, x) of (h, w) image px needs."""
        self._check(i)
        check_window(y, x, h, w, self.shape)
        return {
            layer: patch_of(native, scale=self.shape[0] // native.shape[1], y=y, x=x, h=h, w=w)
            for layer, native in self._maps(i).items()
        }

    def _open_maps(self, i: int) -> dict[str, NativeMap]:
        return {layer: self._read(self._root / self.latents[i], layer) for layer in self.layers}


def _files_at_once() -> int:
    """How many files a store may keep open: half of what the process may, as there may be two stores."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_FILES if allowed == resource.RLIM_INFINITY else min(allowed // 2, _MOST_FILES)


def kind_of(path: Path) -> Kind | None:
    """How features are kept in the folder of an extraction, finished or not; None of a folder without any."""
    return next((kind for kind in STORES.values() if (path / kind.folder).is_dir()), None)


def stored_latents(folder: Path) -> set[str]:
    """Fingerprints of the latents whose features are in the folder of an extraction, finished or not."""
    kind = kind_of(folder)
    if kind is None:
        return set()
    if kind.read is None:
        return set(kind.described(folder)["latents"]) if (folder / kind.folder / kind.description).exists() else set()
    return {entry.name for entry in (folder / kind.folder).glob("[!.]*") if entry.is_dir()}


def attributes_of(
    *, layers: Mapping[str, int], shape: tuple[int, int], seeds: Sequence[int], latents: Sequence[str], generator: str
) -> dict[str, Any]:
    """What is to be known of features besides their values: of their layers, and whose they are."""
    entries = [{"name": name, "channels": channels} for name, channels in layers.items()]
    return {
        "layers": entries,
        "shape": list(shape),
        "seeds": list(seeds),
        "latents": list(latents),
        "generator": generator,
    }
