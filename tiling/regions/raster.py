"""Regions to pixels, at any resolution: a pixel is of a region if its centre lies in it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.regions.polygons import Pair, bounds, paint
from tiling.regions.region import Region

Mask = npt.NDArray[np.bool_]


def region_mask(regions: Iterable[Region], *, width: int, height: int, max_size: int = 1024) -> Mask:
    """Where on a slide any of some regions is, in a small picture of the size of the slide's thumbnail.

    Parameters
    ----------
    regions
        What of them lies outside the slide is cut off. One that reaches the centre of no pixel of the picture is not in
        it.
    width, height
        Size of the slide, level-0 px.
    max_size
        Of the picture's longer side, px; it is never larger than the slide.

    Returns
    -------
    (h, w) bool
    """
    if max_size < 1:
        raise InputError(f"a mask has at least 1 px, not {max_size}")
    scale = max(1.0, max(width, height) / max_size)
    covered = np.zeros((max(1, round(height / scale)), max(1, round(width / scale))), np.uint8)
    downsample = width / covered.shape[1], height / covered.shape[0]
    for region in regions:
        paint_region(covered, region, 1, downsample=downsample)
    return covered.view(np.bool_)


def paint_region(
    labels: npt.NDArray[np.uint8],
    region: Region,
    value: int,
    *,
    x: float = 0.0,
    y: float = 0.0,
    downsample: float | Pair = 1.0,
) -> None:
    """Set the pixels of a window of a slide that are in a region, in place.

    Parameters
    ----------
    labels
        (height, width) uint8: the window, at its own resolution.
    region
        It may reach past the window, or lie outside.
    value
        What its pixels become.
    x, y
        Upper left corner of the window, level-0 px.
    downsample
        Level-0 px per px of the window: one number, or one across and one down.

    Examples
    --------
    >>> from tiling.regions.shapes import rectangle
    >>> square = Region(("glomerulus",), [[rectangle(100, 100, 120, 140)]], "drawn")
    >>> window = np.zeros((4, 3), np.uint8)
    >>> paint_region(window, square, 7, x=90, y=90, downsample=10)
    >>> window
    array([[0, 0, 0],
           [0, 7, 7],
           [0, 7, 7],
           [0, 7, 7]], dtype=uint8)
    """
    across, down = downsample if isinstance(downsample, tuple) else (downsample, downsample)
    if not (across > 0 and down > 0):
        raise InputError(f"downsample must be positive, not {downsample}")
    for polygon in region.polygons:
        if not region.cut:
            paint(labels, polygon, value, origin=(x, y), downsample=(across, down))
            continue
        least, most = ((corner - (x, y)) / (across, down) for corner in bounds(polygon))
        left, top = np.clip(np.floor(least), 0, labels.shape[::-1]).astype(int)
        right, bottom = np.clip(np.ceil(most), 0, labels.shape[::-1]).astype(int)
        box = labels[top:bottom, left:right]
        inside, origin = np.zeros(box.shape, np.uint8), (x + left * across, y + top * down)
        paint(inside, polygon, 1, origin=origin, downsample=(across, down))
        for hole in region.cut:
            paint(inside, hole, 0, origin=origin, downsample=(across, down))
        box[inside == 1] = value
