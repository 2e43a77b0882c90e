"""Polygons to pixels and back, exactly: a pixel belongs to a polygon when its centre lies inside.

Coordinates are (x, y) px with (0, 0) at the upper left corner of the upper left pixel, so that pixel centres
are at halves. A polygon is a list of rings, the outline first and then its holes; inside is what a ray from
outside reaches through an odd number of edges (the even-odd rule), over all rings together.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.ndimage import label

Ring = npt.NDArray[np.float64]
Polygon = list[Ring]
Pair = tuple[float, float]  # x, y
Integers = npt.NDArray[np.int64]

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


def outline(mask: npt.NDArray[np.bool_], *, least: int = 0) -> list[Polygon]:
    """The polygons along the pixel edges of a mask (H, W) bool, one for each 4-connected region.

    Rings that enclose less than `least` px are left out: regions as small are gone, and holes as small are filled. With
    none left out :func:`paint` of the polygons gives the mask back.
    """
    rings, areas, (ys, xs) = _rings(mask)
    regions = np.zeros(mask.shape, np.int32)
    label(mask, output=regions)
    polygons: dict[int, Polygon] = {}
    holes: list[tuple[int, Ring]] = []
    for ring, area, region in zip(rings, areas.tolist(), regions[ys, xs].tolist(), strict=True):
        if abs(area) < least:
            continue
        if area > 0:
            polygons[region] = [ring]
        else:
            holes.append((region, ring))
    for region, ring in holes:
        polygons[region].append(ring)
    return list(polygons.values())


def _rings(mask: npt.NDArray[np.bool_]) -> tuple[list[Ring], Integers, tuple[Integers, Integers]]:
    """The closed boundaries of a mask with the mask on their right, in the order of their upper left corners.

    Of each the area that it encloses, negative of a hole, and the row and column of a pixel along it. Only corners are
    visited. A corner's boundary goes on straight to the next corner of its row or column; where two regions touch at a
    corner, it has two edges there, and turning right keeps to the same region.
    """
    around = _around(mask)
    ys, xs = np.nonzero(_IS_CORNER[around])
    leaves = _LEAVES[around[ys, xs]]
    by_column = np.argsort(xs, kind="stable")
    place_in_column = np.empty_like(by_column)
    place_in_column[by_column] = np.arange(len(by_column))
    touching = leaves >= _BOTH_WAYS_ACROSS
    edges = 1 + touching
    first = np.cumsum(edges) - edges  # of the edges that leave a corner: their numbers follow each other
    corner = np.repeat(np.arange(len(xs)), edges)
    second = np.arange(len(corner)) - first[corner]
    heading = np.where(touching[corner], leaves[corner] - _BOTH_WAYS_ACROSS + 2 * second, leaves[corner])
    step, upright = np.where(heading < _LEFT, 1, -1), heading % 2 == 1
    end = corner + step
    end[upright] = by_column[place_in_column[corner[upright]] + step[upright]]
    following = first[end] + np.where(touching[end], (heading + 1) % 4 // 2, 0)
    doubled = xs[corner] * ys[end] - xs[end] * ys[corner]  # area of the triangle with the origin, twice
    order, starts = _cycles(following)
    if not starts:
        return [], doubled, (ys, xs)
    points = np.stack([xs, ys], axis=1).astype(np.float64)
    rings = np.split(points[corner[order]], starts[1:])
    begun = order[starts]
    y, x = ys[corner[begun]], xs[corner[begun]]
    beside = y - np.isin(heading[begun], (_LEFT, _UP)), x - np.isin(heading[begun], (_DOWN, _LEFT))
    return rings, np.add.reduceat(doubled[order], starts) // 2, beside


def _around(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The four pixels around each corner of a pixel, as bits: upper left 1, upper right 2, lower left 4, lower right 8.

    (H + 1, W + 1).
    """
    padded = np.pad(mask, 1).view(np.uint8)
    around = padded[:-1, :-1].copy()
    around |= padded[:-1, 1:] << 1
    around |= padded[1:, :-1] << 2
    around |= padded[1:, 1:] << 3
    return around


def _cycles(following: Integers) -> tuple[Integers, list[int]]:
    """Edges in the order of the rings that they make, each from its least edge on; and where in it rings begin."""
    follows, passed = following.data, bytearray(len(following))
    order, starts = array("q"), []
    for start in range(len(following)):
        if passed[start]:
            continue
        starts.append(len(order))
        at = start
        while not passed[at]:
            passed[at] = True
            order.append(at)
            at = follows[at]
    return np.frombuffer(order, np.int64), starts


_RIGHT, _DOWN, _LEFT, _UP, _BOTH_WAYS_ACROSS, _BOTH_WAYS_UP = range(6)
# Where the boundary goes on from a corner, by the pixels around it; straight runs and the inside are no corners.
_LEAVES = np.full(16, -1, np.int8)
_LEAVES[[1, 2, 4, 8, 7, 11, 13, 14]] = [_LEFT, _UP, _DOWN, _RIGHT, _DOWN, _LEFT, _RIGHT, _UP]
_LEAVES[[9, 6]] = [_BOTH_WAYS_ACROSS, _BOTH_WAYS_UP]
_IS_CORNER = _LEAVES >= 0
