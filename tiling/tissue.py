"""Where on a slide there is tissue, from a thumbnail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt
from skimage.filters import gaussian, threshold_otsu

from tiling.backends.base import Image
from tiling.grid import Grid

if TYPE_CHECKING:
    from tiling.slide import Slide

Mask = npt.NDArray[np.bool_]

# Otsu's threshold splits whatever it is given: JPEG noise on an empty slide, or a picture that is all tissue. These
# bounds keep it where glass really differs from tissue. Glass has a saturation below 0.05 also when the lamp is
# warm; the palest tissue that is worth keeping (mucus, fat, decoloured stroma) reaches 0.1.
_SATURATION_BOUNDS = (0.05, 0.10)
_DARKER_THAN_GLASS = 0.75  # silver stains and pigment are grey: no saturation, but well below the brightest areas
_FLUORESCENCE_BOUNDS = (0.05, 0.15)
_FLUORESCENCE_BLUR = 0.005  # of the longest side: the dark between two nuclei of a tissue belongs to it
_DARK = 0.15  # brightness below which the typical pixel is of a dark background; dense H&E stays above 0.2


@dataclass(frozen=True)
class TissueMask:
    """A small picture of where tissue is.

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
    def of(cls, slide: Slide, *, max_size: int = 1024) -> Self:
        """Find the tissue of a slide on a thumbnail of at most `max_size` px."""
        return cls(find_tissue(slide.thumbnail(max_size), dark=slide.dark_background), *slide.dimensions)

    @property
    def downsample(self) -> float:
        """Level-0 px per mask px."""
        longest: int = max(self.mask.shape)
        return max(self.width, self.height) / longest

    def fraction(self, grid: Grid) -> npt.NDArray[np.float64]:
        """The part of every tile's area that is tissue, (n,) float64 in [0, 1]; outside the slide there is none.

        A mask pixel that a tile covers in part counts in part: the mask's integral image is interpolated at the
        tile's corners, which is exact for a picture of constant pixels.
        """
        rows, columns = self.mask.shape
        integral = np.zeros((rows + 1, columns + 1))
        integral[1:, 1:] = self.mask.cumsum(0).cumsum(1)
        per_row, per_column = self.height / rows, self.width / columns  # level-0 px
        top, bottom = np.clip((grid.y / per_row, (grid.y + grid.extent) / per_row), 0, rows)
        left, right = np.clip((grid.x / per_column, (grid.x + grid.extent) / per_column), 0, columns)
        tissue = (
            _interpolated(integral, bottom, right)
            - _interpolated(integral, top, right)
            - _interpolated(integral, bottom, left)
            + _interpolated(integral, top, left)
        )
        fraction: npt.NDArray[np.float64] = np.clip(tissue * per_row * per_column / grid.extent**2, 0.0, 1.0)
        return fraction


def has_dark_background(pixels: Image) -> bool:
    """Tell fluorescence (dark empty areas) from bright field, by the brightness of the median pixel.

    `pixels` is (..., 3) uint8; none at all counts as bright field.
    """
    return pixels.size > 0 and float(np.median(pixels.max(axis=-1))) < 255 * _DARK


def find_tissue(thumbnail: Image, *, dark: bool | None = None) -> Mask:
    """Tell tissue from background.

    Bright field: the saturation of HSV above Otsu's threshold (Otsu 1979), or grey that is clearly darker than the
    glass. Fluorescence: brightness above Otsu's threshold. Both thresholds are kept within bounds where they mean
    something, so that an empty slide has no tissue and a slide full of tissue has no background.

    Parameters
    ----------
    thumbnail
        (h, w, 3) uint8.
    dark
        Whether the background is dark; by default judged by the thumbnail itself.

    Returns
    -------
    (h, w) bool
    """
    dark = has_dark_background(thumbnail) if dark is None else dark
    blur = max(thumbnail.shape) * _FLUORESCENCE_BLUR if dark else 1.0
    planes = np.ascontiguousarray(np.moveaxis(thumbnail, -1, 0)).astype(np.float32) / 255  # (3, h, w): quick to reduce
    smooth = gaussian(planes, sigma=blur, channel_axis=0)
    brightness: npt.NDArray[np.float32] = smooth.max(axis=0)
    tissue: Mask
    if dark:
        tissue = brightness > _otsu_within(brightness, _FLUORESCENCE_BOUNDS)
    else:
        saturation = 1 - smooth.min(axis=0) / np.maximum(brightness, 1e-6)
        darker = brightness < _DARKER_THAN_GLASS * np.percentile(brightness, 99)
        tissue = (saturation > _otsu_within(saturation, _SATURATION_BOUNDS)) | darker
    return tissue


def _otsu_within(values: npt.NDArray[np.float32], bounds: tuple[float, float]) -> float:
    return float(np.clip(threshold_otsu(values), *bounds))


def _interpolated(
    integral: npt.NDArray[np.float64], row: npt.NDArray[np.float64], column: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Bilinear interpolation of an integral image at fractional positions."""
    r = np.minimum(row.astype(np.int64), integral.shape[0] - 2)
    c = np.minimum(column.astype(np.int64), integral.shape[1] - 2)
    down, across = row - r, column - c
    upper = integral[r, c] * (1 - across) + integral[r, c + 1] * across
    lower = integral[r + 1, c] * (1 - across) + integral[r + 1, c + 1] * across
    value: npt.NDArray[np.float64] = upper * (1 - down) + lower * down
    return value
