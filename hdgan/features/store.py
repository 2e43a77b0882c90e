"""Features on disk, as the generator made them: a zarr group per latent, an array per layer, read upsampled.

At 4096 px and 496 channels an image's features take 0.97 GiB in half precision; upsampled they would take 15.5 GiB.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from hdgan.features.patch import Floats, Patch, check_window, gather, native_span, upsample
from tiling.errors import InputError
from tiling.files import replacing, write_json
from tiling.stage import completed
from tiling.wording import quoted

ARRAYS, DESCRIPTION = "features.zarr", "zarr.json"
_CHUNK = 256  # px: a chunk of a full-resolution layer is 1 to 4 MiB
_BLOCK = 512  # px: single pixels are gathered block by block, so that a few of them do not read a whole map


class FeatureStore:
    """Features of every latent, read by window or by pixel.

    Attributes
    ----------
    path
        The folder that `extract` made.
    layers
        {layer: channels}, from low to high resolution: the order of channels wherever layers are joined.
    shape
        (H, W) of the images in px.
    seeds
        (N,) int64: the latents' seeds.
    latents
        Fingerprints of the N latents, see :meth:`hdgan.Latents.fingerprint`.
    generator
        Fingerprint of the generator whose features they are.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        root = zarr.open_group(path / ARRAYS, mode="r")
        self.layers: dict[str, int] = {entry["name"]: entry["channels"] for entry in root.attrs["layers"]}
        self.shape: tuple[int, int] = tuple(root.attrs["shape"])
        self.seeds: npt.NDArray[np.int64] = np.asarray(root.attrs["seeds"], np.int64)
        self.latents: tuple[str, ...] = tuple(root.attrs["latents"])
        self.generator: str = root.attrs["generator"]
        self._arrays: dict[tuple[int, str], Any] = {}

    @classmethod
    def open(cls, path: str | Path) -> FeatureStore:
        """Open the folder of a finished extraction; an unfinished one is an :class:`InputError`."""
        completed(Path(path), made_by=f"hdgan features --study {quoted(Path(path).parent)}")
        return cls(Path(path))

    def __len__(self) -> int:
        return len(self.seeds)

    @property
    def channels(self) -> int:
        """Channels of all layers together."""
        return sum(self.layers.values())

    def native(self, i: int, layer: str) -> npt.NDArray[np.floating[Any]]:
        """One layer of latent `i` as it is stored: (C, h', w') float16 or float32."""
        values: npt.NDArray[np.floating[Any]] = self._array(i, layer)[:]
        return values

    def patch(self, i: int, *, y: int, x: int, h: int, w: int) -> dict[str, Patch]:
        """The native pixels of every layer that the window at (y, x) of (h, w) image px needs."""
        check_window(y, x, h, w, self.shape)
        return {layer: self._layer_patch(self._array(i, layer), y, x, h, w) for layer in self.layers}

    def window(self, i: int, *, y: int, x: int, h: int, w: int) -> Floats:
        """(C, h, w) float32: the upsampled features of a window, layers in order."""
        patches = self.patch(i, y=y, x=x, h=h, w=w)
        return np.concatenate([upsample(patch, y=y, x=x, h=h, w=w) for patch in patches.values()])

    def pixels(self, i: int, ys: npt.ArrayLike, xs: npt.ArrayLike) -> Floats:
        """(n, C) float32: the upsampled features of single pixels, gathered from the native maps."""
        rows, columns = np.asarray(ys, np.int64), np.asarray(xs, np.int64)
        if rows.ndim != 1 or rows.shape != columns.shape:
            raise InputError(f"ys and xs must be two lists of one length, not {rows.shape} and {columns.shape}")
        result = np.empty((self.channels, len(rows)), np.float32)
        block = rows // _BLOCK * (self.shape[1] // _BLOCK + 1) + columns // _BLOCK
        for number in np.unique(block):
            chosen = np.flatnonzero(block == number)
            y, x = rows[chosen], columns[chosen]
            top, left = int(y.min()), int(x.min())
            patches = self.patch(i, y=top, x=left, h=int(y.max()) - top + 1, w=int(x.max()) - left + 1)
            result[:, chosen] = np.concatenate([gather(patch, y, x) for patch in patches.values()])
        return result.T

    def _array(self, i: int, layer: str) -> Any:
        if not 0 <= i < len(self):
            raise InputError(f"latent {i} is not in {self.path}, which holds 0 to {len(self) - 1}")
        if layer not in self.layers:
            raise InputError(f"layer {layer!r} is not in {self.path}, which holds {', '.join(self.layers)}")
        if (i, layer) not in self._arrays:
            self._arrays[i, layer] = zarr.open_array(self.path / ARRAYS / self.latents[i] / layer, mode="r")
        return self._arrays[i, layer]

    def _layer_patch(self, array: Any, y: int, x: int, h: int, w: int) -> Patch:
        """Read what lies within the map, then repeat its border where the patch reaches one pixel past it."""
        height, width = array.shape[1:]
        scale = self.shape[0] // height
        (top, bottom), (left, right) = native_span(y, h, scale), native_span(x, w, scale)
        values = array[:, max(top, 0) : min(bottom, height), max(left, 0) : min(right, width)]
        outside = [(max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0))]
        return Patch(np.pad(values, [(0, 0), *outside], mode="edge"), top, left, scale)


def stored_latents(folder: Path) -> set[str]:
    """Fingerprints of the latents whose features are in the folder of an extraction, finished or not."""
    return {entry.name for entry in (folder / ARRAYS).glob("[!.]*") if entry.is_dir()}


def describe(
    root: Path,
    *,
    layers: Mapping[str, int],
    shape: tuple[int, int],
    seeds: Sequence[int],
    latents: Sequence[str],
    generator: str,
) -> None:
    """Write the root group, with what a store needs to know as zarr attributes: of its layers, and whose they are."""
    entries = [{"name": name, "channels": channels} for name, channels in layers.items()]
    attributes = {"layers": entries, "shape": list(shape), "seeds": list(seeds), "latents": list(latents)}
    attributes["generator"] = generator
    write_json(root / DESCRIPTION, {"zarr_format": 3, "node_type": "group", "attributes": attributes})


def write_latent(root: Path, latent: str, layers: Mapping[str, npt.NDArray[np.floating[Any]]], seed: int) -> None:
    """Add a latent's group, each layer one file of uncompressed chunks; the group appears when it is whole.

    Features are noise to a compressor (a tenth gained), and uncompressed chunks are read six times faster.
    """
    with replacing(root / latent) as partial:
        group = zarr.open_group(partial, mode="w", zarr_format=3, attributes={"seed": seed})
        for name, values in layers.items():
            chunks = (values.shape[0], min(_CHUNK, values.shape[1]), min(_CHUNK, values.shape[2]))
            array = group.create_array(
                name, shape=values.shape, dtype=values.dtype, chunks=chunks, shards=values.shape, compressors=None
            )
            array[:] = values
