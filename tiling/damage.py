"""Cells of a slide that cannot be decoded: where they are, and reading all that lies around them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tiling.backends.base import Backend, BackendError, Image, Level, LostFileError

_BLOCK = 256  # px of a level, where a file does not say what it is made of
_NEGLIGIBLE = 1e-6  # px


@dataclass(frozen=True, order=True)
class DamagedCell:
    """A cell of a slide that cannot be decoded.

    Attributes
    ----------
    level
        Index of the level that it belongs to.
    row, column
        Its place in the file's grid of cells of that level; in blocks of 256 px where the file has no such grid.
    x, y, width, height
        The area that it covers, level-0 px, cut at the border of the slide.
    """

    level: int
    row: int
    column: int
    x: int
    y: int
    width: int
    height: int

    @classmethod
    def at(cls, row: int, column: int, *, number: int, level: Level, cell: tuple[int, int]) -> DamagedCell:
        """The cell at a place in the grid of a level; `number` is the level's index, `cell` (width, height) in px."""
        left, right = column * cell[0], min((column + 1) * cell[0], level.width)
        top, bottom = row * cell[1], min((row + 1) * cell[1], level.height)
        x, y = math.floor(left * level.downsample), math.floor(top * level.downsample)
        width = math.ceil(right * level.downsample - _NEGLIGIBLE) - x
        height = math.ceil(bottom * level.downsample - _NEGLIGIBLE) - y
        return cls(level=number, row=row, column=column, x=x, y=y, width=width, height=height)


@runtime_checkable
class Salvaging(Protocol):
    """A backend that finds its corrupt cells while it reads, and need not look for them block by block."""

    def salvage(self, *, x: int, y: int, width: int, height: int, level: int) -> tuple[Image, tuple[DamagedCell, ...]]:
        """As :meth:`tiling.backends.base.Backend.read`, with alpha 0 where a cell is corrupt; and these cells."""


def salvaged(
    backend: Backend, *, x: int, y: int, width: int, height: int, level: int
) -> tuple[Image, tuple[DamagedCell, ...]]:
    """Read what can be read of a region.

    Parameters
    ----------
    backend
        An open slide's.
    x, y, width, height, level
        As for :meth:`tiling.backends.base.Backend.read`.

    Returns
    -------
    region
        (height, width, 3) uint8 RGB, or (height, width, 4) with alpha 0 outside the slide and where it is damaged.
    cells
        Those that cannot be decoded, in reading order.

    Raises
    ------
    BackendError
        If the file itself can no longer be opened, which says nothing of its cells.
    """
    if isinstance(backend, Salvaging):
        return backend.salvage(x=x, y=y, width=width, height=height, level=level)
    try:
        return backend.read(x=x, y=y, width=width, height=height, level=level), ()
    except LostFileError:
        raise
    except BackendError:
        return by_blocks(backend, x=x, y=y, width=width, height=height, level=level)


def by_blocks(
    backend: Backend, *, x: int, y: int, width: int, height: int, level: int
) -> tuple[Image, tuple[DamagedCell, ...]]:
    """Read a region block by block, as :func:`salvaged` gives it; a block is a cell where the file tells their size."""
    geometry = backend.levels[level]
    across, down = _cell_size(backend, level)
    left, top = x / geometry.downsample, y / geometry.downsample
    region = np.zeros((height, width, 4), np.uint8)
    damaged = []
    for row in _touched(top, height, down, geometry.height):
        y0, y1 = _within(row, top, height, down)
        for column in _touched(left, width, across, geometry.width):
            x0, x1 = _within(column, left, width, across)
            if x0 == x1 or y0 == y1:
                continue
            try:
                block = backend.read(
                    x=x + round(x0 * geometry.downsample),
                    y=y + round(y0 * geometry.downsample),
                    width=x1 - x0,
                    height=y1 - y0,
                    level=level,
                )
            except LostFileError:
                raise
            except BackendError:
                damaged.append(DamagedCell.at(row, column, number=level, level=geometry, cell=(across, down)))
                continue
            region[y0:y1, x0:x1, 3] = 255
            region[y0:y1, x0:x1, : block.shape[2]] = block
    return region, tuple(damaged)


def damaged_pixels(cells: Iterable[DamagedCell], *, x: int, y: int, size: int, scale: float) -> npt.NDArray[np.bool_]:
    """The pixels of a tile that damaged cells touch.

    Parameters
    ----------
    cells
        Damaged cells of the tile's slide.
    x, y
        Upper left corner of the tile, level-0 px.
    size
        Edge, px of the tile.
    scale
        Level-0 px per tile px.

    Returns
    -------
    (size, size) bool

    Examples
    --------
    >>> cell = DamagedCell(level=0, row=0, column=1, x=4, y=0, width=4, height=4)
    >>> damaged_pixels([cell], x=2, y=1, size=3, scale=2.0).astype(int)
    array([[0, 1, 1],
           [0, 1, 1],
           [0, 0, 0]])
    """
    touched = np.zeros((size, size), np.bool_)
    for cell in cells:
        left, right = _pixels(cell.x - x, cell.width, size, scale)
        top, bottom = _pixels(cell.y - y, cell.height, size, scale)
        touched[top:bottom, left:right] = True
    return touched


def _pixels(start: int, length: int, size: int, scale: float) -> tuple[int, int]:
    """First and last (exclusive) of a tile's pixels that a stretch of level-0 px touches."""
    first = math.floor(start / scale + _NEGLIGIBLE)
    last = math.ceil((start + length) / scale - _NEGLIGIBLE)
    return min(max(first, 0), size), min(max(last, 0), size)


def _cell_size(backend: Backend, level: int) -> tuple[int, int]:
    """Width and height of a level's cells, px of the level, in OpenSlide's words."""
    width, height = (
        backend.properties.get(f"openslide.level[{level}].tile-{side}", "") for side in ("width", "height")
    )
    return (int(width), int(height)) if width.isdecimal() and height.isdecimal() else (_BLOCK, _BLOCK)


def _touched(start: float, length: int, block: int, end: int) -> range:
    """The blocks along one axis of a level, up to its `end`, that a stretch of a region touches."""
    first = max(0, math.floor((start + _NEGLIGIBLE) / block))
    return range(first, math.ceil((min(start + length, end) - _NEGLIGIBLE) / block))


def _within(index: int, start: float, length: int, block: int) -> tuple[int, int]:
    """The pixels of a region that begin in a block, along one axis."""
    first, last = (math.ceil(edge * block - start - _NEGLIGIBLE) for edge in (index, index + 1))
    return min(max(first, 0), length), min(max(last, 0), length)
