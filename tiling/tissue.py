"""Where on a slide there is tissue, from a thumbnail."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from skimage.filters import gaussian, threshold_otsu

from tiling.backends.base import Image
from tiling.masks import Mask

# Otsu's threshold splits whatever it is given: JPEG noise on an empty slide, or a picture that is all tissue. These
# bounds keep it where glass really differs from tissue, once the lamp's tint is taken off: glass has a saturation below
# 0.05 then; the palest tissue that is worth keeping (mucus, fat, decoloured stroma) reaches 0.1.
_SATURATION_BOUNDS = (0.05, 0.10)
_PALEST = 95  # percentile of the darkest channel: what lies above is glass, where there is any
_MOST_TINT = 0.13  # saturation of glass in photographs that nobody white-balanced; what is more coloured is tissue
_DARKER_THAN_GLASS = 0.75  # silver stains and pigment are grey: no saturation, but well below the brightest areas
_FLUORESCENCE_BOUNDS = (0.05, 0.15)
_FLUORESCENCE_BLUR = 0.005  # of the longest side: the dark between two nuclei of a tissue belongs to it
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
    blur = max(thumbnail.shape) * _FLUORESCENCE_BLUR if dark else 1.0
    planes = np.ascontiguousarray(np.moveaxis(thumbnail, -1, 0)).astype(np.float32) / 255  # (3, h, w): quick to reduce
    smooth = gaussian(planes, sigma=blur, channel_axis=0)
    brightness: npt.NDArray[np.float32] = smooth.max(axis=0)
    tissue: Mask
    if dark:
        tissue = brightness > _otsu_within(brightness, _FLUORESCENCE_BOUNDS)
    else:
        saturation = _saturation(_without_tint(smooth))
        darker = brightness < _DARKER_THAN_GLASS * np.percentile(brightness, 99)
        tissue = (saturation > _otsu_within(saturation, _SATURATION_BOUNDS)) | darker
    return tissue


def _without_tint(planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Make the palest areas grey, unless they are too coloured to be glass; (3, h, w) to the same."""
    darkest_channel = planes.min(axis=0)
    palest = planes[:, darkest_channel >= np.percentile(darkest_channel, _PALEST)]
    glass = np.maximum(np.median(palest, axis=1), 1e-6)
    if _saturation(glass) > _MOST_TINT:
        return planes
    balanced: npt.NDArray[np.float32] = planes * (glass.max() / glass)[:, None, None]
    return balanced


def _saturation(planes: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Saturation of HSV, of channels along the first axis."""
    saturation: npt.NDArray[np.float32] = 1 - planes.min(axis=0) / np.maximum(planes.max(axis=0), 1e-6)
    return saturation


def _otsu_within(values: npt.NDArray[np.float32], bounds: tuple[float, float]) -> float:
    return float(np.clip(threshold_otsu(values), *bounds))
