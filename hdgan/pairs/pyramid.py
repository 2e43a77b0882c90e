"""OME-TIFF pyramids written from strips: tiles are compressed as they come, and put in the file's order at the end."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import tifffile

from hdgan.labels import LabelMap
from tiling.files import replacing

TILE = 512  # px; larger images are in tiles of this edge, with levels down to the first that is one tile
Rows = npt.NDArray[Any]
Halve = Callable[[Rows], Rows]


@contextlib.contextmanager
def writing_pyramid(
    path: Path,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    *,
    halve: Halve,
    mpp: float | None = None,
    description: str | None = None,
) -> Iterator[Callable[[Rows], None]]:
    """Give a function that takes rows of an image from above; the OME-TIFF appears, whole, when the block ends well.

    Until then compressed tiles are in a file without a name beside it, which ends with the process: the tiles of a
    coarse level come between those of a finer one, and a TIFF has them together.

    Parameters
    ----------
    path
        Of the file.
    shape, dtype
        (H, W) or (H, W, 3), and the type of all levels. An edge above `TILE` is a power of two. Rows are given `TILE`
        at a time, or all of a smaller image.
    halve
        Rows (2 h, 2 w, ...) to (h, w, ...): :func:`averaged` or :func:`majority`.
    mpp, description
        For the OME header: micrometres per pixel of the finest level, and what it is.
    """
    edges = [shape[0]]
    while edges[-1] > TILE:
        edges.append(edges[-1] // 2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=path.parent) as spool:
        levels: list[_Level] = []
        for edge in reversed(edges):
            levels.insert(0, _Level(spool, (edge, edge, *shape[2:]), halve, levels[0] if levels else None))
        yield levels[0].add
        with replacing(path) as partial:
            _write(partial, levels, np.dtype(dtype), _about(mpp, description))


class _Level:
    """One level: its tiles as they lie in the spool, and the level below that its halved rows go to."""

    def __init__(self, spool: IO[bytes], shape: tuple[int, ...], halve: Halve, below: _Level | None) -> None:
        self.shape, self.hash = shape, hashlib.sha256()
        self._spool, self._halve, self._below = spool, halve, below
        self._tiles: list[tuple[int, int]] = []
        self._halved: list[Rows] = []

    def add(self, rows: Rows) -> None:
        for x in range(0, self.shape[1], TILE):
            content = zlib.compress(rows[:, x : x + TILE].tobytes())
            self.hash.update(content)
            self._tiles.append((self._spool.tell(), self._spool.write(content)))
        if self._below is not None:
            self._halved.append(self._halve(rows))
            if len(self._halved) == 2:
                self._below.add(np.concatenate(self._halved))
                self._halved.clear()

    def encoded(self) -> Iterator[bytes]:
        for start, size in self._tiles:
            self._spool.seek(start)
            yield self._spool.read(size)


def _about(mpp: float | None, description: str | None) -> dict[str, Any]:
    """What the OME header tells, as tifffile takes it."""
    about: dict[str, Any] = {}
    if mpp is not None:
        for axis in "XY":
            about |= {f"PhysicalSize{axis}": mpp, f"PhysicalSize{axis}Unit": "µm"}
    if description is not None:
        about["Description"] = description
    return about


def _write(path: Path, levels: Sequence[_Level], dtype: np.dtype[Any], about: Mapping[str, Any]) -> None:
    colour = len(levels[0].shape) == 3
    identity = uuid.uuid5(uuid.NAMESPACE_OID, levels[0].hash.hexdigest())  # the same pair, the same file
    metadata = {"axes": "YXS" if colour else "YX", "UUID": str(identity), **about}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for number, level in enumerate(levels):
            edge = level.shape[0]
            tiff.write(
                level.encoded(),
                shape=level.shape,
                dtype=dtype,
                photometric="rgb" if colour else "minisblack",
                compression="adobe_deflate",
                metadata=None if number else metadata,
                **({"tile": (TILE, TILE)} if edge >= TILE else {"rowsperstrip": edge}),
                **({"subfiletype": 1} if number else {"subifds": len(levels) - 1}),
            )


def averaged(rows: Rows) -> Rows:
    """(2 h, 2 w, ...) to (h, w, ...): the mean of four pixels, rounded in whole numbers."""
    whole = rows.dtype == np.uint8
    a, b, c, d = _quarters(rows.astype(np.uint16) if whole else rows)
    total: Rows = a + b + c + d
    return ((total + 2) >> 2).astype(np.uint8) if whole else total / 4


def majority(rows: LabelMap) -> LabelMap:
    """(2 h, 2 w) to (h, w): the class of most of four pixels; among equals that of the first."""
    a, b, c, d = _quarters(rows)
    later = np.where((b == c) | (b == d), b, np.where(c == d, c, a))
    return np.where((a == b) | (a == c) | (a == d), a, later)


def _quarters(rows: Rows) -> list[Rows]:
    return [rows[y::2, x::2] for y in (0, 1) for x in (0, 1)]
