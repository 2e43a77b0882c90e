"""TIFFs whose levels are read segment by segment, whatever says which pages these are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import tifffile

# Modules and not their names: whichever of them is imported first imports the registry of backends, and so this one.
from tiling import cells, damage
from tiling.backends.base import Colour, DeclinedError, Image, Level, LostFileError, credible_mpp
from tiling.backends.gridded import Grid, GriddedFile
from tiling.backends.segments import SegmentGrid

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_MICROMETRES_PER_UNIT = {2: 25400.0, 3: 10000.0}  # TIFF's ResolutionUnit: inch, centimetre
_SAME_SHAPE = 0.02


class Facts(NamedTuple):
    """What a file says of its picture."""

    mpp: float | None
    objective_power: float | None
    icc_profile: bytes | None
    properties: Mapping[str, str]


class SegmentedTiff:
    """An open TIFF, read segment by segment."""

    background: Colour | None = None

    def __init__(self, path: Path, grids: Sequence[Grid], facts: Facts) -> None:
        grids = sorted(grids, key=lambda grid: -grid.width)
        full = grids[0]
        self.levels = tuple(
            Level(grid.width, grid.height, (full.width / grid.width + full.height / grid.height) / 2) for grid in grids
        )
        self.mpp, self.objective_power, self.icc_profile, self.properties = facts
        self._file: GriddedFile[Grid] = GriddedFile(path, grids, self.levels)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The grid of every level."""
        return self._file.grids

    def read(self, *, x: int, y: int, width: int, height: int, level: int) -> Image:
        """Read a region as RGB, or as RGBA where part of it has no pixels."""
        return self._file.read(*self._corner(x, y, level), width, height, level)

    def salvage(
        self, *, x: int, y: int, width: int, height: int, level: int
    ) -> tuple[Image, tuple[damage.DamagedCell, ...]]:
        """As :meth:`read`, with alpha 0 where a segment is corrupt; and these segments."""
        return self._file.salvage(*self._corner(x, y, level), width, height, level)

    def source_cells(self, level: int) -> cells.SourceCells | None:
        """The compressed cells of a level, as they stand in the file; None if it is not made of JPEGs."""
        return self._file.source_cells(level)

    def close(self) -> None:
        """Release the file; closing twice is fine."""
        self._file.close()

    def _corner(self, x: int, y: int, level: int) -> tuple[int, int]:
        downsample = self.levels[level].downsample
        return round(x / downsample), round(y / downsample)


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
    """Open a TIFF; a :class:`DeclinedError` if it is none, a :class:`LostFileError` if it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as error:
        raise LostFileError(str(error.strerror)) from error
    if head not in TIFF:
        raise DeclinedError("is no TIFF")
    return tifffile.TiffFile(path)
