"""Pieces of feature maps at native resolution, and their exact bilinear upsampling.

Pixel Y of the image lies at (Y + 1/2) / scale - 1/2 in a map that is `scale` times smaller (bilinear interpolation
with `align_corners=False`); outside a map its border pixels go on. A patch carries that border with it, so that
upsampling needs to know nothing of the map's size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Patch:
    """Every native pixel that bilinear upsampling of a window needs, replicated at image borders.

    Attributes
    ----------
    values
        (C, h', w') floats, a NumPy array or a tensor.
    y0, x0
        Native coordinates of the first row and column; -1 where the border was replicated outwards.
    scale
        How many image pixels a native pixel spans.
    """

    values: Any
    y0: int
    x0: int
    scale: int


@dataclass(frozen=True, eq=False)
class Window:
    """A window of a generated image with what its features need.

    Attributes
    ----------
    y, x
        The window's first row and column in the image.
    image
        (h, w, 3) uint8.
    features
        {layer: Patch}, from low to high resolution.
    """

    y: int
    x: int
    image: npt.NDArray[np.uint8]
    features: Mapping[str, Patch]

    def upsampled(self) -> Floats:
        """(C, h, w) float32: the features of every pixel, layers in order."""
        h, w = self.image.shape[:2]
        return np.concatenate([upsample(patch, y=self.y, x=self.x, h=h, w=w) for patch in self.features.values()])


def native_span(start: int, length: int, scale: int) -> tuple[int, int]:
    """The native pixels [first, stop) that `length` image pixels from `start` are interpolated from."""
    first = (2 * start + 1 - scale) // (2 * scale)
    last = -((scale + 1 - 2 * (start + length)) // (2 * scale))
    return first, last + 1


def taps(positions: npt.NDArray[np.integer[Any]], scale: int) -> tuple[Indices, Indices, Floats]:
    """For image positions (n,): the lower and upper native pixel, and the upper one's weight (float32)."""
    numerator = 2 * positions.astype(np.int64) + 1 - scale
    lower = numerator // (2 * scale)
    weight = ((numerator - lower * 2 * scale) / (2 * scale)).astype(np.float32)
    return lower, lower + (weight > 0), weight


def block_taps(start: int, length: int, scale: int) -> tuple[Indices, Floats]:
    """The two native pixels (length, 2) of each of `length` image pixels, from the first one's on; their shares."""
    lower, upper, weight = taps(np.arange(start, start + length), scale)
    return np.stack([lower, upper], axis=1) - lower[0], np.stack([1 - weight, weight], axis=1)


def interpolation_matrix(start: int, length: int, *, scale: int, first: int, size: int) -> Floats:
    """(length, size): upsampling along one axis as a product with a patch's rows, which begin at `first`."""
    lower, upper, weight = taps(np.arange(start, start + length), scale)
    _check_covered(lower, upper, first, size)
    matrix = np.zeros((length, size), np.float32)
    rows = np.arange(length)
    matrix[rows, lower - first] = 1 - weight
    matrix[rows, upper - first] += weight
    return matrix


def cut(values: Any, *, scale: int, y: int, x: int, h: int, w: int) -> Patch:
    """The patch of a whole native map (C, H', W'), array or tensor, for the image window at (y, x) of (h, w) px."""
    check_window(y, x, h, w, (values.shape[1] * scale, values.shape[2] * scale))
    (top, bottom), (left, right) = native_span(y, h, scale), native_span(x, w, scale)
    rows = np.arange(top, bottom).clip(0, values.shape[1] - 1)
    columns = np.arange(left, right).clip(0, values.shape[2] - 1)
    return Patch(values[:, rows[:, None], columns], top, left, scale)


def check_window(y: int, x: int, h: int, w: int, shape: tuple[int, int]) -> None:
    """Refuse a window that is empty or not within an image of `shape`."""
    if h < 1 or w < 1 or y < 0 or x < 0 or y + h > shape[0] or x + w > shape[1]:
        raise InputError(f"window y={y} x={x} h={h} w={w} is not within the image of {shape[0]} x {shape[1]} px")


def upsample(patch: Patch, *, y: int, x: int, h: int, w: int) -> Floats:
    """A window (C, h, w) float32 of the upsampled map, at (y, x) of the image."""
    values = _on_cpu(patch.values)
    top, bottom, row_weight = _taps_within(patch.y0, values.shape[1], np.arange(y, y + h), patch.scale)
    left, right, column_weight = _taps_within(patch.x0, values.shape[2], np.arange(x, x + w), patch.scale)
    wide = _mix(values[:, :, left], values[:, :, right], column_weight)
    return _mix(wide[:, top], wide[:, bottom], row_weight[:, None])


def gather(patch: Patch, ys: npt.NDArray[np.integer[Any]], xs: npt.NDArray[np.integer[Any]]) -> Floats:
    """The upsampled values (C, n) float32 of single image pixels (ys[i], xs[i]), four taps each."""
    values = np.asarray(patch.values)
    channels, height, width = values.shape
    top, bottom, dy = _taps_within(patch.y0, height, ys, patch.scale)
    left, right, dx = _taps_within(patch.x0, width, xs, patch.scale)
    flat = values.reshape(channels, -1)
    result = np.zeros((channels, len(ys)), np.float32)
    for row, row_weight in ((top, 1 - dy), (bottom, dy)):
        for column, column_weight in ((left, 1 - dx), (right, dx)):
            weight = row_weight * column_weight
            if weight.any():  # at the image's own resolution only one of the four taps counts
                result += flat.take(row * width + column, axis=1) * weight
    return result


def coverage(patches: Mapping[str, Patch]) -> tuple[int, int, int, int]:
    """The largest image window (y, x, h, w) that all of `patches` can be upsampled to.

    For the patches of a window this is the window itself, given one of them is at the image's resolution.
    """
    rows = [_covered(patch.y0, patch.values.shape[1], patch.scale) for patch in patches.values()]
    columns = [_covered(patch.x0, patch.values.shape[2], patch.scale) for patch in patches.values()]
    y, x = max(start for start, _ in rows), max(start for start, _ in columns)
    h, w = min(stop for _, stop in rows) - y, min(stop for _, stop in columns) - x
    if h < 1 or w < 1:
        raise InputError("the patches given have no image pixel in common")
    return y, x, h, w


def _covered(first: int, size: int, scale: int) -> tuple[int, int]:
    """Image pixels [start, stop), not before 0, whose both taps lie among native pixels first .. first + size - 1."""
    start = -((-(2 * scale * first + scale - 1)) // 2)
    stop = (2 * scale * (first + size - 1) + scale - 1) // 2 + 1
    return max(start, 0), stop


def _on_cpu(values: Any) -> Floats:
    """Float32 for NumPy, which knows no other devices and no bfloat16."""
    return np.asarray(values if isinstance(values, np.ndarray) else values.float().cpu(), np.float32)


def _mix(lower: Floats, upper: Floats, weight: Floats) -> Floats:
    mixed: Floats = lower + (upper - lower) * weight
    return mixed


def _taps_within(
    first: int, size: int, positions: npt.NDArray[np.integer[Any]], scale: int
) -> tuple[Indices, Indices, Floats]:
    lower, upper, weight = taps(positions, scale)
    _check_covered(lower, upper, first, size)
    return lower - first, upper - first, weight


def _check_covered(lower: Indices, upper: Indices, first: int, size: int) -> None:
    if lower.min() < first or upper.max() >= first + size:
        raise InputError(
            f"native pixels {lower.min()} to {upper.max()} are needed, "
            f"and the patch holds {first} to {first + size - 1}; cut a larger one"
        )
