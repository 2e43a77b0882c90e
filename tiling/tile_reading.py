"""One tile's pixels, at its own resolution."""

from __future__ import annotations

import math

from tiling.backends.base import Image
from tiling.resample import area_resample
from tiling.slide import Slide


def read_tile(slide: Slide, *, x: int, y: int, size: int, level: int, scale: float) -> Image:
    """Read a tile from a slide.

    A tile coarser than the level it is read from is averaged down by area. Parts of it outside the slide have the
    slide's background colour.

    Parameters
    ----------
    slide
        An open slide.
    x, y
        Upper left corner, level-0 px.
    size
        Edge, px of the tile.
    level
        Level to read from.
    scale
        Level-0 px per tile px.

    Returns
    -------
    (size, size, 3) uint8

    Raises
    ------
    InputError
        If the slide cannot be decoded there.
    """
    extent = size * scale / slide.levels[level].downsample
    if abs(extent - size) < 0.5:
        return slide.read(x=x, y=y, width=size, height=size, level=level)
    side = math.ceil(extent - 1e-6)
    source = slide.read(x=x, y=y, width=side, height=side, level=level)
    return area_resample(lambda start, stop: source[start:stop], (extent, extent), (size, size))
