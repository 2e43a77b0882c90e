"""The tiles and strips of any TIFF, decoded one by one: what :mod:`tiling.cells` does for JPEG cells, for the rest."""

from __future__ import annotations

import dataclasses
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt
import tifffile

# A module and not its names: whichever of the two is imported first imports the registry of backends, and so this one.
from tiling import cells
from tiling.backends.base import DAMAGED, LARGEST, BackendError, Image, read_bytes, refuse_deep_pixels
from tiling.codestreams import why_incomplete_jpeg, why_incomplete_jpeg2000
from tiling.wording import one_line

_KEPT = 1 << 26  # bytes of decoded segments that are kept: strips are met again by the next tile of their row
_ROWS = 1 << 20  # bytes of uncompressed rows that are read at once
_JPEG = tifffile.COMPRESSION.JPEG
_JPEG2000 = (33003, 33004, 33005, 34712)
_JPEG2000_BYTES = 4  # that OpenJPEG decodes a sample to
_PHOTOMETRIC = tifffile.PHOTOMETRIC
_COLOURS = {_PHOTOMETRIC.MINISWHITE: 1, _PHOTOMETRIC.MINISBLACK: 1, _PHOTOMETRIC.PALETTE: 1, _PHOTOMETRIC.RGB: 3}
_ASSOCIATED = tifffile.EXTRASAMPLE.ASSOCALPHA
_ALPHA = (_ASSOCIATED, tifffile.EXTRASAMPLE.UNASSALPHA)

_Samples = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class _Plane:
    """Where the segments of one part of a picture are, (cells,), and what makes (h, w, samples) of their bytes."""

    offsets: npt.NDArray[np.int64] = field(repr=False)
    sizes: npt.NDArray[np.int64] = field(repr=False)
    decode: Callable[[bytes, int], _Samples] = field(repr=False)


