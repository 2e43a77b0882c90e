"""Small pictures of where on a slide something is: tissue, pen, or what a user has marked."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import tifffile
from PIL.PngImagePlugin import PngImageFile

from tiling.backends.base import DAMAGED, LARGEST, LARGEST_PICTURE
from tiling.errors import InputError
from tiling.grid import Grid
from tiling.wording import one_line

Mask = npt.NDArray[np.bool_]

_SAME_ASPECT = 0.02
_LONGEST = 4096  # px that a user's mask is thinned to; its integral image then takes 64 MiB
_BAND = 1 << 22  # px of a decoded picture that are looked at at once
_READ = 1 << 24  # bytes of a file that are read ahead
_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class SlideMask:
    """A small picture of where on a slide something is.

    Attributes
    ----------
    mask
        (h, w) bool.
    width, height
        Size of the slide that it covers, level-0 px.
    """

    mask: Mask
    width: int
    height: int

    @classmethod
    def from_image(cls, path: str | os.PathLike[str], *, width: int, height: int) -> Self:
        """Read a mask that a user made: what is not 0 is inside.

        Parameters
        ----------
        path
            A PNG or TIFF of any size with the slide's proportions, of any depth: grey, RGB (black is outside), or
            indexed (index 0 is outside, whatever its colour, as in label maps). Transparent pixels are outside. Of
            a TIFF the first page counts. More than 4096 px a side are thinned to that. A TIFF is decoded piece by
            piece; a PNG as a whole, so its size has a limit: 402 megapixels in grey or indexed, a quarter in colour.
        width, height
            Size of the slide, level-0 px.

        Raises
        ------
        InputError
            If the file cannot be read, is neither PNG nor TIFF, or has other proportions than the slide, by more
            than 2 % and the rounding of its size to whole pixels.
        """
        path = Path(path)
        inside, (rows, columns) = _read_inside(path)
        narrowest, widest = (columns - 0.5) / (rows + 0.5), (columns + 0.5) / (rows - 0.5)
        if not narrowest / (1 + _SAME_ASPECT) <= width / height <= widest * (1 + _SAME_ASPECT):
            raise InputError(
                f"the mask {path} has {columns} x {rows} px, and the slide {width} x {height}, which is another "
                f"shape (width by height {columns / rows:.3f} and {width / height:.3f}); give a mask of the whole slide"
            )
        return cls(inside, width, height)

    @property
    def downsample(self) -> float:
        """Level-0 px per mask px."""
        longest: int = max(self.mask.shape)
        return max(self.width, self.height) / longest

    def fraction(self, grid: Grid) -> npt.NDArray[np.float64]:
        """The part of every tile's area that is inside, (n,) float64 in [0, 1]; beyond the slide there is none.

        A mask pixel that a tile covers in part counts in part: the mask's integral image is interpolated at the
        tile's corners, which is exact for a picture of constant pixels.
        """
        rows, columns = self.mask.shape
        integral = np.zeros((rows + 1, columns + 1), np.uint32)
        down = self.mask.cumsum(0, dtype=np.uint32, out=integral[1:, 1:])
        down.cumsum(1, out=down)
        per_row, per_column = self.height / rows, self.width / columns  # level-0 px
        top, bottom = np.clip((grid.y / per_row, (grid.y + grid.extent) / per_row), 0, rows)
        left, right = np.clip((grid.x / per_column, (grid.x + grid.extent) / per_column), 0, columns)
        area = (
            _interpolated(integral, bottom, right)
            - _interpolated(integral, top, right)
            - _interpolated(integral, bottom, left)
            + _interpolated(integral, top, left)
        )
        fraction: npt.NDArray[np.float64] = np.clip(area * per_row * per_column / grid.extent**2, 0.0, 1.0)
        return fraction


def _read_inside(path: Path) -> tuple[Mask, tuple[int, int]]:
    """Where a picture is not 0, thinned to what is kept of it; and the picture's height and width."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_PNG))
        if head.startswith(_PNG):
            with PngImageFile(path) as picture:  # Image.open would refuse a large mask as a decompression bomb
                return _of_png(picture)
        if head.startswith(_TIFF):
            with tifffile.TiffFile(path) as file:
                return _of_page(file.pages[0])
    except FileNotFoundError as error:
        raise InputError(f"no such mask: {path}") from error
    except _TooLargeError as error:
        raise InputError(f"the mask {path} {error}; save it as a tiled TIFF, or with {_LONGEST} px a side") from error
    except DAMAGED as error:
        reason = getattr(error, "strerror", None) or one_line(error)
        raise InputError(f"cannot read the mask {path}: {reason}; save it again as PNG or TIFF") from error
    raise InputError(f"the mask {path} is neither PNG nor TIFF; save it as one of these")


