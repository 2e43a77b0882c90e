"""Native feature maps in files, read by window: a layer of a latent each, the channels of a pixel side by side."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Protocol

import imagecodecs
import numpy as np
import numpy.typing as npt

from hdgan.features.patch import Patch, native_span
from tiling.errors import InputError
from tiling.files import read_json
from tiling.store.shard import read_index

Values = npt.NDArray[Any]
Span = tuple[int, int]

CHANNELS_LAST = (1, 2, 0)
"""In which order the axes (C, h, w) of a map lie in its file."""


class NativeMap(Protocol):
    """One layer of one latent: (C, H', W')."""

    shape: tuple[int, int, int]

    def read(self, rows: Span, columns: Span) -> Values:
        """(C, h, w) of rows [first, stop) and columns [first, stop): as they are stored, or float32 if that is int8."""
        ...


class PlainMap:
    """A `.npy` file of shape (H', W', C), mapped; beside it, for int8, `LAYER.scale.npy` of (C,) float32."""

    def __init__(self, folder: Path, layer: str) -> None:
        self._values = _loaded(plain_path(folder, layer))
        scale = scale_path(folder, layer)
        self._scale = np.array(_loaded(scale)) if scale.exists() else None  # a map would keep another file open
        height, width, channels = self._values.shape
        self.shape = (channels, height, width)

    def read(self, rows: Span, columns: Span) -> Values:
        """See :class:`NativeMap`; a view of the file, unless it is int8."""
        return _channels_first(_unscaled(self._values[slice(*rows), slice(*columns)], self._scale))


class ShardMap:
    """A zarr array in one shard, its chunks found in the mapped file.

    zarr-python reads the same, at some tenth of a millisecond a chunk: too slow for the blocks that pixels are drawn
    from.
    """

    def __init__(self, folder: Path, layer: str) -> None:
        metadata, shard = read_json(folder / layer / "zarr.json"), shard_path(folder, layer)
        inner = metadata["codecs"][0]["configuration"]
        if inner["codecs"][0] != {"name": "transpose", "configuration": {"order": list(CHANNELS_LAST)}}:
            raise InputError(f"{folder / layer} is laid out in another way; make the features again with --redo")
        _, *self._chunk = inner["chunk_shape"]
        self.shape: tuple[int, int, int] = tuple(metadata["shape"])
        self._dtype = np.dtype(metadata["data_type"])
        self._compressed = inner["codecs"][-1]["name"] == "zstd"
        scale = metadata["attributes"].get("scale")
        self._scale = None if scale is None else np.asarray(scale, np.float32)
        grid = self.shape[1] // self._chunk[0], self.shape[2] // self._chunk[1]
        try:
            with shard.open("rb") as file:
                self._index = read_index(file.fileno(), grid).astype(np.int64)
            self._bytes = np.asarray(np.memmap(shard, np.uint8, mode="r"))  # a plain array is sliced faster
        except (InputError, OSError, ValueError) as error:
            raise InputError(f"{shard} is damaged ({error}); make the features again with --redo") from error

    def read(self, rows: Span, columns: Span) -> Values:
        """See :class:`NativeMap`; a view of the file, if one chunk has it all and is neither compressed nor int8."""
        height, width = self._chunk
        result = np.empty((rows[1] - rows[0], columns[1] - columns[0], self.shape[0]), self._dtype)
        across, down = (
            range(start // edge, -(-stop // edge)) for (start, stop), edge in ((columns, width), (rows, height))
        )
        for i, j in itertools.product(down, across):
            source_rows, target_rows = _overlap(i * height, height, *rows)
            source_columns, target_columns = _overlap(j * width, width, *columns)
            part = self._read_chunk(i, j)[source_rows, source_columns]
            if part.shape == result.shape:
                result = part
            else:
                result[target_rows, target_columns] = part
        return _channels_first(_unscaled(result, self._scale))

    def _read_chunk(self, i: int, j: int) -> Values:
        """(h, w, C) as stored."""
        place, length = self._index[i, j]
        content: Any = self._bytes[place : place + length]
        if self._compressed:
            content = np.frombuffer(imagecodecs.zstd_decode(content.tobytes()), np.uint8)
        values: Values = content.view(self._dtype).reshape(*self._chunk, self.shape[0])
        return values


def patch_of(native: NativeMap, *, scale: int, y: int, x: int, h: int, w: int) -> Patch:
    """The patch of a map for the image window at (y, x) of (h, w) px: what lies within the map is read.

    Its border is repeated where the patch reaches one pixel past it.
    """
    _, height, width = native.shape
    (top, bottom), (left, right) = native_span(y, h, scale), native_span(x, w, scale)
    values = native.read((max(top, 0), min(bottom, height)), (max(left, 0), min(right, width)))
    outside = [(0, 0), (max(-top, 0), max(bottom - height, 0)), (max(-left, 0), max(right - width, 0))]
    if any(map(any, outside)):
        values = _channels_first(np.pad(np.moveaxis(values, 0, 2), [*outside[1:], (0, 0)], mode="edge"))
    return Patch(values, top, left, scale)


def plain_path(folder: Path, layer: str) -> Path:
    """Where the values of a layer are in a latent's folder of a memory map."""
    return folder / f"{layer}.npy"


def scale_path(folder: Path, layer: str) -> Path:
    """Where the scale of its channels is, if it is int8."""
    return folder / f"{layer}.scale.npy"


def shard_path(folder: Path, layer: str) -> Path:
    """Where zarr keeps the one shard of an array (C, H', W')."""
    return folder / layer / "c" / "0" / "0" / "0"


def _loaded(path: Path) -> Values:
    try:
        values: Values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path} is damaged ({error}); make the features again with --redo") from error
    return values


def _overlap(first: int, size: int, start: int, stop: int) -> tuple[slice, slice]:
    """Where [start, stop) and a chunk of `size` from `first` meet: in the chunk, and in [start, stop)."""
    low, high = max(first, start), min(first + size, stop)
    return slice(low - first, high - first), slice(low - start, high - start)


def _channels_first(values: Values) -> Values:
    return np.moveaxis(values, 2, 0)


def _unscaled(values: Values, scale: Values | None) -> Values:
    return values if scale is None else values * scale
