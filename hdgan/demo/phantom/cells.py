"""Nuclei and red cells: a jittered lattice of candidates, of which the canvas takes what it has room for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdgan.demo.phantom.canvas import Canvas, Cell
from hdgan.demo.phantom.shapes import Field, Points

SPACING = 7.6
MARGIN = 13.0
_PATCH_RADIUS = 8.5


@dataclass(frozen=True)
class _Style:
    """Half axes in um, amount of stain, and whether the cell lies along the line and is drawn onto it."""

    long: float
    short: float
    stain: float
    along: bool
    snap: float


_STYLES = {
    Cell.TUBULAR: _Style(3.3, 2.8, 0.62, True, 0.7),
    Cell.SPINDLE: _Style(5.0, 1.25, 0.72, True, 0.2),
    Cell.LYMPHOCYTE: _Style(2.8, 2.6, 0.95, False, 0),
    Cell.TUFT: _Style(3.3, 2.4, 0.74, False, 0),
    Cell.RED: _Style(3.2, 2.9, 0.5, False, 0),
}


@dataclass(frozen=True)
class Candidates:
    """Places where cells may lie: (rows, columns) arrays on a lattice of `SPACING` um.

    `y`, `x` in um; `chance` decides whether the cell is there; `size`, `aspect` and `stain` are factors about 1;
    `turn` in rad.
    """

    y: Points
    x: Points
    chance: Points
    size: Points
    aspect: Points
    stain: Points
    turn: Points

    @classmethod
    def draw(cls, extent: float, rng: np.random.Generator) -> Candidates:
        """Candidates over a slide of `extent` um."""
        count = int(np.ceil(extent / SPACING)) + 1
        rows, columns = np.mgrid[:count, :count]
        jitter = rng.uniform(-0.33, 0.33, (2, count, count))
        y = (rows + jitter[0]) * SPACING
        x = (columns + 0.5 * (rows % 2) + jitter[1]) * SPACING
        shape = (count, count)
        return cls(
            y,
            x,
            rng.uniform(size=shape),
            np.clip(rng.normal(1, 0.1, shape), 0.75, 1.3),
            np.clip(rng.normal(1, 0.1, shape), 0.75, 1.3),
            np.clip(rng.normal(1, 0.16, shape), 0.6, 1.5),
            rng.uniform(0, np.pi, shape),
        )

    def within(self, ys: Points, xs: Points) -> Candidates:
        """Candidates in a region, flattened to (n,)."""
        rows, columns = (slice(max(0, int(axis[0] / SPACING) - 2), int(axis[-1] / SPACING) + 3) for axis in (ys, xs))
        arrays = (self.y, self.x, self.chance, self.size, self.aspect, self.stain, self.turn)
        flat = [a[rows, columns].ravel() for a in arrays]
        inside = (flat[0] > ys[0]) & (flat[0] < ys[-1]) & (flat[1] > xs[0]) & (flat[1] < xs[-1])
        return Candidates(*(a[inside] for a in flat))


def draw_cells(canvas: Canvas, candidates: Candidates, chromatin: Field) -> None:
    """Put nuclei and red cells where the canvas seats them; `chromatin` is a noise of the canvas's shape."""
    chosen = candidates.within(canvas.ys, canvas.xs)
    pitch = canvas.ys[1] - canvas.ys[0]
    rows = np.clip(((chosen.y - canvas.ys[0]) / pitch + 0.5).astype(int), 2, len(canvas.ys) - 3)
    columns = np.clip(((chosen.x - canvas.xs[0]) / pitch + 0.5).astype(int), 2, len(canvas.xs) - 3)
    taken = (chosen.chance < canvas.density[rows, columns]) & (canvas.label[rows, columns] > 0)
    rows, columns = rows[taken], columns[taken]
    arrays = (chosen.y, chosen.x, chosen.chance, chosen.size, chosen.aspect, chosen.stain, chosen.turn)
    chosen = Candidates(*(a[taken] for a in arrays))
    kind = canvas.cell[rows, columns]

    slope_y = canvas.line[rows + 2, columns] - canvas.line[rows - 2, columns]
    slope_x = canvas.line[rows, columns + 2] - canvas.line[rows, columns - 2]
    steepness = np.hypot(slope_y, slope_x) + 1e-6
    along = np.arctan2(slope_x, -slope_y)
    offset = np.clip(canvas.line[rows, columns], -4, 4)
    style = np.array([(s.long, s.short, s.stain, s.along, s.snap) for s in _STYLES.values()])[kind - 1].T
    y = chosen.y - style[4] * offset * slope_y / steepness
    x = chosen.x - style[4] * offset * slope_x / steepness
    angle = np.where(style[3] > 0, along + 0.25 * (chosen.turn - np.pi / 2), chosen.turn)
    ellipses = np.stack(
        [
            y,
            x,
            style[0] * chosen.size * chosen.aspect,
            style[1] * chosen.size / chosen.aspect,
            angle,
            style[2] * chosen.stain,
        ]
    )
    red = kind == Cell.RED
    cover, amount = _stamp(canvas, ellipses[:, ~red], pitch)
    canvas.h[:] = canvas.h * (1 - cover) + amount * (1 + 0.16 * chromatin)
    canvas.e *= 1 - 0.55 * cover
    canvas.p *= 1 - 0.75 * cover
    cover, amount = _stamp(canvas, ellipses[:, red], pitch)
    canvas.e[:] = canvas.e * (1 - cover) + amount


def _stamp(canvas: Canvas, ellipses: Points, pitch: float) -> tuple[Field, Field]:
    """Coverage and coverage times stain of soft ellipses (6, n): y, x, half axes, angle, stain."""
    cover, amount = (np.zeros(canvas.y.shape, np.float32) for _ in range(2))
    radius = int(np.ceil(_PATCH_RADIUS / pitch))
    steps = np.arange(-radius, radius + 1)
    row = np.rint((ellipses[0] - canvas.ys[0]) / pitch).astype(int)
    column = np.rint((ellipses[1] - canvas.xs[0]) / pitch).astype(int)
    whole = (row >= radius) & (row < len(canvas.ys) - radius) & (column >= radius) & (column < len(canvas.xs) - radius)
    row, column, ellipses = row[whole], column[whole], ellipses[:, whole].astype(np.float32)
    y0, x0, long, short, angle, stain = ellipses[:, :, None, None]
    dy = canvas.ys[row[:, None] + steps].astype(np.float32)[:, :, None] - y0
    dx = canvas.xs[column[:, None] + steps].astype(np.float32)[:, None, :] - x0
    sine, cosine = np.sin(angle), np.cos(angle)
    radial = np.hypot((dx * cosine + dy * sine) / long, (dy * cosine - dx * sine) / short)
    patches = np.clip((1 - radial) * np.sqrt(long * short) / 1.1 + 0.5, 0, 1)
    # A nuclear membrane stains more than what it encloses.
    stained = patches * stain * (0.8 + 0.3 * np.minimum(radial, 1) ** 4)
    for r, c, patch, depth in zip(row - radius, column - radius, patches, stained, strict=True):
        window = slice(r, r + len(steps)), slice(c, c + len(steps))
        np.maximum(cover[window], patch, out=cover[window])
        np.maximum(amount[window], depth, out=amount[window])
    return cover, amount
