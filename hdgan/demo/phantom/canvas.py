"""The region being drawn: stain concentrations, class labels, and where nuclei may come to lie."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from hdgan.demo.phantom.shapes import Blob, Field, Points, soft
from hdgan.labels import LabelMap


class Cell(IntEnum):
    """What kind of cell a place may hold; `RED` is a red blood cell."""

    NONE = 0
    TUBULAR = 1
    SPINDLE = 2
    LYMPHOCYTE = 3
    TUFT = 4
    RED = 5


@dataclass(eq=False)
class Canvas:
    """A region of the slide, all arrays (h, w).

    `y`, `x` are the (warped) coordinates in um of each pixel; `h`, `e`, `p` the concentrations of haematoxylin, eosin
    and of PAS magenta; `label` the class. `cell`, `density` and `line` say which cell may lie here, how probably, and
    how far (um, signed) the place is from the line that such cells follow.
    """

    ys: Points
    xs: Points
    y: Field
    x: Field
    h: Field
    e: Field
    p: Field
    label: LabelMap
    cell: LabelMap
    density: Field
    line: Field

    @classmethod
    def blank(cls, ys: Points, xs: Points, y: Field, x: Field) -> Canvas:
        """An empty canvas over the pixel centres `ys`, `xs` (um)."""
        h, e, p, density, line = (np.zeros(y.shape, np.float32) for _ in range(5))
        label, cell = (np.zeros(y.shape, np.uint8) for _ in range(2))
        return cls(ys, xs, y, x, h, e, p, label, cell, density, line)

    def window(self, y: float, x: float, reach: float) -> tuple[slice, slice] | None:
        """The part of the canvas within `reach` um of a point; None when that is nothing."""
        rows = slice(*np.searchsorted(self.ys, [y - reach, y + reach]))
        columns = slice(*np.searchsorted(self.xs, [x - reach, x + reach]))
        return None if rows.start == rows.stop or columns.start == columns.stop else (rows, columns)

    def part(self, window: tuple[slice, slice]) -> Canvas:
        """A window of the canvas; drawing in it draws in the canvas."""
        y, x, h, e, p, density, line = (
            field[window] for field in (self.y, self.x, self.h, self.e, self.p, self.density, self.line)
        )
        label, cell = self.label[window], self.cell[window]
        return Canvas(self.ys[window[0]], self.xs[window[1]], y, x, h, e, p, label, cell, density, line)

    def around(self, blob: Blob, margin: float) -> Canvas | None:
        """The part of the canvas in which a blob lies, or None."""
        window = self.window(blob.y, blob.x, blob.reach + margin)
        return None if window is None else self.part(window)

    def claim(self, depth: Field, label: int) -> None:
        """Give everything inside an outline to a class and clear it, as far as it is tissue."""
        keep = 1 - soft(depth)
        for stain in (self.h, self.e, self.p, self.density):
            stain *= keep
        self.label[(depth > 0) & (self.label > 0)] = label

    def seat(self, where: np.ndarray, cell: Cell, density: Field | float, line: Field) -> None:
        """Allow cells of a kind where `where` holds; later seats replace earlier ones."""
        self.cell[where] = cell
        self.line[where] = line[where]
        self.density[where] = density[where] if isinstance(density, np.ndarray) else density
