"""The tubulointerstitium: packed tubules with their epithelium and basement membranes, and what lies between them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hdgan.demo.phantom.canvas import Canvas, Cell
from hdgan.demo.phantom.layout import TUBULE_SPACING, Layout
from hdgan.demo.phantom.shapes import Field, Points, band, path_distance, soft

_FAR = np.float32(1e3)


def nearest_two(
    canvas: Canvas, paths: Sequence[Points], weights: Sequence[float], reach: float
) -> tuple[Field, Field, np.ndarray]:
    """Distances from each pixel to the nearest and the second nearest path, less their weights; the nearest's index.

    Half the difference of the two is the depth below the border between neighbours, as in a Voronoi diagram. Distances
    above `reach` count as infinite.
    """
    first, second = (np.full(canvas.y.shape, _FAR, np.float32) for _ in range(2))
    owner = np.full(canvas.y.shape, -1, np.int32)
    for index, (path, weight) in enumerate(zip(paths, weights, strict=True)):
        low, high = path.min(axis=0) - reach, path.max(axis=0) + reach
        rows = slice(*np.searchsorted(canvas.ys, [low[0], high[0]]))
        columns = slice(*np.searchsorted(canvas.xs, [low[1], high[1]]))
        if rows.start == rows.stop or columns.start == columns.stop:
            continue
        window = rows, columns
        distance = path_distance(path, canvas.y[window], canvas.x[window]) - np.float32(weight)
        before = first[window]
        closer = distance < before
        np.minimum(second[window], np.maximum(distance, before), out=second[window])
        owner[window][closer] = index
        np.minimum(before, distance, out=before)
    return first, second, owner


def draw_tubulointerstitium(canvas: Canvas, layout: Layout, edge: Field, textures: Sequence[Field]) -> None:
    """Fill the canvas with tubules and interstitium; structures are drawn over it afterwards.

    `edge` is the depth below the tissue's edge, `textures` are noises for granules and fibres, all (h, w).
    """
    granules, fibres = textures
    fibrosis = np.maximum(layout.fibrosis.grid(canvas.ys, canvas.xs) - 0.9, 0)
    inflamed = np.clip(layout.inflammation.grid(canvas.ys, canvas.xs) * 2.2 - 3.6, 0, 1)
    margin = TUBULE_SPACING
    low, high = (canvas.ys[0] - margin, canvas.xs[0] - margin), (canvas.ys[-1] + margin, canvas.xs[-1] + margin)
    tubules = [t for t in layout.tubules if (t.path.max(axis=0) > low).all() and (t.path.min(axis=0) < high).all()]
    first, second, owner = nearest_two(canvas, [t.path for t in tubules], [t.weight for t in tubules], margin)

    # A tubule is as wide as its neighbours let it be, and round where they leave corners.
    half = np.float32(0.53 * TUBULE_SPACING)
    room, rounding = (second - first) / 2, half - first
    # No lumen opens onto the glass: where white meets white nobody could see the outline that the truth holds.
    depth = np.minimum(room, rounding) - np.maximum(4 - np.abs(room - rounding), 0) ** 2 / 16
    depth -= np.float32(1.1) + 4.5 * fibrosis + 4 * inflamed
    depth = np.minimum(depth, edge - 1)
    for structure in layout.structures:
        if (part := canvas.around(structure.blob, TUBULE_SPACING / 2)) is not None:
            rows = slice(*np.searchsorted(canvas.ys, [part.ys[0], part.ys[-1] + 1e-6]))
            columns = slice(*np.searchsorted(canvas.xs, [part.xs[0], part.xs[-1] + 1e-6]))
            outside = -structure.blob.depth(part.y, part.x)[0] - 2
            depth[rows, columns] = np.minimum(depth[rows, columns], outside)
    _interstitium(canvas, fibres, fibrosis, inflamed, depth)

    table = np.array([(t.wall, t.distal, t.tint) for t in tubules] + [(10, 0, 0)], np.float32)
    wall, distal, tint = (table[:, column][owner] for column in range(3))
    _epithelium(canvas, granules, depth, wall, distal, tint)


def _interstitium(canvas: Canvas, fibres: Field, fibrosis: Field, inflamed: Field, depth: Field) -> None:
    strands = np.clip(0.5 + 0.35 * fibres, 0, 1)
    canvas.e[:] = 0.1 + 0.15 * strands + 0.1 * np.minimum(fibrosis, 1) * strands
    canvas.p[:] = 0.03 + 0.06 * strands
    canvas.h[:] = 0.03 + 0.1 * inflamed
    between = depth < -1.2
    density = 0.16 + 0.8 * inflamed
    canvas.seat(between & (inflamed <= 0.15), Cell.SPINDLE, density, depth)
    canvas.seat(between & (inflamed > 0.15), Cell.LYMPHOCYTE, density, depth)


def _epithelium(canvas: Canvas, granules: Field, depth: Field, wall: Field, distal: Field, tint: Field) -> None:
    inside = soft(depth)
    lumen_depth = depth - wall + (0.8 - 0.2 * distal) * granules
    lumen = soft(lumen_depth, 3)
    cytoplasm = (0.29 - 0.13 * distal + 0.03 * tint) * (1 + 0.13 * granules)
    # Proximal cells are darkest at their brush border; distal cells are pale and clear throughout.
    brush = (1 - distal) * band(lumen_depth, -3, 0.2, 2)
    body = inside * (1 - lumen)
    for stain, base, inner in (
        (canvas.e, cytoplasm, 0.015),
        (canvas.h, 0.05 + 0.03 * distal, 0.004),
        (canvas.p, 0.03 * (1 - distal) + 0.15 * brush, 0.01),
    ):
        stain *= 1 - inside
        stain += body * base + (inside * lumen) * np.float32(inner)
    membrane = band(depth, -0.9, 0.6)
    canvas.p += 0.36 * membrane
    line = depth - np.minimum(0.42 * wall, 6)
    canvas.seat((np.abs(line) < 3.8) & (depth > 0), Cell.TUBULAR, 0.72 - 0.12 * (1 - distal), line)
    canvas.density[(depth > 0) & (np.abs(line) >= 3.8)] = 0
