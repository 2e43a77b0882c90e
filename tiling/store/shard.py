"""Shards of zarr v3, one per tile: inner chunks one after the other, and an index of their places at the end.

Zarr's sharding codec, version 1.0: the index is (places, lengths) as little-endian uint64 in C order of the chunks,
both 2**64 - 1 for a chunk that is absent, followed by its CRC-32C.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import google_crc32c
import numpy as np
import numpy.typing as npt

from tiling.cells import CellGrid, CellPlace, SourceCells
from tiling.errors import InputError
from tiling.files import replacing

ABSENT = 2**64 - 1
_CHECKSUM = 4  # bytes

Index = npt.NDArray[np.uint64]


def copy_cells(
    path: Path, source: SourceCells, first: CellPlace, shape: tuple[int, int], *, without: Collection[CellPlace] = ()
) -> None:
    """Write a shard of the cells of a slide, as they are.

    Parameters
    ----------
    path
        The shard; it appears when it is whole.
    source
        Cells of a level.
    first
        The upper left cell.
    shape
        How many rows and columns of cells the shard has; those beyond the slide are absent.
    without
        Cells that are left out.

    Raises
    ------
    InputError
        If the slide's file is cut off or cannot be read.
    """
    grid = source.grid
    index = np.full((*shape, 2), ABSENT, np.uint64)
    wanted = [
        CellPlace(row, column)
        for row in range(first.row, min(first.row + shape[0], grid.sizes.shape[0]))
        for column in range(first.column, min(first.column + shape[1], grid.sizes.shape[1]))
    ]
    wanted = [cell for cell in wanted if cell not in without]
    places = np.array(wanted, np.int64).reshape(-1, 2)
    offsets, sizes = grid.offsets[places[:, 0], places[:, 1]], grid.sizes[places[:, 0], places[:, 1]]
    ends = np.cumsum(sizes)
    index[places[:, 0] - first.row, places[:, 1] - first.column] = np.stack([ends - sizes, sizes], axis=1)
    # One run after the other: memory that was just given back is at hand, and much of the cost is in getting it.
    write_shard(path, _fetched(source.file, _runs(offsets, sizes)), index)


def write_shard(path: Path, content: Iterable[bytes | bytearray | memoryview], index: Index) -> None:
    """Write a shard: what its chunks hold, and their index, which may be filled in while `content` is drawn."""
    with replacing(path) as partial, partial.open("wb", buffering=0) as file:
        for each in content:
            _write_all(file, each)
        encoded = index.astype("<u8").tobytes()
        _write_all(file, encoded + google_crc32c.value(encoded).to_bytes(_CHECKSUM, "little"))


def read_index(file: int, shape: tuple[int, int]) -> Index:
    """The index of an open shard of (rows, columns) chunks: (rows, columns, 2) uint64, place and length of each."""
    length = shape[0] * shape[1] * 16
    size = os.fstat(file).st_size
    content = os.pread(file, length + _CHECKSUM, max(0, size - length - _CHECKSUM))
    encoded, checksum = content[:length], content[length:]
    if google_crc32c.value(encoded).to_bytes(_CHECKSUM, "little") != checksum:
        raise InputError("its index is damaged")
    return np.frombuffer(encoded, "<u8").reshape(*shape, 2).astype(np.uint64)


def grid_of(file: int, like: CellGrid) -> tuple[CellGrid, npt.NDArray[np.bool_]]:
    """The cells of an open shard as a grid, and which of them are there; `like` tells size and coding."""
    shape = like.height // like.cell_height, like.width // like.cell_width
    index = read_index(file, shape)
    present = index[..., 0] != ABSENT
    places = np.where(present[..., None], index, 0).astype(np.int64)
    grid = CellGrid(
        width=like.width,
        height=like.height,
        cell_width=like.cell_width,
        cell_height=like.cell_height,
        jpeg=like.jpeg,
        tables=like.tables,
        colour_space=like.colour_space,
        offsets=places[..., 0],
        sizes=places[..., 1],
    )
    return grid, present


def _fetched(file: int, runs: Sequence[tuple[int, int]]) -> Iterator[memoryview]:
    """Stretches of a file, (start, length) each, one after the other in the same memory: getting some is what costs."""
    memory = memoryview(bytearray(max((length for _, length in runs), default=0)))
    for start, length in runs:
        try:
            there = os.preadv(file, [memory[:length]], start)
        except OSError as error:
            raise InputError(f"the slide's file cannot be read: {error.strerror}") from error
        if there < length:
            raise InputError("the slide's file is cut off: it ends before cells that it lists")
        yield memory[:length]


def _write_all(file: io.FileIO, data: bytes | bytearray | memoryview) -> None:
    """Write all of it: a disk that fills up takes a part without a word, and refuses only the rest."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def _runs(offsets: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """(start, length) of stretches of a file that follow upon another without a gap, put together."""
    if not len(offsets):
        return []
    breaks = np.flatnonzero(offsets[1:] != offsets[:-1] + sizes[:-1]) + 1
    starts = offsets[np.r_[0, breaks]]
    lengths = np.add.reduceat(sizes, np.r_[0, breaks])
    return list(zip(starts.tolist(), lengths.tolist(), strict=True))
