"""The compressed cells of a tiled TIFF: found, fetched as they are, decoded.

A tiled TIFF keeps each level as a grid of small pictures, compressed one by one. Reading a region is decoding the
cells that it touches, and decoding is nearly all of the work there is (TIFF 6.0, sections 15 and 22; JPEG tables in
TIFF Technical Note 2).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from tiling.backends.base import DAMAGED, BackendError, DeclinedError, Image

_JPEG, _JPEG2000 = tifffile.COMPRESSION.JPEG, (tifffile.COMPRESSION.APERIO_JP2000_RGB, tifffile.COMPRESSION.JPEG2000)
_SPACE = {tifffile.PHOTOMETRIC.YCBCR: "YCBCR", tifffile.PHOTOMETRIC.RGB: "RGB"}
_CELLS_PER_THREAD = 8  # fewer are decoded sooner than a thread is woken

_scratch = threading.local()


class CellPlace(NamedTuple):
    """Row and column of a cell in its grid."""

    row: int
    column: int


class CorruptCellsError(BackendError):
    """Cells of a region that cannot be decoded."""

    def __init__(self, cells: list[CellPlace], reason: str) -> None:
        where = ", ".join(f"row {cell.row} column {cell.column}" for cell in cells[:3])
        more = f" and {len(cells) - 3} more" if len(cells) > 3 else ""
        super().__init__(f"cannot decode the cell at {where}{more} of the file's grid: {reason}")
        self.cells = cells


@dataclass(frozen=True)
class CellGrid:
    """One level of a tiled TIFF.

    Attributes
    ----------
    width, height
        Of the level, px.
    cell_width, cell_height
        Of every cell, px; those at the right and lower border reach beyond the level.
    offsets, sizes
        (rows, columns) int64: place and length of each cell's bytes in the file; length 0 for a cell without pixels.
    jpeg
        Whether the cells are JPEGs; else they are JPEG 2000.
    tables
        The quantisation and Huffman tables that all JPEG cells share; None if each has its own.
    colour_space
        "RGB" or "YCBCR": what the cells' components are.
    """

    width: int
    height: int
    cell_width: int
    cell_height: int
    offsets: npt.NDArray[np.int64] = field(repr=False)
    sizes: npt.NDArray[np.int64] = field(repr=False)
    jpeg: bool
    tables: bytes | None = field(repr=False)
    colour_space: str

    @classmethod
    def of_page(cls, page: tifffile.TiffPage) -> CellGrid:
        """The grid of a page; a :class:`DeclinedError` if it is not one of 8-bit RGB cells, all there."""
        jpeg = page.compression == _JPEG
        if not page.is_tiled or not (jpeg or page.compression in _JPEG2000):
            raise DeclinedError("is not made of JPEG or JPEG 2000 cells")
        if page.dtype != np.uint8 or page.samplesperpixel != 3 or page.photometric not in _SPACE or page.ndim != 3:
            raise DeclinedError("has cells of other than three 8-bit colours")
        columns, rows = -(-page.imagewidth // page.tilewidth), -(-page.imagelength // page.tilelength)
        if len(page.dataoffsets) != rows * columns or len(page.databytecounts) != rows * columns:
            raise DeclinedError("lists more or fewer cells than its size calls for")
        sizes = np.asarray(page.databytecounts, np.int64).reshape(rows, columns)
        if not sizes.all():
            raise DeclinedError("has cells without pixels")
        return cls(
            width=page.imagewidth,
            height=page.imagelength,
            cell_width=page.tilewidth,
            cell_height=page.tilelength,
            offsets=np.asarray(page.dataoffsets, np.int64).reshape(rows, columns),
            sizes=sizes,
            jpeg=jpeg,
            tables=page.jpegtables if jpeg else None,
            colour_space=_SPACE[page.photometric],
        )

    def encoded(self, file: int, cell: CellPlace) -> bytes:
        """A cell's bytes as they stand in the file, without the shared tables."""
        return os.pread(file, int(self.sizes[cell]), int(self.offsets[cell]))

    def decode(self, data: bytes, out: Image | None = None) -> Image:
        """A cell's pixels, (cell_height, cell_width, 3) uint8, in `out` if given. Raises what the codec raises."""
        if self.jpeg:
            return imagecodecs.jpeg8_decode(
                data, tables=self.tables, colorspace=self.colour_space, outcolorspace="RGB", out=out
            )
        return imagecodecs.jpeg2k_decode(data, out=out)

    def read(self, file: int, *, x: int, y: int, width: int, height: int, threads: int = 1) -> Image:
        """A region that lies within the level: (height, width, 3) uint8; `x`, `y` in px of the level.

        Raises :class:`CorruptCellsError`.
        """
        region = np.empty((height, width, 3), np.uint8)
        rows = range(y // self.cell_height, -(-(y + height) // self.cell_height))
        columns = range(x // self.cell_width, -(-(x + width) // self.cell_width))
        cells = [CellPlace(row, column) for row in rows for column in columns]
        workers = min(threads, len(cells) // _CELLS_PER_THREAD)
        if workers > 1:
            with ThreadPoolExecutor(workers) as pool:
                shares = pool.map(lambda i: list(self._paste(file, cells[i::workers], region, x, y)), range(workers))
                failures = [failure for share in shares for failure in share]
        else:
            failures = list(self._paste(file, cells, region, x, y))
        if failures:
            raise CorruptCellsError(sorted(cell for cell, _ in failures), failures[0][1])
        return region

    def _paste(
        self, file: int, cells: list[CellPlace], region: Image, x: int, y: int
    ) -> Iterator[tuple[CellPlace, str]]:
        """Decode cells into their places in a region; give those that could not be."""
        height, width = region.shape[:2]
        for cell in cells:
            try:
                pixels = self.decode(self.encoded(file, cell), self._scratch())
            except DAMAGED as error:
                yield cell, " ".join(str(error).split()) or type(error).__name__
                continue
            top, left = cell.row * self.cell_height - y, cell.column * self.cell_width - x
            y0, x0 = max(0, top), max(0, left)
            y1, x1 = min(height, top + self.cell_height), min(width, left + self.cell_width)
            region[y0:y1, x0:x1] = pixels[y0 - top : y1 - top, x0 - left : x1 - left]

    def _scratch(self) -> Image:
        """A cell's worth of memory, this thread's own."""
        shape = (self.cell_height, self.cell_width, 3)
        scratch: Image | None = getattr(_scratch, "cell", None)
        if scratch is None or scratch.shape != shape:
            scratch = _scratch.cell = np.empty(shape, np.uint8)
        return scratch
