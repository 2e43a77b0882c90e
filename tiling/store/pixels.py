"""Decoded tiles as shards of zarr v3: square chunks, compressed by Zstandard without loss."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import imagecodecs
import numpy as np

from tiling.backends.base import DAMAGED, Image
from tiling.errors import InputError
from tiling.store.shard import ABSENT, read_index, write_shard

LEVEL = 3  # Zstandard's own default


def write_pixels(path: Path, tile: Image, *, chunk: int) -> None:
    """Write a tile.

    Parameters
    ----------
    path
        The shard; it appears when it is whole.
    tile
        (size, size, 3) uint8.
    chunk
        Edge of its chunks, px; divides the size.
    """
    count = len(tile) // chunk
    index = np.full((count, count, 2), ABSENT, np.uint64)

    def compressed() -> Iterator[bytes | bytearray]:
        end = 0
        for row, column in np.ndindex(count, count):
            data = imagecodecs.zstd_encode(tile[_area(row, column, chunk)].tobytes(), level=LEVEL)
            index[row, column] = end, len(data)
            end += len(data)
            yield data

    write_shard(path, compressed(), index)


def read_pixels(path: Path, *, size: int, chunk: int) -> Image:
    """Read a tile of :func:`write_pixels`: (size, size, 3) uint8; an :class:`InputError` if it is damaged."""
    tile = np.empty((size, size, 3), np.uint8)
    count = size // chunk
    file = os.open(path, os.O_RDONLY)
    try:
        index = read_index(file, (count, count))
        for row, column in np.ndindex(count, count):
            start, length = index[row, column].tolist()
            data = imagecodecs.zstd_decode(os.pread(file, length, start))
            tile[_area(row, column, chunk)] = np.frombuffer(data, np.uint8).reshape(chunk, chunk, 3)
    except InputError:
        raise
    except DAMAGED as error:
        raise InputError(f"a chunk of it cannot be decoded: {' '.join(str(error).split())}") from error
    finally:
        os.close(file)
    return tile


def _area(row: int, column: int, chunk: int) -> tuple[slice, slice]:
    return slice(row * chunk, (row + 1) * chunk), slice(column * chunk, (column + 1) * chunk)
