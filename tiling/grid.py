"""Where tiles lie on a plane of pixels: geometry only, nothing is read."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError

Positions = npt.NDArray[np.int64]

_NEGLIGIBLE = 1e-6  # px


class Edge(enum.StrEnum):
    """What happens where the last tile of a row or column would stick out of the slide."""

    PAD = "pad"
    """It is kept, and filled up with the slide's background colour: every pixel is covered."""
    WITHIN = "within"
    """It is left out: every pixel of a tile is of the slide, and a rim narrower than a tile is not covered."""
    SHIFT = "shift"
    """It is moved inwards to end at the edge, overlapping its neighbour: every pixel is covered, none invented."""


@dataclass(frozen=True)
class Grid:
    """Square tiles on a slide, row by row from the upper left.

    Attributes
    ----------
    x, y
        (n,) int64: upper left corners, level-0 px.
    size
        Edge of a tile, px of its own resolution.
    scale
        Level-0 px per tile px.
    """

    x: Positions
    y: Positions
    size: int
    scale: float = 1.0

    def __len__(self) -> int:
        return len(self.x)

    @property
    def extent(self) -> float:
        """Edge of a tile, level-0 px; not always a whole number."""
        return self.size * self.scale


def make_grid(
    width: int,
    height: int,
    *,
    size: int,
    scale: float = 1.0,
    downsample: float | None = None,
    overlap: int = 0,
    edge: Edge | str = Edge.WITHIN,
) -> Grid:
    """Lay tiles over a plane.

    Parameters
    ----------
    width, height
        Size of the slide at the resolution of the tiles, px.
    size
        Edge of a tile, px.
    scale
        Level-0 px per px of the plane, to place the tiles on the slide.
    downsample
        Level-0 px per px of the level that the tiles will be read from; None if the plane is that level. Each tile
        begins with a pixel of the level, and its position is that pixel's, rounded to whole level-0 px.
    overlap
        How far neighbours overlap, px: the stride is `size - overlap`.
    edge
        See :class:`Edge`.

    Returns
    -------
    Grid
        Empty if the plane is smaller than a tile and `edge` does not pad.

    Raises
    ------
    InputError
        If the size or the scale is not positive, the overlap is not from 0 to `size - 1`, or the edge is unknown.

    Examples
    --------
    >>> make_grid(10, 5, size=4, edge="shift").x
    array([0, 4, 6, 0, 4, 6])
    """
    if size < 1:
        raise InputError(f"a tile has at least 1 px, not {size}")
    if not scale > 0:
        raise InputError(f"scale must be positive, not {scale}")
    if not 0 <= overlap < size:
        raise InputError(f"overlap must be from 0 to {size - 1} px for tiles of {size} px, not {overlap}")
    edge = parse_edge(edge)
    starts = [_starts(length, size, size - overlap, edge) for length in (width, height)]
    downsample = scale if downsample is None else downsample
    pixels = (np.floor(start * scale / downsample + _NEGLIGIBLE) for start in starts)  # not outwards over an edge
    x, y = (array.ravel() for array in np.meshgrid(*(np.rint(p * downsample).astype(np.int64) for p in pixels)))
    return Grid(x, y, size, scale)


def parse_edge(edge: Edge | str) -> Edge:
    """An edge policy by its name; an unknown one is an :class:`InputError`."""
    try:
        return Edge(edge)
    except ValueError as error:
        raise InputError(f"edge must be {', '.join(Edge)}, not {edge!r}") from error


def _starts(length: int, size: int, stride: int, edge: Edge) -> Positions:
    """Where tiles begin along one axis."""
    if edge is not Edge.PAD and length < size:
        return np.empty(0, np.int64)
    if edge is Edge.WITHIN:
        return np.arange(0, length - size + 1, stride, dtype=np.int64)
    count = max(0, -(-(length - size) // stride)) + 1
    starts = np.arange(count, dtype=np.int64) * stride
    return np.minimum(starts, length - size) if edge is Edge.SHIFT else starts
