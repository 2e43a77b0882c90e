"""Tiled JPEG and JPEG 2000 TIFFs, Aperio's SVS among them, by decoding their cells directly."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import tifffile

# Modules and not their names: whichever of them is imported first imports the registry of backends, and so this one.
from tiling import cells, damage
from tiling.backends.base import (
    DAMAGED,
    BackendError,
    Colour,
    DeclinedError,
    Image,
    Level,
    LostFileError,
    RefusedError,
    backend_error,
)
from tiling.backends.gridded import GriddedFile
from tiling.backends.openslide import OpenSlideBackend
from tiling.backends.segments import refuse_large_segments
from tiling.files import state_of

_SAMPLE = 64  # px
_PARTS = (0.0, 0.37, 0.5, 0.71, 1.0)  # along the diagonal of a level
_FULLEST = 3  # cells of a level that hold most bytes: where white equals white on the diagonal, these are not white
_CREDIBLE = 2  # times the bytes of its pixels: no cell that is there has more
_UNSHIFTED = 1 / 1024  # px of a level: OpenSlide does not interpolate regions that begin this near to a pixel
_ROUNDING = 3  # of 255: how far its interpolation is from ours

_alike: set[tuple[int, ...]] = set()  # states of files whose pixels were found to be OpenSlide's, in this process
_MOST_ALIKE = 1 << 14


class TiffBackend:
    """The pixels that OpenSlide gives, in a fraction of its time.

    What the file is (levels, resolution, background) is OpenSlide's word. A file is served only if every level is a
    whole grid of cells and a sample of regions of each level equals OpenSlide's pixels.

    A region begins with a pixel of its level if its corner is that pixel's, rounded to whole level-0 px. So every pixel
    of a level can be asked for, though few of those of a level of downsample 2.0005 begin with a level-0 px. Regions
    that begin elsewhere, between pixels of their level, are read by OpenSlide, which interpolates.
    """

    name: ClassVar[str] = "tiff"

    def __init__(self, openslide: OpenSlideBackend, file: GriddedFile[cells.CellGrid]) -> None:
        self._openslide = openslide
        self._file = file

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a slide; a :class:`DeclinedError` tells why it is left to the next backend."""
        try:
            state = state_of(path)  # before anything of it is read
        except OSError as error:
            raise backend_error(error) from error
        grids = _grids(path)
        try:
            openslide = OpenSlideBackend.open(path)
        except LostFileError:
            raise
        except BackendError as error:
            raise DeclinedError(str(error)) from error
        chosen = []
        for level in openslide.levels:
            of_size = grids.get((level.width, level.height), [])
            if len(of_size) != 1:
                size = f"{level.width} x {level.height} px"
                raise DeclinedError(f"has {len(of_size)} pages of cells for its level of {size}")
            chosen.extend(of_size)
        backend = cls(openslide, GriddedFile(path, chosen, openslide.levels))
        if state not in _alike:
            try:
                backend._compare()
            except BackendError:
                backend.close()
                raise
            if len(_alike) >= _MOST_ALIKE:
                _alike.clear()  # comparing again takes milliseconds
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
        """A level-0 corner in px of a level; None if it is not that of a pixel."""
        downsample = self.levels[level].downsample
        left, top = round(x / downsample), round(y / downsample)
        return (left, top) if (round(left * downsample), round(top * downsample)) == (x, y) else None

    def _compare(self) -> None:
        """Refuse a file whose pixels, decoded here, are not OpenSlide's.

        A region that either cannot decode tells nothing; a corrupt cell is no reason to read all others the slow way.
        Nor does one of a single colour, which others have as well, unless all of the level are like that. A level whose
        regions tell nothing must be of the same make as one that could be compared.
        """
        compared = set()
        for number, grid in enumerate(self.grids):
            plain, told = True, False
            for left, top in _places(grid):
                try:
                    same, has_colours = self._sampled(left, top, number)
                except LostFileError:
                    raise
                except BackendError:
                    plain = False
                    continue
                if not same:
                    raise DeclinedError(f"has pixels that OpenSlide sees otherwise, at {left}, {top} of level {number}")
                told = told or has_colours
            if told or plain:
                compared.add(grid.make)
        if any(grid.make not in compared for grid in self.grids):
            raise DeclinedError("has a level of which no region can be compared with OpenSlide's pixels")

    def _sampled(self, left: int, top: int, level: int) -> tuple[bool, bool]:
        """Whether a sample, placed in px of its level, has OpenSlide's pixels; and whether they differ from each other.

        What OpenSlide interpolates is rounded.
        """
        downsample, grid = self.levels[level].downsample, self.grids[level]
        width, height = min(_SAMPLE, grid.width), min(_SAMPLE, grid.height)
        x, y = round(left * downsample), round(top * downsample)
        expected = self._openslide.read(x=x, y=y, width=width, height=height, level=level)
        if (expected[..., 3] != 255).any():
            return False, False
        has_colours = bool(np.ptp(expected[..., :3], axis=(0, 1)).any())
        shift = x / downsample - left, y / downsample - top
        if max(map(abs, shift)) < _UNSHIFTED:
            same = np.array_equal(expected[..., :3], self._file.read(left, top, width, height, level)[..., :3])
            return same, has_colours
        pixels = self._file.read(left - 1, top - 1, width + 2, height + 2, level)[..., :3]
        return bool(np.abs(_shifted(pixels, *shift) - expected[..., :3]).max() <= _ROUNDING), has_colours


