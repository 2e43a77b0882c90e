"""Polygons to pixels and back, exactly: a pixel belongs to a polygon when its centre lies inside.

Coordinates are (x, y) px with (0, 0) at the upper left corner of the upper left pixel, so that pixel centres
are at halves. A polygon is a list of rings, the outline first and then its holes; inside is what a ray from
outside reaches through an odd number of edges (the even-odd rule), over all rings together.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from skimage.measure import label as connected_components

Ring = npt.NDArray[np.float64]
Polygon = list[Ring]
Pair = tuple[float, float]  # x, y

_BAND = 1 << 22  # px that are decided on at once, at 17 bytes each


def bounds(rings: Sequence[Ring]) -> tuple[Ring, Ring]:
    """The least and the greatest x, y of some rings, (2,) float64 each."""
    points = np.concatenate(rings)
    return points.min(axis=0), points.max(axis=0)


def paint(
    labels: npt.NDArray[np.uint8],
    rings: Sequence[Ring],
    value: int,
    *,
    origin: Pair = (0.0, 0.0),
    downsample: Pair = (1.0, 1.0),
) -> None:
    """Set the pixels inside a polygon, in place.

    Parameters
    ----------
    labels
        (H, W) uint8.
    rings
        Each (n, 2) float64 of x, y, closed implicitly. May reach past the image. An edge through a pixel's centre
        leaves the pixel to the polygon on its right or below, so that polygons that share an edge share no
        pixel and leave none out.
    value
        What the pixels become.
    origin
        Where the array's upper left corner is: x, y, in the unit of the rings.
    downsample
        Width and height of a pixel in that unit.
    """
    least, most = ((corner - origin) / downsample for corner in bounds(rings))
    left, top = np.clip(np.floor(least), 0, labels.shape[::-1]).astype(int)
    right, bottom = np.clip(np.ceil(most), 0, labels.shape[::-1]).astype(int)
    if left >= right or top >= bottom:
        return
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    rows = max(1, _BAND // (right - left))  # at a time, so that memory stays bounded
    for first in range(top, bottom, rows):
        band = slice(first, min(first + rows, bottom)), slice(left, right)
        labels[band][_inside(start, end, band, origin, downsample)] = value


def _inside(start: Ring, end: Ring, box: tuple[slice, slice], origin: Pair, downsample: Pair) -> npt.NDArray[np.bool_]:
    """(height, width) bool: the pixels in a box (rows, columns) whose centre the edges from `start` to `end` enclose.

    All is compared in the unit of the edges, and a product of whole numbers is divided last: where an edge goes
    through the centre of a pixel, nothing is rounded to either side of it.
    """
    rows, columns = box
    height, width = rows.stop - rows.start, columns.stop - columns.start
    upper = np.where(start[:, 1:] <= end[:, 1:], start, end)
    lower = np.where(start[:, 1:] <= end[:, 1:], end, start)
    # An edge crosses the rows whose centre lies in [upper y, lower y): half-open, so that a vertex counts once.
    first, last = (
        np.clip(np.ceil((point[:, 1] - origin[1]) / downsample[1] - 0.5), rows.start, rows.stop).astype(np.int64)
        for point in (upper, lower)
    )
    count = last - first
    edge = np.repeat(np.arange(len(count)), count)
    row = np.arange(len(edge)) - np.repeat(np.cumsum(count) - count, count) + first[edge]
    y = origin[1] + (row + 0.5) * downsample[1]
    (x0, y0), (x1, y1) = upper[edge].T, lower[edge].T
    x = (x0 * (y1 - y) + x1 * (y - y0)) / (y1 - y0)
    column = np.clip(np.ceil((x - origin[0]) / downsample[0] - 0.5), columns.start, columns.stop).astype(np.int64)
    place = (row - rows.start) * (width + 1) + column - columns.start
    crossings = np.bincount(place, minlength=height * (width + 1))
    parity: npt.NDArray[np.bool_] = np.cumsum(crossings.reshape(height, width + 1), axis=1)[:, :width] % 2 == 1
    return parity


def outline(mask: npt.NDArray[np.bool_]) -> list[Polygon]:
    """The polygons along the pixel edges of a mask (H, W) bool, one for each 4-connected region.

    :func:`paint` of them gives the mask back.
    """
    regions: Any = connected_components(mask, connectivity=1)
    outer: dict[int, Ring] = {}
    holes: dict[int, Polygon] = {}
    for ring, (x, y) in _rings(mask):
        region = int(regions[y, x])
        if _doubled_area(ring) > 0:
            outer[region] = ring
        else:
            holes.setdefault(region, []).append(ring)
    return [[ring, *holes.get(region, [])] for region, ring in sorted(outer.items())]


def _rings(mask: npt.NDArray[np.bool_]) -> list[tuple[Ring, tuple[int, int]]]:
    """The closed boundaries of a mask with the mask on their right, each with one of the pixels along it.

    Only corners are visited. A corner's boundary goes on straight to the next corner of its row or column; where
    two regions touch at a corner, turning right keeps to the same one.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    # The four pixels around each vertex, as bits: upper left 1, upper right 2, lower left 4, lower right 8.
    around = padded[:-1, :-1] + 2 * padded[:-1, 1:] + 4 * padded[1:, :-1] + 8 * padded[1:, 1:]
    ys, xs = np.nonzero(_IS_CORNER[around])
    by_column = np.lexsort((ys, xs))
    place_in_column = np.empty_like(by_column)
    place_in_column[by_column] = np.arange(len(by_column))
    vertex = np.arange(len(ys))
    last = len(ys) - 1
    # Where no edge leaves in a direction the entry is meaningless and never followed.
    following = np.stack(
        [
            np.minimum(vertex + 1, last),
            by_column[np.minimum(place_in_column + 1, last)],
            np.maximum(vertex - 1, 0),
            by_column[np.maximum(place_in_column - 1, 0)],
        ]
    ).tolist()
    leaves = _LEAVES[around[ys, xs]].tolist()
    points = np.stack([xs, ys], axis=1).astype(np.float64)
    starts = [v for v in range(len(ys)) if leaves[v] in (_RIGHT, _BOTH_WAYS_ACROSS)]
    visited = set()
    rings = []
    for start in starts:
        if start in visited:
            continue
        path: list[int] = []
        at, heading = start, _RIGHT
        while not (path and at == start and heading == _RIGHT):
            path.append(at)
            if heading == _RIGHT:
                visited.add(at)
            at = following[heading][at]
            heading = leaves[at] if leaves[at] < _BOTH_WAYS_ACROSS else (heading + 1) % 4
        rings.append((points[path], (int(xs[start]), int(ys[start]))))
    return rings


_RIGHT, _DOWN, _LEFT, _UP, _BOTH_WAYS_ACROSS, _BOTH_WAYS_UP = range(6)
# Where the boundary goes on from a corner, by the pixels around it; straight runs and the inside are no corners.
_LEAVES = np.full(16, -1)
_LEAVES[[1, 2, 4, 8, 7, 11, 13, 14]] = [_LEFT, _UP, _DOWN, _RIGHT, _DOWN, _LEFT, _RIGHT, _UP]
_LEAVES[[9, 6]] = [_BOTH_WAYS_ACROSS, _BOTH_WAYS_UP]
_IS_CORNER = _LEAVES >= 0


def _doubled_area(ring: Ring) -> float:
    """Twice the signed area: positive when the ring runs clockwise as seen on the screen (y down)."""
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1))
