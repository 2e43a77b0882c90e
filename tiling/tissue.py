"""Where on a slide there is tissue, from a thumbnail."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.filters import gaussian, threshold_otsu

from tiling.backends.base import Image
from tiling.masks import Mask

Plane = npt.NDArray[np.float32]

# Otsu's threshold splits whatever it is given: JPEG noise on an empty slide, or a picture that is all tissue. These
# bounds keep it where glass really differs from tissue, once the lamp's tint is taken off: glass has a saturation below
# 0.05 then; the palest tissue that is worth keeping (mucus, fat, decoloured stroma) reaches 0.1.
_SATURATION_BOUNDS = (0.05, 0.10)
_PALEST = 95  # percentile of the darkest channel: what lies above is glass, where there is any
_MOST_TINT = 0.13  # saturation of glass in photographs that nobody white-balanced; what is more coloured is tissue
_DARKER_THAN_GLASS = 0.75  # silver stains and pigment are grey: no saturation, but well below the brightest areas
_FLUORESCENCE_BOUNDS = (0.05, 0.15)
_FLUORESCENCE_BLUR = 0.005  # of the longest side: the dark between two nuclei of a tissue belongs to it
_BAND = 1 << 20  # px for which the saturation is worked out at once
_DARK = 0.15  # brightness below which the typical pixel is of a dark background; dense H&E stays above 0.2


def has_dark_background(pixels: Image) -> bool:
    """Tell fluorescence (dark empty areas) from bright field, by the brightness of the median pixel.

    `pixels` is (..., 3) uint8; none at all counts as bright field.
    """
    return pixels.size > 0 and float(np.median(pixels.max(axis=-1))) < 255 * _DARK


def find_tissue(thumbnail: Image, *, dark: bool | None = None) -> Mask:
    """Tell tissue from background.

    Bright field: the saturation of HSV, white-balanced by the palest areas, above Otsu's threshold (Otsu 1979), or grey
    that is clearly darker than the glass. Fluorescence: brightness above Otsu's threshold. Both thresholds are kept
    within bounds where they mean something, so that an empty slide has no tissue and a slide full of tissue has no
    background.

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
    if dark:
        brightness = _smoothed(thumbnail, sigma=max(thumbnail.shape) * _FLUORESCENCE_BLUR).max(axis=0)
        tissue: Mask = brightness > _otsu_within(brightness, _FLUORESCENCE_BOUNDS)
        return tissue
    planes = _smoothed(thumbnail, sigma=1.0)
    brightest = np.percentile(planes.max(axis=0), 99, overwrite_input=True)  # of values of its own: one copy less
    tissue = planes.max(axis=0) < _DARKER_THAN_GLASS * brightest
    _take_tint_off(planes)
    saturation = _saturation_of_pixels(planes)
    del planes  # by far the largest that is held
    tissue |= saturation > _otsu_within(saturation, _SATURATION_BOUNDS)
    return tissue


def _smoothed(picture: Image, *, sigma: float) -> Plane:
    """(h, w, 3) uint8 to (3, h, w) in [0, 1], which is quick to reduce, blurred."""
    planes = np.empty((3, *picture.shape[:2]), np.float32)
    for channel, plane in enumerate(planes):
        np.divide(picture[..., channel], np.float32(255), out=plane)
        gaussian(plane, sigma=sigma, out=plane)
    return planes


def _take_tint_off(planes: Plane) -> None:
    """Make the palest areas of (3, h, w) grey, in place, unless they are too coloured to be glass."""
    least = np.percentile(planes.min(axis=0), _PALEST, overwrite_input=True)
    palest = planes.min(axis=0) >= least
    glass = np.array([np.median(plane[palest], overwrite_input=True) for plane in planes])
    glass = np.maximum(glass, 1e-6)
    if _saturation(glass) <= _MOST_TINT:
        planes *= (glass.max() / glass)[:, None, None]


def _saturation_of_pixels(planes: Plane) -> Plane:
    """Saturation of HSV, (3, h, w) to (h, w): in bands of rows, since steps on the way take as much memory each."""
    _, height, width = planes.shape
    saturation = np.empty((height, width), np.float32)
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        saturation[top : top + rows] = _saturation(planes[:, top : top + rows])
    return saturation


def _saturation(planes: Plane) -> Plane:
    """Saturation of HSV, of channels along the first axis."""
    saturation: Plane = 1 - planes.min(axis=0) / np.maximum(planes.max(axis=0), 1e-6)
    return saturation


def _otsu_within(values: Plane, bounds: tuple[float, float]) -> float:
    return float(np.clip(threshold_otsu(values), *bounds))
