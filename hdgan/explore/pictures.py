"""Arrays as pictures, with NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.labels import UNLABELLED, ClassList, Image, LabelMap
from tiling.errors import InputError

Values = npt.NDArray[np.floating[Any]]
Grey = npt.NDArray[np.uint8]

_PERCENTILES = (1, 99)  # a few extreme values would leave the rest of a map grey in grey
_WHITE = 255


def channel_grid(features: Values, *, channels: Sequence[int] | None = None, columns: int = 8, gap: int = 1) -> Grey:
    """Single channels side by side, each from its own darkest to its own brightest.

    Parameters
    ----------
    features
        (C, h, w) floats.
    channels
        Which to show, in that order; None: all.
    columns
        Channels in a row.
    gap
        White between channels, px.

    Returns
    -------
    (rows h + gaps, columns w + gaps) uint8

    Examples
    --------
    >>> channel_grid(np.random.default_rng(0).normal(size=(5, 4, 6)), columns=3).shape
    (9, 20)
    """
    _refuse_no_maps(features, ["(C, h, w)"])
    chosen = list(range(len(features))) if channels is None else list(channels)
    unknown = [channel for channel in chosen if not 0 <= channel < len(features)]
    if unknown or not chosen:
        raise InputError(f"channels must be some of 0 to {len(features) - 1}, not {chosen}")
    if columns < 1 or gap < 0:
        raise InputError(f"a grid needs columns >= 1 and gap >= 0, not {columns} and {gap}")
    height, width = features.shape[1:]
    columns = min(columns, len(chosen))
    rows = -(-len(chosen) // columns)
    grid = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), _WHITE, np.uint8)
    for place, channel in enumerate(chosen):
        row, column = divmod(place, columns)
        y, x = row * (height + gap), column * (width + gap)
        grid[y : y + height, x : x + width] = _stretched(features[channel].astype(np.float32))
    return grid


def pca_rgb(features: Values) -> Image:
    """The first three principal components of the channels as red, green and blue.

    Channels are standardised first, so that each counts alike. Pixels that the channels describe alike have one
    colour. A component's sign is chosen such that its largest loading is positive: the same features, the same colours.

    Parameters
    ----------
    features
        (C, h, w) floats of at least 3 channels; or (N, C, h, w), which gives N pictures in common colours.

    Returns
    -------
    (h, w, 3) or (N, h, w, 3) uint8
    """
    _refuse_no_maps(features, ["(C, h, w)", "(N, C, h, w)"])
    maps = features[None] if features.ndim == 3 else features
    n, channels, height, width = maps.shape
    if channels < 3:
        raise InputError(f"three principal components need at least 3 channels, not {channels}")
    pixels = maps.transpose(1, 0, 2, 3).reshape(channels, -1).astype(np.float32)
    deviation = pixels.std(axis=1, keepdims=True)
    pixels = (pixels - pixels.mean(axis=1, keepdims=True)) / np.where(deviation > 0, deviation, 1)
    loadings = np.linalg.eigh(pixels @ pixels.T)[1][:, :-4:-1]
    largest = np.take_along_axis(loadings, np.abs(loadings).argmax(axis=0)[None], axis=0)
    components = (loadings * np.where(largest < 0, -1, 1)).T @ pixels
    colours = np.stack([_stretched(component) for component in components], axis=-1)
    pictures: Image = colours.reshape(n, height, width, 3)
    return pictures[0] if features.ndim == 3 else pictures


def mask_overlay(image: Image, mask: LabelMap, classes: ClassList, *, opacity: float = 0.4) -> Image:
    """A mask in its classes' colours over the image; unlabelled pixels show the image alone.

    Parameters
    ----------
    image
        (H, W, 3) uint8.
    mask
        (H, W) uint8 class indices, 255 unlabelled.
    classes
        Their colours.
    opacity
        Share of the mask's colour, 0 to 1.

    Returns
    -------
    (H, W, 3) uint8
    """
    if image.shape != (*mask.shape, 3):
        raise InputError(f"a mask and its image have the same size, not {mask.shape} and {image.shape}")
    if not 0 <= opacity <= 1:
        raise InputError(f"opacity must be 0 to 1, not {opacity}")
    share = np.where(mask == UNLABELLED, 0, opacity)[..., None]
    blended: Image = np.rint(image * (1 - share) + classes.coloured(mask) * share).astype(np.uint8)
    return blended


def _refuse_no_maps(features: Values, allowed: Sequence[str]) -> None:
    dimensions = [len(shape.split(",")) for shape in allowed]
    if features.ndim not in dimensions or 0 in features.shape:
        raise InputError(f"feature maps are {' or '.join(allowed)}, not {features.shape}")


def _stretched(values: npt.NDArray[np.float32]) -> Grey:
    """Values between their 1st and 99th percentile as 0 to 255; a constant is mid-grey."""
    low, high = np.percentile(values, _PERCENTILES)
    if high <= low:
        return np.full(values.shape, 128, np.uint8)
    stretched: Grey = np.rint(np.clip((values - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    return stretched
