"""The compressed cells of a tiled TIFF: found, fetched as they are, decoded.

A tiled TIFF keeps each level as a grid of small pictures, compressed one by one. Reading a region is decoding the
cells that it touches, and decoding is nearly all of the work there is (TIFF 6.0, sections 15 and 22; JPEG tables in
TIFF Technical Note 2).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, runtime_checkable

import imagecodecs
import numpy as np
import numpy.typing as npt
import tifffile

from tiling.backends.base import DAMAGED, BackendError, DeclinedError, Image, read_bytes
from tiling.codestreams import why_incomplete_jpeg, why_incomplete_jpeg2000, without_end
from tiling.errors import InputError
from tiling.wording import one_line

_JPEG, _JPEG2000 = tifffile.COMPRESSION.JPEG, (tifffile.COMPRESSION.APERIO_JP2000_RGB, tifffile.COMPRESSION.JPEG2000)
_SPACE = {tifffile.PHOTOMETRIC.YCBCR: "YCBCR", tifffile.PHOTOMETRIC.RGB: "RGB"}
_CELLS_PER_THREAD = 8  # fewer are decoded sooner than a thread is woken

_BLOCK = 8  # px: JPEG's unit of coding
_MISSING = 128  # what libjpeg makes of blocks that are not there

_VECTOR = 32  # bytes

_scratch = threading.local()
_threads = 1


def set_threads(count: int) -> None:
    """Let every read of a region decode its cells by this many threads of the process; 1 until then.

    One thread costs the least CPU time, and readers of many tiles use their cores by reading several at once. More
    threads are for who waits for one large region.
    """
    global _threads
    if count < 1:
        raise InputError(f"a region is read by at least 1 thread, not {count}")
    _threads = count


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


@dataclass(frozen=True, kw_only=True)
class CellCoding:
    """How the cells of a level are coded.

    Attributes
    ----------
    cell_width, cell_height
        Of every cell, px.
    jpeg
        Whether the cells are JPEGs; else they are JPEG 2000.
    tables
        The quantisation and Huffman tables that all JPEG cells share; None if each has its own.
    colour_space
        "RGB" or "YCBCR": what the cells' components are.
    """

    cell_width: int
    cell_height: int
    jpeg: bool
    tables: bytes | None = field(repr=False)
    colour_space: str

    @property
    def make(self) -> tuple[bool, str]:
        """How the cells are coded; grids of the same make are decoded alike."""
        return self.jpeg, self.colour_space

    def decode(self, data: bytes, out: Image | None = None) -> Image:
        """A cell's pixels, (cell_height, cell_width, 3) uint8, in `out` if given.

        Raises what the codec raises, one of :data:`tiling.backends.base.DAMAGED`; a ValueError if pixels are missing.
        """
        area = self.cell_width * self.cell_height
        why = why_incomplete_jpeg(data, pixels=area) if self.jpeg else why_incomplete_jpeg2000(data, pixels=area)
        if why:
            raise ValueError(why)
        pixels = self._decoded(data, out)
        if pixels.shape != (self.cell_height, self.cell_width, 3):
            raise ValueError(f"it has {pixels.shape} pixels, not {(self.cell_height, self.cell_width, 3)}")
        if self.jpeg and pixels[-1, -1, 0] == _MISSING and (pixels[-_BLOCK:, -_BLOCK:] == _MISSING).all():
            longer = self._decoded(without_end(data))
            if not np.array_equal(longer, pixels):
                raise ValueError("its data end too soon")
        return pixels

    def _decoded(self, data: bytes, out: Image | None = None) -> Image:
        if self.jpeg:
            return imagecodecs.jpeg8_decode(
                data, tables=self.tables, colorspace=self.colour_space, outcolorspace="RGB", out=out
            )
        return imagecodecs.jpeg2k_decode(data, out=out)

    def _scratch(self) -> Image:
        """A cell's worth of memory, this thread's own."""
        shape = (self.cell_height, self.cell_width, 3)
        scratch: Image | None = getattr(_scratch, "cell", None)
        if scratch is None or scratch.shape != shape:
            # libjpeg-turbo writes rows that begin at a multiple of its vectors' size past the caches. These pixels
            # are read again at once; from between two multiples decoding takes three quarters of the time.
            memory = np.empty(math.prod(shape) + _VECTOR, np.uint8)
            start = (_VECTOR // 2 - memory.ctypes.data) % _VECTOR
            scratch = _scratch.cell = memory[start : start + math.prod(shape)].reshape(shape)
        return scratch


@dataclass(frozen=True, kw_only=True)
class CellGrid(CellCoding):
    """One level of a tiled TIFF.

    Attributes
    ----------
    width, height
        Of the level, px; cells at its right and lower border reach beyond it.
    offsets, sizes
        (rows, columns) int64: place and length of each cell's bytes in the file; length 0 for a cell without pixels.
    """

    width: int
    height: int
    offsets: npt.NDArray[np.int64] = field(repr=False)
    sizes: npt.NDArray[np.int64] = field(repr=False)

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
        return read_bytes(file, int(self.sizes[cell]), int(self.offsets[cell]))

    def read(self, file: int, *, x: int, y: int, width: int, height: int) -> Image:
        """A region that lies within the level: (height, width, 3) uint8; `x`, `y` in px of the level.

        Raises :class:`CorruptCellsError`.
        """
        region, corrupt = self.salvage(file, x=x, y=y, width=width, height=height)
        if corrupt:
            raise CorruptCellsError(sorted(corrupt), corrupt[min(corrupt)])
        return region

    def salvage(self, file: int, *, x: int, y: int, width: int, height: int) -> tuple[Image, dict[CellPlace, str]]:
        """As :meth:`read`, with zeros for the cells that cannot be decoded; and these with the reasons."""
        region = np.empty((height, width, 3), np.uint8)
        rows = range(y // self.cell_height, -(-(y + height) // self.cell_height))
        columns = range(x // self.cell_width, -(-(x + width) // self.cell_width))
        cells = [CellPlace(row, column) for row in rows for column in columns]
        workers = max(1, min(_threads, len(cells) // _CELLS_PER_THREAD))
        # Neighbours to one thread: two that touch a page of memory for the first time at once both clear it.
        shares = [cells[len(cells) * i // workers : len(cells) * (i + 1) // workers] for i in range(workers)]
        if workers == 1:
            return region, dict(self._paste(file, cells, region, x, y))
        with ThreadPoolExecutor(workers) as pool:
            corrupt = pool.map(lambda share: dict(self._paste(file, share, region, x, y)), shares)
            return region, {cell: why for found in corrupt for cell, why in found.items()}

    def area(self, cell: CellPlace, *, x: int, y: int, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns of a region that a cell covers; the region as for :meth:`read`."""
        top, left = cell.row * self.cell_height - y, cell.column * self.cell_width - x
        return (
            slice(max(0, top), min(height, top + self.cell_height)),
            slice(max(0, left), min(width, left + self.cell_width)),
        )

    def _paste(
        self, file: int, cells: list[CellPlace], region: Image, x: int, y: int
    ) -> Iterator[tuple[CellPlace, str]]:
        """Decode cells into their places in a region; give those that could not be."""
        height, width = region.shape[:2]
        for cell in cells:
            rows, columns = self.area(cell, x=x, y=y, width=width, height=height)
            try:
                pixels = self.decode(self.encoded(file, cell), self._scratch())
            except DAMAGED as error:
                region[rows, columns] = 0
                yield cell, one_line(error)
                continue
            top, left = y - cell.row * self.cell_height, x - cell.column * self.cell_width
            region[rows, columns] = pixels[
                rows.start + top : rows.stop + top, columns.start + left : columns.stop + left
            ]


class SourceCells(NamedTuple):
    """The cells of a level, and the descriptor of the open file that they lie in."""

    grid: CellGrid
    file: int


@runtime_checkable
class MadeOfCells(Protocol):
    """A backend that reads cell by cell."""

    def source_cells(self, level: int) -> SourceCells | None:
        """The compressed cells of a level, as they stand in the file; None if it has none that can be copied."""
