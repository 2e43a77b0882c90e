"""Tiled JPEG and JPEG 2000 TIFFs, Aperio's SVS among them, by decoding their cells directly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import tifffile

# Modules and not their names: whichever of them is imported first imports the registry of backends, and so this one.
from tiling import cells, damage
from tiling.backends.base import DAMAGED, BackendError, Colour, DeclinedError, Image, Level
from tiling.backends.gridded import GriddedFile
from tiling.backends.openslide import OpenSlideBackend
from tiling.files import state_of

_SAMPLE = 64  # px
_PARTS = (0.0, 0.37, 0.5, 0.71, 1.0)  # along the diagonal of a level
_LONGEST_STEP = 256  # px of a level
_ALIGNED = 1e-6  # px of a level

_alike: set[tuple[int, ...]] = set()  # states of files whose pixels were found to be OpenSlide's, in this process


class TiffBackend:
    """The pixels that OpenSlide gives, in a fraction of its time.

    What the file is (levels, resolution, background) is OpenSlide's word. A file is served only if every level is a
    whole grid of cells and a sample of regions of each level equals OpenSlide's pixels; regions that begin between
    the pixels of their level, where OpenSlide interpolates, are read by OpenSlide.
    """

    name: ClassVar[str] = "tiff"

    def __init__(self, openslide: OpenSlideBackend, file: GriddedFile[cells.CellGrid]) -> None:
        self._openslide = openslide
        self._file = file

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a slide; a :class:`DeclinedError` tells why it is left to the next backend."""
        grids = _grids(path)
        try:
            openslide = OpenSlideBackend.open(path)
        except BackendError as error:
            raise DeclinedError(str(error)) from error
        chosen = []
        for level in openslide.levels:
            if (level.width, level.height) not in grids:
                raise DeclinedError(f"has no cells for its level of {level.width} x {level.height} px")
            chosen.append(grids[level.width, level.height])
        backend = cls(openslide, GriddedFile(path, chosen, openslide.levels))
        state = state_of(path)
        if state not in _alike:
            try:
                backend._compare()
            except BackendError:
                backend.close()
                raise
            _alike.add(state)
        return backend

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def levels(self) -> tuple[Level, ...]:
        """The resolutions, finest first."""
        return self._openslide.levels

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel."""
        return self._openslide.mpp

    @property
    def objective_power(self) -> float | None:
        """Magnification of the objective."""
        return self._openslide.objective_power

    @property
    def background(self) -> Colour | None:
        """The colour of areas that were not scanned."""
        return self._openslide.background

    @property
    def properties(self) -> Mapping[str, str]:
        """What the file says about itself."""
        return self._openslide.properties

    @property
    def icc_profile(self) -> bytes | None:
        """The colour profile."""
        return self._openslide.icc_profile

    @property
    def grids(self) -> tuple[cells.CellGrid, ...]:
        """The grid of every level."""
        return self._file.grids

    def read(self, *, x: int, y: int, width: int, height: int, level: int) -> Image:
        """Read a region as RGB, or as RGBA where part of it is outside the slide or OpenSlide has to read it."""
        corner = self._aligned(x, y, level)
        if corner is None:
            return self._openslide.read(x=x, y=y, width=width, height=height, level=level)
        return self._file.read(*corner, width, height, level)

    def salvage(
        self, *, x: int, y: int, width: int, height: int, level: int
    ) -> tuple[Image, tuple[damage.DamagedCell, ...]]:
        """As :meth:`read`, with alpha 0 where a cell is corrupt; and these cells."""
        corner = self._aligned(x, y, level)
        if corner is None:
            return damage.salvaged(self._openslide, x=x, y=y, width=width, height=height, level=level)
        return self._file.salvage(*corner, width, height, level)

    def source_cells(self, level: int) -> cells.SourceCells | None:
        """The compressed cells of a level, as they stand in the file."""
        return self._file.source_cells(level)

    def close(self) -> None:
        """Release the file; closing twice is fine."""
        self._file.close()
        self._openslide.close()

    def _aligned(self, x: int, y: int, level: int) -> tuple[int, int] | None:
        """A level-0 corner in px of a level; None if it is between two of them."""
        downsample = self.levels[level].downsample
        left, top = round(x / downsample), round(y / downsample)
        aligned = max(abs(x / downsample - left), abs(y / downsample - top)) < _ALIGNED
        return (left, top) if aligned else None

    def _compare(self) -> None:
        """Refuse a file whose pixels, decoded here, are not OpenSlide's.

        A region that either cannot decode tells nothing; a corrupt cell is no reason to read all others the slow way.
        A level whose sampled regions are all like that must be of the same make as one that could be compared.
        """
        compared = set()
        for number, (grid, level) in enumerate(zip(self.grids, self.levels, strict=True)):
            size = {"width": min(_SAMPLE, grid.width), "height": min(_SAMPLE, grid.height)}
            for x, y in _places(grid, level):
                try:
                    given = self.read(x=x, y=y, **size, level=number)
                    expected = self._openslide.read(x=x, y=y, **size, level=number)
                except BackendError:
                    continue
                if (expected[..., 3] != 255).any() or not np.array_equal(expected[..., :3], given[..., :3]):
                    raise DeclinedError(f"has pixels that OpenSlide sees otherwise, at x={x}, y={y} of level {number}")
                compared.add(grid.make)
        if any(grid.make not in compared for grid in self.grids):
            raise DeclinedError("has a level of which no region can be compared with OpenSlide's pixels")


def _grids(path: Path) -> dict[tuple[int, int], cells.CellGrid]:
    """The cell grids of a file by their width and height; the first where several pages have the same size."""
    grids: dict[tuple[int, int], cells.CellGrid] = {}
    try:
        with tifffile.TiffFile(path) as file:
            for page in file.pages:
                if page.is_tiled:
                    grids.setdefault((page.imagewidth, page.imagelength), cells.CellGrid.of_page(page))
    except DAMAGED as error:
        raise DeclinedError(" ".join(str(error).split()) or type(error).__name__) from error
    return grids


def _places(grid: cells.CellGrid, level: Level) -> list[tuple[int, int]]:
    """Level-0 corners of the sampled regions, each on a pixel of the level."""
    steps = (n for n in range(1, _LONGEST_STEP + 1) if abs(n * level.downsample % 1) < _ALIGNED)
    step = next(steps, 0)  # 0: only the origin is on a pixel of both
    ends = max(0, grid.width - _SAMPLE), max(0, grid.height - _SAMPLE)
    corners = [tuple(int(part * end) // step * step if step else 0 for end in ends) for part in _PARTS]
    return [(round(x * level.downsample), round(y * level.downsample)) for x, y in dict.fromkeys(corners)]
