"""PNG files written some rows at a time: no library that is here does it (PNG specification, second edition)."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_RGB, _INDEXED = 2, 3
_NONE, _SUB, _UP, _PAETH = 0, 1, 2, 4


class PngRows:
    """A PNG of 8 bits, RGB or indexed, that grows downwards.

    Parameters
    ----------
    file
        Open for writing in binary.
    width, height
        Of the picture, px.
    palette
        RGB triples; the rows are then indices. None: the rows are RGB.
    """

    def __init__(self, file: BinaryIO, width: int, height: int, *, palette: bytes | None = None) -> None:
        self._file, self._indexed = file, palette is not None
        self._deflated = zlib.compressobj()
        self._above = np.zeros((1, width if self._indexed else 3 * width), np.uint8)
        file.write(_SIGNATURE)
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, _INDEXED if self._indexed else _RGB, 0, 0, 0))
        if palette is not None:
            self._chunk(b"PLTE", palette)

    def add(self, rows: Bytes) -> None:
        """Write the next rows: (h, W, 3) or, indexed, (h, W) uint8."""
        flat = rows.reshape(len(rows), -1)
        filtered = _with_filter(_NONE, flat) if self._indexed else _filtered(flat, self._above)
        self._above = flat[-1:].copy()
        self._data(self._deflated.compress(filtered.tobytes()))

    def finish(self) -> None:
        """Write the end, after all rows."""
        self._data(self._deflated.flush())
        self._chunk(b"IEND", b"")

    def _data(self, content: bytes) -> None:
        if content:
            self._chunk(b"IDAT", content)

    def _chunk(self, kind: bytes, content: bytes) -> None:
        self._file.write(struct.pack(">I", len(content)) + kind + content)
        self._file.write(struct.pack(">I", zlib.crc32(content, zlib.crc32(kind))))


def _filtered(rows: Bytes, above: Bytes) -> Bytes:
    """Rows (h, 3 W) as differences, each after the number of its filter: that of the least."""
    up = np.concatenate([above, rows[:-1]])
    left, corner = (np.pad(each[:, :-3], ((0, 0), (3, 0))) for each in (rows, up))
    filters = (
        _with_filter(_SUB, rows - left),
        _with_filter(_UP, rows - up),
        _with_filter(_PAETH, rows - _paeth(left, up, corner)),
    )
    costs = [np.abs(each[:, 1:].view(np.int8).astype(np.int16)).sum(axis=1) for each in filters]
    best = np.argmin(costs, axis=0)
    chosen: Bytes = np.choose(best[:, None], filters)
    return chosen


def _with_filter(number: int, rows: Bytes) -> Bytes:
    return np.pad(rows, ((0, 0), (1, 0)), constant_values=number)


def _paeth(left: Bytes, up: Bytes, corner: Bytes) -> Bytes:
    """Whichever of the three is nearest to left + up - corner (section 9.4)."""
    a, b, c = (each.astype(np.int16) for each in (left, up, corner))
    from_left, from_up, from_corner = np.abs(b - c), np.abs(a - c), np.abs(a + b - 2 * c)
    is_left = (from_left <= from_up) & (from_left <= from_corner)
    return np.where(is_left, left, np.where(from_up <= from_corner, up, corner))