def _grids(path: Path) -> dict[tuple[int, int], list[cells.CellGrid]]:
    """The cell grids of a file by their width and height: which of several is a level, nothing here tells."""
    grids: dict[tuple[int, int], list[cells.CellGrid]] = {}
    try:
        with tifffile.TiffFile(path) as file:
            tiled = [page for page in file.pages if page.is_tiled]
            for page in tiled:  # all, also those that are left to OpenSlide: it would take the memory, or end in that
                refuse_large_segments(page, (page.tilewidth, page.tilelength), RefusedError)
            for page in tiled:
                grids.setdefault((page.imagewidth, page.imagelength), []).append(cells.CellGrid.of_page(page))
    except DAMAGED as error:
        raise backend_error(error, DeclinedError) from error
    if not grids:
        raise DeclinedError("has no cells")
    return grids


def _places(grid: cells.CellGrid) -> list[tuple[int, int]]:
    """Corners of the sampled regions, px of the level: the first, and such as lie each within a cell.

    Those are cells on the diagonal, and the ones of most bytes.
    """
    columns, rows = (
        range(1, size - _SAMPLE, cell)
        for size, cell in ((grid.width, grid.cell_width), (grid.height, grid.cell_height))
    )
    if not columns or not rows:
        return [(0, 0)]
    within = [(columns[round(part * (len(columns) - 1))], rows[round(part * (len(rows) - 1))]) for part in _PARTS]
    sizes = grid.sizes[: len(rows), : len(columns)]
    sizes = np.where(sizes <= _CREDIBLE * 3 * grid.cell_width * grid.cell_height, sizes, 0)
    fullest = np.argsort(sizes, axis=None, kind="stable")[-_FULLEST:]
    within += [(columns[cell % len(columns)], rows[cell // len(columns)]) for cell in fullest.tolist()]
    return [(0, 0), *dict.fromkeys(within)]


def _shifted(pixels: Image, x: float, y: float) -> npt.NDArray[np.float64]:
    """An image without its rim, begun by parts of a pixel (-1 to 1) further right and down: linear interpolation."""
    ahead = slice(2, None) if x > 0 else slice(None, -2)
    across = (1 - abs(x)) * pixels[:, 1:-1] + abs(x) * pixels[:, ahead]
    return (1 - abs(y)) * across[1:-1] + abs(y) * across[slice(2, None) if y > 0 else slice(None, -2)]
