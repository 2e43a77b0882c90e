"""Native feature maps written window by window, each pixel once, straight from tensors."""

from __future__ import annotations

import functools
import itertools
import math
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import google_crc32c
import imagecodecs
import numpy as np
import torch
import zarr
from torch import Tensor
from zarr.codecs import TransposeCodec, ZstdCodec

from hdgan.features.maps import CHANNELS_LAST, PlainMap, plain_path, scale_path, shard_path
from hdgan.features.patch import Patch, Window
from tiling.errors import InputError
from tiling.files import remove

WINDOW = 512
"""Edge of the windows that a store is written in, image px."""
CHUNK = 256
"""Edge of what a zarr chunk covers, image px at every scale: a chunk is 64 KiB to 1 MiB at 4096 px."""
_LEVEL = 3  # of zstd
_INT8 = 127
_SPOOL = ".spool"


@dataclass(frozen=True, eq=False)
class MapPlan:
    """What a map (C, H', W') is to be in its file: its layer, type, edge of its chunks, and for int8 its scale (C,)."""

    layer: str
    shape: tuple[int, int, int]
    dtype: str
    chunk: int
    scale: Tensor | None = None

    @classmethod
    def of(cls, layer: str, channels: int, size: int, resolution: int, dtype: str) -> MapPlan:
        """For a map of `size` px of an image of `resolution` px."""
        return cls(layer, (channels, size, size), dtype, max(min(CHUNK, resolution) * size // resolution, 1))

    def encoded(self, values: Tensor) -> Tensor:
        """Floats (C, h, w) as they are to be in the file: (h, w, C), of its type."""
        if self.scale is not None:
            values = (values / self.scale[:, None, None]).round_()
        return values.permute(CHANNELS_LAST).to(getattr(torch, self.dtype)).contiguous()


class MapWriter(Protocol):
    """Takes a map chunk by chunk, window after window."""

    def write(self, encoded: Tensor, y: int, x: int) -> None:
        """Write a chunk as :meth:`MapPlan.encoded` gave it, at native row `y` and column `x`."""
        ...

    def close(self) -> None:
        """End the file, of which every pixel has been written."""
        ...


class PlainWriter:
    """Writes what :class:`hdgan.features.maps.PlainMap` reads."""

    def __init__(self, folder: Path, plan: MapPlan) -> None:
        self._plan = plan
        if plan.scale is not None:
            np.save(scale_path(folder, plan.layer), plan.scale.numpy())
        channels, *size = plan.shape
        path = plain_path(folder, plan.layer)
        self._array = np.lib.format.open_memmap(path, mode="w+", dtype=plan.dtype, shape=(*size, channels))

    def write(self, encoded: Tensor, y: int, x: int) -> None:
        """See :class:`MapWriter`."""
        h, w, _ = encoded.shape
        self._array[y : y + h, x : x + w] = encoded.numpy()
        if x + w == self._plan.shape[2]:  # of a row of windows that is done this process keeps nothing
            mapped: Any = self._array
            mapped._mmap.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """See :class:`MapWriter`."""


class ShardWriter:
    """Writes what :class:`hdgan.features.maps.ShardMap` reads: chunk after chunk, and their index at the end.

    zarr-python takes a shard as a whole, or reads it and writes it anew for every window.
    """

    def __init__(self, folder: Path, plan: MapPlan, *, zstd: bool = False) -> None:
        self._plan, self._zstd = plan, zstd
        channels, *size = plan.shape
        zarr.open_group(folder, mode="a").create_array(
            plan.layer,
            shape=plan.shape,
            dtype=plan.dtype,
            chunks=(channels, plan.chunk, plan.chunk),
            shards=plan.shape,
            filters=TransposeCodec(order=CHANNELS_LAST),
            compressors=ZstdCodec(level=_LEVEL) if zstd else None,
            attributes={} if plan.scale is None else {"scale": plan.scale.tolist()},
        )
        path = shard_path(folder, plan.layer)
        path.parent.mkdir(parents=True)
        self._file = path.open("wb")
        self._index = np.zeros((size[0] // plan.chunk, size[1] // plan.chunk, 2), "<u8")

    def write(self, encoded: Tensor, y: int, x: int) -> None:
        """See :class:`MapWriter`."""
        content: Any = encoded.numpy()
        if self._zstd:
            content = imagecodecs.zstd_encode(content.tobytes(), level=_LEVEL)
        place = self._file.tell()
        self._file.write(content)
        self._index[y // self._plan.chunk, x // self._plan.chunk] = place, self._file.tell() - place

    def close(self) -> None:
        """See :class:`MapWriter`."""
        index = self._index.tobytes()
        self._file.write(index + google_crc32c.value(index).to_bytes(4, "little"))
        self._file.close()


WRITERS: dict[str, Callable[[Path, MapPlan], MapWriter]] = {
    "zarr": ShardWriter,
    "zarr-zstd": functools.partial(ShardWriter, zstd=True),
    "memmap": PlainWriter,
}


def write_latent(folder: Path, windows: Iterable[Window], plans: Mapping[str, MapPlan], store: str, seed: int) -> None:
    """Write the layers of a latent into a folder that is not there yet.

    Parameters
    ----------
    folder
        The latent's.
    windows
        Those of the image, row by row, of `WINDOW` px or of the coarsest layer's pixels where these are larger.
    plans
        {layer: what it is to be}.
    store
        One of `WRITERS`.
    seed
        The latent's; noted in a zarr group.

    Raises
    ------
    InputError
        For features that float16 cannot hold, where that is the type, or int8.

    Notes
    -----
    The scale of an int8 channel must be known before its first value is written, and is that of its largest value,
    which the last window may hold. So the windows go to float16 files first, which are read again when the largest are
    known: the network, which costs the most, runs once, and nothing is clipped, as it would be by a scale from other
    latents or from the first windows.
    """
    folder.mkdir(parents=True)
    if store != "memmap":
        zarr.open_group(folder, mode="w", zarr_format=3, attributes={"seed": seed})
    if all(plan.dtype != "int8" for plan in plans.values()):
        _write_windows(folder, windows, plans, store, seed)
        return
    spool = folder / _SPOOL
    spool.mkdir()
    halves = {layer: replace(plan, dtype="float16") for layer, plan in plans.items()}
    largest = {layer: torch.zeros(plan.shape[0]) for layer, plan in plans.items()}
    _write_windows(spool, _watched(windows, largest), halves, "memmap", seed)
    for layer, plan in plans.items():
        scale = largest[layer] / _INT8
        scale[scale == 0] = 1  # of a channel that is 0 throughout
        scaled = replace(plan, scale=scale)
        _convert(PlainMap(spool, layer), WRITERS[store](folder, scaled), scaled)
    remove(spool)


def _write_windows(
    folder: Path, windows: Iterable[Window], plans: Mapping[str, MapPlan], store: str, seed: int
) -> None:
    """Write them as they come."""
    writers = {layer: WRITERS[store](folder, plan) for layer, plan in plans.items()}
    for window in windows:
        for layer, patch in window.features.items():
            values, y, x = _own(patch, window)
            for piece, top, left in _chunks(values, plans[layer].chunk):
                encoded = plans[layer].encoded(piece)
                if plans[layer].dtype == "float16":
                    _check_half(encoded, values, layer, seed)
                writers[layer].write(encoded, y + top, x + left)
    for writer in writers.values():
        writer.close()


def _watched(windows: Iterable[Window], largest: Mapping[str, Tensor]) -> Iterator[Window]:
    """The same windows; when the last has passed, `largest` holds the magnitudes (C,) of each layer."""
    for window in windows:
        for layer, patch in window.features.items():
            here = _own(patch, window)[0].flatten(1).abs().amax(dim=1)
            torch.maximum(largest[layer], here, out=largest[layer])
        yield window


def _own(patch: Patch, window: Window) -> tuple[Tensor, int, int]:
    """The native pixels that lie in a window, without those that it shares with its neighbours, and their place."""
    y, x = window.y // patch.scale, window.x // patch.scale
    h, w = (edge // patch.scale for edge in window.image.shape[:2])
    top, left = y - patch.y0, x - patch.x0
    return patch.values[:, top : top + h, left : left + w].float().cpu(), y, x


def _chunks(values: Tensor, edge: int) -> Iterator[tuple[Tensor, int, int]]:
    """Pieces (C, edge, edge) of (C, h, w), and where each begins."""
    for top, left in itertools.product(*(range(0, length, edge) for length in values.shape[1:])):
        yield values[:, top : top + edge, left : left + edge], top, left


def _convert(source: PlainMap, target: MapWriter, plan: MapPlan) -> None:
    """Copy a map, some chunks at a time."""
    _, height, width = plan.shape
    for y in range(0, height, plan.chunk):
        values = source.read((y, y + plan.chunk), (0, width))
        for piece, _, x in _chunks(torch.from_numpy(values.astype(np.float32)), plan.chunk):
            target.write(plan.encoded(piece), y, x)
    target.close()


def _check_half(halves: Tensor, values: Tensor, layer: str, seed: int) -> None:
    """Refuse features that half precision cannot hold; a generator without `conv_clamp` may have such."""
    if any(math.isinf(float(extreme)) for extreme in torch.aminmax(halves)):
        largest = float(values.abs().max())
        raise InputError(f'{layer} of seed {seed} reaches {largest:.3g}, too large for float16; use dtype="float32"')
