"""Native feature maps written window by window, each pixel once, straight from tensors."""

from __future__ import annotations

import functools
import itertools
import math
import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from tiling.errors import InputError
from tiling.files import remove

WINDOW = 512
"""Edge of the windows that a store is written in, image px."""
CHUNK = 256
"""Edge of what a zarr chunk covers, image px at every scale: a chunk is 64 KiB to 1 MiB at 4096 px."""
NativeMaps = Mapping[str, tuple[Tensor, int, int]]
"""Of a window: {layer: floats (C, h, w), and the native row and column where they begin}."""

_LEVEL = 3  # of zstd
_INT8 = 127
_SPOOL = ".spool"
_AHEAD = 2  # windows that wait to be written


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
            values = (values / self.scale.to(values.device)[:, None, None]).round_()
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


def write_latent(
    folder: Path, windows: Iterable[NativeMaps], plans: Mapping[str, MapPlan], store: str, seed: int
) -> None:
    """Write the layers of a latent into a folder that is not there yet.

    Parameters
    ----------
    folder
        The latent's.
    windows
        Of the image, row by row, of `WINDOW` px or of the coarsest layer's pixels where these are larger.
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
    folder: Path, windows: Iterable[NativeMaps], plans: Mapping[str, MapPlan], store: str, seed: int
) -> None:
    """Write them as they come, in a thread.

    Only the calling thread computes: of two threads that both do by OpenMP, each would wait for its helpers asleep.
    """
    writers = {layer: WRITERS[store](folder, plan) for layer, plan in plans.items()}

    def write(pieces: Sequence[tuple[str, Tensor, int, int]]) -> None:
        for layer, encoded, y, x in pieces:
            writers[layer].write(encoded, y, x)

    with ThreadPoolExecutor(1) as pool:
        writing: deque[Future[None]] = deque()
        for window in windows:
            writing.append(pool.submit(write, list(_encoded(window, plans, seed))))
            if len(writing) > _AHEAD:
                writing.popleft().result()
        for each in writing:
            each.result()
    for writer in writers.values():
        writer.close()


def _encoded(window: NativeMaps, plans: Mapping[str, MapPlan], seed: int) -> Iterator[tuple[str, Tensor, int, int]]:
    """The layers of a window in chunks as they are to be in their files, and the place of each."""
    for layer, (values, y, x) in window.items():
        for piece, top, left in _chunks(values, plans[layer].chunk):
            encoded = plans[layer].encoded(piece)
            if plans[layer].dtype == "float16":
                _check_half(encoded, values, layer, seed)
            yield layer, encoded.cpu(), y + top, x + left


def _watched(windows: Iterable[NativeMaps], largest: Mapping[str, Tensor]) -> Iterator[NativeMaps]:
    """The same windows; when the last has passed, `largest` holds the magnitudes (C,) of each layer."""
    for window in windows:
        for layer, (values, _, _) in window.items():
            here = values.flatten(1).abs().amax(dim=1).cpu()
            torch.maximum(largest[layer], here, out=largest[layer])
        yield window


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