class _TooLargeError(Exception):
    """A mask of which more has to be decoded at once than memory is there for."""


def _of_png(picture: PngImageFile) -> tuple[Mask, tuple[int, int]]:
    """Decoded as a whole, since Pillow knows no other way, and looked at in bands."""
    width, height = picture.size
    if width * height * (1 if picture.mode in ("1", "L", "P") else 4) > LARGEST_PICTURE:
        raise _TooLargeError(f"has {width} x {height} px, too many to be decoded at once")
    rows, columns = _sampled((height, width))
    inside = np.empty((len(rows), len(columns)), np.bool_)
    band = max(1, _BAND // width)
    for top in range(0, height, band):
        first, last = np.searchsorted(rows, (top, top + band))
        pixels = np.asarray(picture.crop((0, top, width, min(top + band, height))))
        samples = pixels.reshape(*pixels.shape[:2], -1)[rows[first:last, None] - top, columns] != 0
        colours = samples[..., :-1] if "A" in picture.mode else samples
        inside[first:last] = colours.any(axis=-1)
        if "A" in picture.mode:
            inside[first:last] &= samples[..., -1]
    return inside, (height, width)


def _of_page(page: tifffile.TiffPage) -> tuple[Mask, tuple[int, int]]:
    """Decoded tile by tile, or strip by strip."""
    height, width, count = page.imagelength, page.imagewidth, page.samplesperpixel
    if page.imagedepth > 1 or page.dtype is None:
        raise ValueError(f"{page.bitspersample}-bit pixels of shape {page.shape} are no picture")
    if math.prod(page.chunks) * page.dtype.itemsize > LARGEST:
        raise _TooLargeError(f"is made of pieces of {page.chunks} px, too large to be decoded at once")
    rows, columns = _sampled((height, width))
    coloured = np.zeros((len(rows), len(columns)), np.bool_)
    opaque = np.ones_like(coloured)
    for pixels, (plane, _, top, left, _), shape in page.segments(maxworkers=1, buffersize=_READ):
        first, last = np.searchsorted(rows, (top, top + shape[1]))
        begin, end = np.searchsorted(columns, (left, left + shape[2]))
        if pixels is None:  # not in the file, which stands for 0
            pixels = np.zeros(shape, page.dtype)
        samples = pixels[0][rows[first:last, None] - top, columns[begin:end] - left]
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            samples = (1 << page.bitspersample) - 1 - samples.astype(np.int64)
        alpha = (plane + np.arange(shape[3]) == count - 1) & (count in (2, 4))
        coloured[first:last, begin:end] |= (samples[..., ~alpha] != 0).any(axis=-1)
        opaque[first:last, begin:end] &= (samples[..., alpha] != 0).all(axis=-1)
    return coloured & opaque, (height, width)


def _sampled(shape: tuple[int, int]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows and columns of a picture that are kept: every so-manieth, so that no side is too long."""
    shrink = max(1.0, max(shape) / _LONGEST)
    rows, columns = (
        ((np.arange(kept) + 0.5) * length / kept).astype(np.int64)
        for length, kept in ((length, max(1, round(length / shrink))) for length in shape)
    )
    return rows, columns


def _interpolated(
    integral: npt.NDArray[np.uint32], row: npt.NDArray[np.float64], column: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Bilinear interpolation of an integral image at fractional positions."""
    r = np.minimum(row.astype(np.int64), integral.shape[0] - 2)
    c = np.minimum(column.astype(np.int64), integral.shape[1] - 2)
    down, across = row - r, column - c
    upper = integral[r, c] * (1 - across) + integral[r, c + 1] * across
    lower = integral[r + 1, c] * (1 - across) + integral[r + 1, c + 1] * across
    value: npt.NDArray[np.float64] = upper * (1 - down) + lower * down
    return value
