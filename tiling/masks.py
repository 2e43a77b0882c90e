"""Small pictures of where on a slide something is: tissue, pen, or what a user has marked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import tifffile
from PIL.PngImagePlugin import PngImageFile

from tiling.backends.base import DAMAGED
from tiling.errors import InputError
from tiling.grid import Grid

Mask = npt.NDArray[np.bool_]

_SAME_ASPECT = 0.02
_LONGEST = 4096  # px that a user's mask is thinned to; its integral image then takes 64 MiB
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
            a TIFF the first page counts. More than 4096 px a side are thinned to that.
        width, height
            Size of the slide, level-0 px.

        Raises
        ------
        InputError
            If the file cannot be read, is neither PNG nor TIFF, or has other proportions than the slide, by more
            than 2 % and the rounding of its size to whole pixels.
        """
        path = Path(path)
        inside = _read_inside(path)
        rows, columns = inside.shape
        narrowest, widest = (columns - 0.5) / (rows + 0.5), (columns + 0.5) / (rows - 0.5)
        if not narrowest / (1 + _SAME_ASPECT) <= width / height <= widest * (1 + _SAME_ASPECT):
            raise InputError(
                f"the mask {path} has {columns} x {rows} px, and the slide {width} x {height}, which is another "
                f"shape (width by height {columns / rows:.3f} and {width / height:.3f}); give a mask of the whole slide"
            )
        return cls(_thinned(inside), width, height)

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
        self.mask.cumsum(0, dtype=np.uint32).cumsum(1, out=integral[1:, 1:])
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


def _read_inside(path: Path) -> Mask:
    """Where a picture is not 0, (h, w)."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_PNG))
        if head.startswith(_PNG):
            with PngImageFile(path) as picture:  # Image.open would refuse a large mask as a decompression bomb
                return _not_zero(np.asarray(picture), alpha="A" in picture.mode)
        if head.startswith(_TIFF):
            return _first_page(path)
    except FileNotFoundError as error:
        raise InputError(f"no such mask: {path}") from error
    except DAMAGED as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"cannot read the mask {path}: {reason}; save it again as PNG or TIFF") from error
    raise InputError(f"the mask {path} is neither PNG nor TIFF; save it as one of these")


def _first_page(path: Path) -> Mask:
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        pixels = page.asarray()
        if pixels.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
            pixels = np.moveaxis(pixels, 0, -1)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = (1 << page.bitspersample) - 1 - pixels.astype(np.int64)
        return _not_zero(pixels, alpha=pixels.ndim == 3 and pixels.shape[2] in (2, 4))


def _not_zero(pixels: npt.NDArray[Any], *, alpha: bool) -> Mask:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3:
        raise ValueError(f"pixels of shape {pixels.shape} are no picture")
    colours = pixels[..., :-1] if alpha else pixels
    inside: Mask = (colours != 0).any(axis=-1)
    return inside & (pixels[..., -1] != 0) if alpha else inside


def _thinned(mask: Mask) -> Mask:
    """Every so-manieth row and column, so that no side is too long."""
    rows, columns = (
        ((np.arange(kept) + 0.5) * length / kept).astype(np.int64)
        for length, kept in zip(mask.shape, _kept(mask.shape), strict=True)
    )
    thinned: Mask = mask[rows[:, None], columns]
    return thinned


def _kept(shape: tuple[int, ...]) -> tuple[int, ...]:
    shrink = max(1.0, max(shape) / _LONGEST)
    return tuple(max(1, round(length / shrink)) for length in shape)


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
