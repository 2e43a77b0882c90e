"""Regions on a window of a slide, for tests to compare."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tiling.regions import Region, paint_region


def covered(regions: Iterable[Region], *, shape: tuple[int, int], **place: float) -> np.ndarray:
    """(h, w) bool: where in a window any of some regions is."""
    window = np.zeros(shape, np.uint8)
    for region in regions:
        paint_region(window, region, 1, **place)
    return window.view(np.bool_)