@dataclass(frozen=True)
class SegmentGrid:
    """One level of a TIFF as a grid of segments: tiles, strips, or the rows of an uncompressed file.

    Attributes
    ----------
    width, height
        Of the level, px.
    cell_width, cell_height
        Of every segment, px.
    """

    width: int
    height: int
    cell_width: int
    cell_height: int
    _planes: tuple[_Plane, ...] = field(repr=False)
    _finish: Callable[[_Samples], Image] = field(repr=False)
    _kept: _Kept = field(default_factory=lambda: _Kept(), repr=False, compare=False)

    @classmethod
    def of_pages(cls, pages: Sequence[tifffile.TiffPage]) -> Self:
        """The grid of a page; or of the red, the green and the blue page of one picture.

        Raises :class:`BackendError` with the reason if its pixels are no 8-bit grey or RGB ones, or cannot be decoded.
        """
        page = pages[0]
        for one in pages:
            _refuse_what_is_no_picture(one)
            if (one.shape, one.chunks) != (page.shape, page.chunks):
                raise BackendError("has channels of different sizes")
            if len(pages) > 1 and (one.samplesperpixel > 1 or one.photometric == _PHOTOMETRIC.PALETTE):
                raise BackendError("has channels that are no grey pictures")
        width, height = page.imagewidth, page.imagelength
        size = (page.tilewidth, page.tilelength) if page.is_tiled else (width, min(page.rowsperstrip, height))
        planes = [plane for one in pages for plane in _planes(one, size)]
        grid = cls(width, height, *size, tuple(planes), _colouring(page, 3 if len(pages) == 3 else None))
        if (rows := _uncompressed_rows(page, planes)) is not None:
            grid = dataclasses.replace(grid, cell_height=rows[0], _planes=(rows[1],))
        if rows is None:
            refuse_large_segments(page, size)
        return grid

    def area(self, cell: cells.CellPlace, *, x: int, y: int, width: int, height: int) -> tuple[slice, slice]:
        """Rows and columns of a region that a segment covers; the region as for :meth:`salvage`."""
        top, left = cell.row * self.cell_height - y, cell.column * self.cell_width - x
        return (
            slice(max(0, top), min(height, top + self.cell_height)),
            slice(max(0, left), min(width, left + self.cell_width)),
        )

    def salvage(
        self, file: int, *, x: int, y: int, width: int, height: int
    ) -> tuple[Image, dict[cells.CellPlace, str]]:
        """A region that lies within the level, `x`, `y` in its px.

        Returns
        -------
        region
            (height, width, 3) uint8, or (height, width, 4) with straight alpha, which is 0 where there are no pixels.
        corrupt
            The segments that cannot be decoded, with the reasons.
        """
        region = np.zeros((height, width, 3), np.uint8)
        alpha = np.zeros((height, width, 1), np.uint8)
        corrupt = {}
        for row in range(y // self.cell_height, -(-(y + height) // self.cell_height)):
            for column in range(x // self.cell_width, -(-(x + width) // self.cell_width)):
                cell = cells.CellPlace(row, column)
                try:
                    pixels = self._decoded(file, cell)
                except DAMAGED as error:
                    corrupt[cell] = one_line(error)
                    continue
                if pixels is None:
                    continue
                rows, columns = self.area(cell, x=x, y=y, width=width, height=height)
                top, left = y - row * self.cell_height, x - column * self.cell_width
                part = pixels[rows.start + top : rows.stop + top, columns.start + left : columns.stop + left]
                region[rows, columns] = part[..., :3]
                alpha[rows, columns] = part[..., 3:] if part.shape[2] == 4 else 255
        return (region if alpha.all() and (alpha == 255).all() else np.concatenate([region, alpha], axis=2)), corrupt

    def _decoded(self, file: int, cell: cells.CellPlace) -> Image | None:
        """A segment's pixels, (h, w, 3 or 4); None where the file has none. Raises what the codec raises."""
        if (kept := self._kept.get(cell)) is not None:
            return kept
        index = cell.row * -(-self.width // self.cell_width) + cell.column
        parts = []
        for plane in self._planes:
            length = int(plane.sizes[index])
            if length == 0:
                return None
            data = read_bytes(file, length, int(plane.offsets[index]))
            if len(data) < length:
                raise ValueError("the file ends before it")
            parts.append(plane.decode(data, index))
        pixels = self._finish(parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2))
        self._kept.put(cell, pixels)
        return pixels


def refuse_large_segments(
    page: tifffile.TiffPage, size: tuple[int, int], kind: type[BackendError] = BackendError
) -> None:
    """Refuse a page whose segments, of a width and height in px, are too large to be decoded, see :data:`LARGEST`."""
    bytes_per_sample = _JPEG2000_BYTES if page.compression in _JPEG2000 else 1
    most = LARGEST // (bytes_per_sample * max(3, page.samplesperpixel))
    if math.prod(size) > most:
        raise kind(
            f"is made of segments of {size[0]} x {size[1]} px, more than the {most // 1_000_000} megapixels that can "
            "be decoded at once; convert it: vips tiffsave SLIDE NEW.tif --tile --pyramid --compression jpeg"
        )


class _Kept:
    """The segments that were decoded last, for several threads."""

    def __init__(self) -> None:
        self._pixels: OrderedDict[cells.CellPlace, Image] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, cell: cells.CellPlace) -> Image | None:
        return self._pixels.get(cell)

    def put(self, cell: cells.CellPlace, pixels: Image) -> None:
        with self._lock:
            if cell in self._pixels:
                return
            self._pixels[cell] = pixels
            self._bytes += pixels.nbytes
            while len(self._pixels) > 1 and self._bytes > _KEPT:
                self._bytes -= self._pixels.popitem(last=False)[1].nbytes


def _refuse_what_is_no_picture(page: tifffile.TiffPage) -> None:
    if page.dtype is None:
        raise BackendError(f"has pixels of {page.bitspersample} bits, not 8-bit ones; convert it")
    refuse_deep_pixels(np.dtype(page.dtype))
    known = page.photometric in _COLOURS or (page.photometric == _PHOTOMETRIC.YCBCR and page.compression == _JPEG)
    if not known or page.bitspersample != 8 or page.imagedepth > 1 or not page.imagewidth * page.imagelength:
        kind = getattr(page.photometric, "name", page.photometric)
        raise BackendError(
            f"has {page.bitspersample}-bit pixels of kind {kind} in the shape {page.shape}, "
            "which is no grey or RGB picture; convert it to 8-bit RGB"
        )
    if page.compression != tifffile.COMPRESSION.NONE:
        try:
            tifffile.TIFF.DECOMPRESSORS[page.compression]
        except KeyError as error:
            raise BackendError(f"has pixels compressed in an unknown way: {error.args[0]}") from error


def _planes(page: tifffile.TiffPage, size: tuple[int, int]) -> list[_Plane]:
    """The planes of a page: one, or one for each sample where these are stored apart."""
    separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
    cells = -(-page.imagewidth // size[0]) * -(-page.imagelength // size[1])
    count = page.samplesperpixel if separate else 1
    if min(len(page.dataoffsets), len(page.databytecounts)) < cells * count:
        raise BackendError(f"lists {len(page.dataoffsets)} segments where its size calls for {cells * count}")
    offsets, sizes = (np.asarray(list_, np.int64) for list_ in (page.dataoffsets, page.databytecounts))
    parts = [slice(plane * cells, (plane + 1) * cells) for plane in range(count)]
    return [_Plane(offsets[part], sizes[part], _decoder(page, part.start, math.prod(size))) for part in parts]


def _decoder(page: tifffile.TiffPage, first: int, pixels: int) -> Callable[[bytes, int], _Samples]:
    """What decodes the segments of a plane whose first is the page's segment `first`."""
    decode, jpeg, jpeg2000 = page.decode, page.compression == _JPEG, page.compression in _JPEG2000
    tables = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader} if jpeg else {}

    def decoded(data: bytes, index: int) -> _Samples:
        why = why_incomplete_jpeg(data, pixels=pixels) if jpeg else None
        if jpeg2000:
            why = why_incomplete_jpeg2000(data, pixels=pixels)
        if why:
            raise ValueError(why)
        segment: _Samples = decode(data, first + index, **tables)[0][0]  # of depth 1
        return segment

    return decoded


def _uncompressed_rows(page: tifffile.TiffPage, planes: Sequence[_Plane]) -> tuple[int, _Plane] | None:
    """Uncompressed strips that follow each other, as strips of some rows each, so that few bytes are read for few."""
    raw = page.compression == tifffile.COMPRESSION.NONE and page.predictor == 1 and page.fillorder == 1
    if not raw or page.is_tiled or len(planes) > 1:
        return None
    ends = planes[0].offsets + planes[0].sizes
    across = page.imagewidth * page.samplesperpixel
    if (ends[:-1] != planes[0].offsets[1:]).any() or planes[0].sizes.sum() != across * page.imagelength:
        return None
    rows = min(page.imagelength, max(1, _ROWS // across))
    starts = np.arange(0, page.imagelength, rows, dtype=np.int64)
    offsets = planes[0].offsets[0] + starts * across
    sizes = np.minimum(rows, page.imagelength - starts) * across
    shape = (-1, page.imagewidth, page.samplesperpixel)
    return rows, _Plane(offsets, sizes, lambda data, index: np.frombuffer(data, np.uint8).reshape(shape))


def _colouring(page: tifffile.TiffPage, colours: int | None) -> Callable[[_Samples], Image]:
    """What makes RGB, or RGBA with straight alpha, of samples, (h, w, n)."""
    colours = colours or _COLOURS.get(page.photometric, 3)
    extra = next(iter(page.extrasamples), None)
    inverse = page.photometric == _PHOTOMETRIC.MINISWHITE
    table = None
    if page.photometric == _PHOTOMETRIC.PALETTE:
        table = (np.moveaxis(page.colormap, 0, -1) >> 8).astype(np.uint8)

    def finish(samples: _Samples) -> Image:
        colour = samples[..., :colours]
        if table is not None:
            colour = table[colour[..., 0]]
        elif inverse:
            colour = 255 - colour
        if colour.shape[2] == 1:
            colour = np.repeat(colour, 3, axis=2)
        if extra not in _ALPHA or samples.shape[2] <= colours:
            return np.ascontiguousarray(colour)
        alpha = samples[..., colours : colours + 1]
        if extra == _ASSOCIATED:
            over = np.maximum(alpha, 1).astype(np.uint16)
            colour = np.minimum((colour.astype(np.uint16) * 255 + over // 2) // over, 255).astype(np.uint8)
        return np.concatenate([colour, alpha], axis=2)

    return finish
