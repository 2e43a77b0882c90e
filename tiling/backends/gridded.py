"""A file whose levels are grids of cells or segments: regions of it, with or without what is corrupt."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

import numpy as np

# Modules and not their names: whichever of them is imported first imports the registry of backends, and so this one.
from tiling import cells, damage
from tiling.backends.base import Image, Level
from tiling.backends.segments import SegmentGrid

Grid: TypeAlias = "cells.CellGrid | SegmentGrid"
G = TypeVar("G", bound=Grid)


class GriddedFile(Generic[G]):
    """An open file. No more is decoded than the cells that a region touches, one by one.

    Regions are in px of their level, and may reach outside it.
    """

    def __init__(self, path: Path, grids: Sequence[G], levels: Sequence[Level]) -> None:
        self.grids = tuple(grids)
        self._levels = tuple(levels)
        self._file = os.open(path, os.O_RDONLY)
        self._release = weakref.finalize(self, os.close, self._file)  # also where nobody closes

    def read(self, left: int, top: int, width: int, height: int, level: int) -> Image:
        """A region, RGB, or RGBA where part of it has no pixels; raises :class:`tiling.cells.CorruptCellsError`."""
        region, corrupt = self._decoded(left, top, width, height, level)
        if corrupt:
            raise cells.CorruptCellsError(sorted(corrupt), corrupt[min(corrupt)])
        return region

    def salvage(
        self, left: int, top: int, width: int, height: int, level: int
    ) -> tuple[Image, tuple[damage.DamagedCell, ...]]:
        """As :meth:`read`, with alpha 0 where a cell is corrupt; and these cells."""
        region, corrupt = self._decoded(left, top, width, height, level)
        if not corrupt:
            return region, ()
        grid = self.grids[level]
        if region.shape[2] == 3:
            region = np.concatenate([region, np.full((height, width, 1), 255, np.uint8)], axis=2)
        for cell in corrupt:
            region[grid.area(cell, x=left, y=top, width=width, height=height)] = 0
        size = grid.cell_width, grid.cell_height
        at = functools.partial(damage.DamagedCell.at, number=level, level=self._levels[level], cell=size)
        return region, tuple(at(*cell) for cell in sorted(corrupt))

    def source_cells(self, level: int) -> cells.SourceCells | None:
        """The compressed cells of a level, as they stand in the file; None if it is not made of JPEGs."""
        grid = self.grids[level]
        return cells.SourceCells(grid, self._file) if isinstance(grid, cells.CellGrid) else None

    def close(self) -> None:
        """Release the file; closing twice is fine."""
        self._release()

    def _decoded(
        self, left: int, top: int, width: int, height: int, level: int
    ) -> tuple[Image, dict[cells.CellPlace, str]]:
        """A region, RGB or with alpha 0 where there are no pixels; and corrupt cells with the reasons."""
        grid = self.grids[level]
        x0, x1 = (min(max(edge, 0), grid.width) for edge in (left, left + width))
        y0, y1 = (min(max(edge, 0), grid.height) for edge in (top, top + height))
        if (x1 - x0, y1 - y0) == (width, height):
            return grid.salvage(self._file, x=left, y=top, width=width, height=height)
        region = np.zeros((height, width, 4), np.uint8)
        if x0 == x1 or y0 == y1:
            return region, {}
        pixels, corrupt = grid.salvage(self._file, x=x0, y=y0, width=x1 - x0, height=y1 - y0)
        there = region[y0 - top : y1 - top, x0 - left : x1 - left]
        there[..., 3] = 255
        there[..., : pixels.shape[2]] = pixels
        return region, corrupt
