"""TIFFs whose levels are read segment by segment, whatever says which pages these are."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import tifffile

# Modules and not their names: whichever of them is imported first imports the registry of backends, and so this one.
from tiling import cells, damage
from tiling.backends.base import BackendError, Colour, DeclinedError, Image, Level, credible_mpp
from tiling.backends.segments import SegmentGrid

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MICROMETRES_PER_UNIT = {2: 25400.0, 3: 10000.0}  # TIFF's ResolutionUnit: inch, centimetre
_SAME_SHAPE = 0.02

Grid: TypeAlias = "cells.CellGrid | SegmentGrid"


class Facts(NamedTuple):
    """What a file says of its picture."""

    mpp: float | None
    objective_power: float | None
    icc_profile: bytes | None
    properties: Mapping[str, str]


class SegmentedTiff:
    """An open TIFF. Memory is bounded: no more is decoded than the segments that a region touches, one by one."""

    background: Colour | None = None

    def __init__(self, path: Path, grids: Sequence[Grid], facts: Facts) -> None:
        self.grids = tuple(sorted(grids, key=lambda grid: -grid.width))
        full = self.grids[0]
        self.levels = tuple(
            Level(grid.width, grid.height, (full.width / grid.width + full.height / grid.height) / 2)
            for grid in self.grids
        )
        self.mpp, self.objective_power, self.icc_profile, self.properties = facts
        self._file = os.open(path, os.O_RDONLY)
        self._release = weakref.finalize(self, os.close, self._file)  # also where nobody closes

    def read(self, *, x: int, y: int, width: int, height: int, level: int) -> Image:
        """Read a region as RGB, or as RGBA where part of it has no pixels."""
        region, corrupt, _ = self._decoded(x, y, width, height, level)
        if corrupt:
            raise cells.CorruptCellsError(sorted(corrupt), corrupt[min(corrupt)])
        return region

    def salvage(
        self, *, x: int, y: int, width: int, height: int, level: int
    ) -> tuple[Image, tuple[damage.DamagedCell, ...]]:
        """As :meth:`read`, with alpha 0 where a segment is corrupt; and these segments."""
        region, corrupt, (left, top) = self._decoded(x, y, width, height, level)
        if not corrupt:
            return region, ()
        grid = self.grids[level]
        if region.shape[2] == 3:
            region = np.concatenate([region, np.full((height, width, 1), 255, np.uint8)], axis=2)
        for cell in corrupt:
            region[grid.area(cell, x=left, y=top, width=width, height=height)] = 0
        size = grid.cell_width, grid.cell_height
        at = functools.partial(damage.DamagedCell.at, number=level, level=self.levels[level], cell=size)
        return region, tuple(at(*cell) for cell in sorted(corrupt))

    def close(self) -> None:
        """Release the file; closing twice is fine."""
        self._release()

    def _decoded(
        self, x: int, y: int, width: int, height: int, level: int
    ) -> tuple[Image, dict[cells.CellPlace, str], tuple[int, int]]:
        """A region, RGB or with alpha 0 where there are no pixels; corrupt cells; and its corner, px of the level."""
        grid, downsample = self.grids[level], self.levels[level].downsample
        left, top = round(x / downsample), round(y / downsample)
        x0, x1 = (min(max(edge, 0), grid.width) for edge in (left, left + width))
        y0, y1 = (min(max(edge, 0), grid.height) for edge in (top, top + height))
        if (x1 - x0, y1 - y0) == (width, height):
            return *grid.salvage(self._file, x=left, y=top, width=width, height=height), (left, top)
        region = np.zeros((height, width, 4), np.uint8)
        if x0 == x1 or y0 == y1:
            return region, {}, (left, top)
        pixels, corrupt = grid.salvage(self._file, x=x0, y=y0, width=x1 - x0, height=y1 - y0)
        there = region[y0 - top : y1 - top, x0 - left : x1 - left]
        there[..., 3] = 255
        there[..., : pixels.shape[2]] = pixels
        return region, corrupt, (left, top)


def grid_of(pages: Sequence[tifffile.TiffPage]) -> Grid:
    """The grid of a level; of JPEG cells, which are decoded soonest, if it has them. Raises :class:`BackendError`."""
    segment_grid = SegmentGrid.of_pages(pages)
    if len(pages) == 1:
        try:
            return cells.CellGrid.of_page(pages[0])
        except DeclinedError:
            pass
    return segment_grid


def grids_of(levels: Sequence[Sequence[tifffile.TiffPage]]) -> list[Grid]:
    """The grids of a pyramid, finest first; levels that are no smaller pictures of the first are left out."""
    full = levels[0][0]
    grids = [grid_of(levels[0])]
    for pages in levels[1:]:
        width, height = pages[0].imagewidth, pages[0].imagelength
        across, down = (size / max(1, level) for size, level in ((full.imagewidth, width), (full.imagelength, height)))
        smaller = across > 1 and down > 1
        # A level of few pixels may be off by one of them.
        tolerance = _SAME_SHAPE + 1 / max(1, min(width, height))
        if smaller and abs(across / down - 1) <= tolerance and all(width != grid.width for grid in grids):
            grids.append(grid_of(pages))
    return grids


def tiff_mpp(page: tifffile.TiffPage) -> float | None:
    """Micrometres per px by a page's resolution tags, if credible."""
    per_unit = _MICROMETRES_PER_UNIT.get(int(page.resolutionunit or 0))
    across, down = page.resolution
    return credible_mpp(per_unit / across, per_unit / down) if per_unit and across and down else None


def opened(path: Path) -> tifffile.TiffFile:
    """Open a TIFF; a :class:`DeclinedError` if it is none, a :class:`BackendError` if its head is broken."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise BackendError(str(error.strerror)) from error
    if head not in TIFF:
        raise DeclinedError("is no TIFF")
    return tifffile.TiffFile(path)
