"""Which tiles regions touch, exactly: no picture of them is made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from tiling.grid import Grid
from tiling.regions.polygons import Polygon, bounds
from tiling.regions.region import Region

_AT_ONCE = 1 << 20  # pairs of a tile and an edge: bounds memory
Points = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


def touching(grid: Grid, regions: Iterable[Region], names: Collection[str]) -> Flags:
    """Which tiles share an area, or at least a point of an edge, with regions of some classes.

    A tile touches a region that has a vertex inside it, an edge across it, or all of it inside; not one in whose
    hole it lies.

    Parameters
    ----------
    grid
        n tiles; each is the closed square from (x, y) of the grid's `extent`, level-0 px.
    regions
        In level-0 px.
    names
        A region counts if it has one of them, whatever their case.

    Returns
    -------
    (n,) bool

    Examples
    --------
    >>> from tiling.grid import make_grid
    >>> from tiling.regions.shapes import rectangle
    >>> glomerulus = Region(("Glomerulus",), [[rectangle(90, 10, 110, 20)]], "drawn")
    >>> touching(make_grid(400, 100, size=100), [glomerulus], ["glomerulus"])
    array([ True,  True, False, False])
    """
    corners = np.stack([grid.x, grid.y], axis=1).astype(np.float64)
    touched = np.zeros(len(grid), np.bool_)
    for region in regions:
        if region.is_one_of(names):
            for polygon in region.polygons:
                least, most = bounds(polygon)
                near = (corners <= most) & (corners + grid.extent >= least)
                asked = np.flatnonzero(near[:, 0] & near[:, 1] & ~touched)
                if len(asked):
                    touched[asked] = _touched(corners[asked], grid.extent, polygon, region.cut)
    return touched


def _touched(corners: Points, extent: float, polygon: Polygon, cut: Sequence[Polygon]) -> Flags:
    """Which of k squares, by their upper left corners (k, 2), a polygon touches that others are cut out of."""
    touched = _crossed(corners, extent, _boundary(polygon, cut))
    whole = np.flatnonzero(~touched)  # no edge crosses them: inside or outside as a whole, as any point of theirs is
    centres = corners[whole] + extent / 2
    inside = contains(polygon, centres)
    for hole in cut:
        inside &= ~contains(hole, centres)
    touched[whole] = inside
    return touched


def _crossed(corners: Points, extent: float, edges: Points) -> Flags:
    """Which of k squares any of some edges (m, 2, 2) reaches: by the axes that may separate the two.

    These are x, y and the normal of the edge (the separating axis theorem).
    """
    crossed = np.zeros(len(corners), np.bool_)
    half = extent / 2
    centres = corners + half
    reach = (edges.min(axis=1) <= corners.max(axis=0) + extent) & (edges.max(axis=1) >= corners.min(axis=0))
    edges = edges[reach.all(axis=1)]
    middle, along = edges.mean(axis=1), (edges[:, 1] - edges[:, 0]) / 2
    reach_of_edge = np.abs(along)
    width_on_normal = half * reach_of_edge.sum(axis=1)
    for some in _blocks(len(edges), len(corners)):
        across, down = np.moveaxis(centres[:, None] - middle[some], -1, 0)  # (k, block) each
        apart = np.abs(across * along[some, 1] - down * along[some, 0])
        meets = apart <= width_on_normal[some]
        meets &= np.abs(across) <= half + reach_of_edge[some, 0]
        meets &= np.abs(down) <= half + reach_of_edge[some, 1]
        crossed |= meets.any(axis=1)
    return crossed


def contains(polygon: Polygon, points: Points) -> Flags:
    """Which of n points (n, 2) a polygon encloses, by the even-odd rule over its rings."""
    start, end = np.moveaxis(edges_of(polygon), 1, 0)
    inside = np.zeros(len(points), np.bool_)
    x, y = points[:, :1], points[:, 1:]
    for some in _blocks(len(start), len(points)):
        (x0, y0), (x1, y1) = start[some].T, end[some].T
        passes = (y0 <= y) != (y1 <= y)
        # The edge is left of the point: compared without dividing, by the side that the point is on.
        side = (x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)
        inside ^= (passes & ((side < 0) == (y1 > y0))).sum(axis=1) % 2 == 1
    return inside


def _boundary(polygon: Polygon, cut: Sequence[Polygon]) -> Points:
    """The edges (m, 2, 2) around what is left of a polygon: its own outside the cuts, and theirs within it."""
    least, most = bounds(polygon)
    near = [hole for hole in cut if (bounds(hole)[0] <= most).all() and (bounds(hole)[1] >= least).all()]
    if not near:
        return edges_of(polygon)
    kept = []
    for own in (polygon, *near):
        others = [hole for hole in near if hole is not own]
        crossing = np.concatenate([edges_of(other) for other in (polygon, *near) if other is not own])
        pieces = split_at(edges_of(own), crossing)
        middle = pieces.mean(axis=1)
        keep = np.ones(len(pieces), np.bool_) if own is polygon else contains(polygon, middle)
        for hole in others:
            keep &= ~contains(hole, middle)
        kept.append(pieces[keep])
    return np.concatenate(kept)


def split_at(edges: Points, others: Points) -> Points:
    """Edges (m, 2, 2) in pieces (p, 2, 2), which end where one of the others crosses them."""
    along, there = edges[:, 1] - edges[:, 0], others[:, 1] - others[:, 0]
    at = [np.zeros(len(edges)), np.ones(len(edges))]
    of = [np.arange(len(edges))] * 2
    for some in _blocks(len(others), len(edges)):
        turn = _cross(along[:, None], there[some])
        gap = others[some, 0] - edges[:, None, 0]
        with np.errstate(divide="ignore", invalid="ignore"):  # parallel ones: they fail both comparisons
            mine, theirs = _cross(gap, there[some]) / turn, _cross(gap, along[:, None]) / turn
        edge, other = np.nonzero((mine > 0) & (mine < 1) & (theirs >= 0) & (theirs <= 1))
        at.append(mine[edge, other])
        of.append(edge)
    fraction, edge = np.concatenate(at), np.concatenate(of)
    order = np.lexsort((fraction, edge))
    fraction, edge = fraction[order], edge[order]
    points = edges[edge, 0] + fraction[:, None] * along[edge]
    same = edge[1:] == edge[:-1]
    return np.stack([points[:-1][same], points[1:][same]], axis=1)


def _cross(a: Points, b: Points) -> Points:
    product: Points = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return product


def edges_of(polygon: Polygon) -> Points:
    """All edges of a polygon's rings, (m, 2, 2): start and end, x and y."""
    return np.concatenate([np.stack([ring, np.roll(ring, -1, axis=0)], axis=1) for ring in polygon])


def _blocks(count: int, times: int) -> Iterator[slice]:
    """Slices of `count` things that are each compared with `times` others."""
    size = max(1, _AT_ONCE // max(1, times))
    return (slice(start, start + size) for start in range(0, count, size))
