"""One tile's pixels, at its own resolution."""

from __future__ import annotations

import math
from collections.abc import Callable

from tiling.backends.base import Image
from tiling.damage import DamagedCell
from tiling.resample import area_resample, rows_of
from tiling.slide import Slide

_HELD = 1 << 24  # px of a level that are read at once: what OpenSlide and a change of colour hold is 12 bytes for each


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

    def read(y: int, height: int, width: int) -> Image:
        return slide.read(x=x, y=y, width=width, height=height, level=level)

    return _resampled(read, y, _extent(slide, size, level, scale), size, slide.levels[level].downsample)


def salvage_tile(
    slide: Slide, *, x: int, y: int, size: int, level: int, scale: float
) -> tuple[Image, tuple[DamagedCell, ...]]:
    """Read what can be decoded of a tile.

    Parameters
    ----------
    slide, x, y, size, level, scale
        As for :func:`read_tile`.

    Returns
    -------
    tile
        (size, size, 3) uint8. Damaged cells have the slide's background colour; pixels that a damaged cell covers in
        part are a mixture with it (:func:`tiling.damage.damaged_pixels` tells which a cell touches).
    damage
        The cells that cannot be decoded, in reading order.

    Raises
    ------
    InputError
        If the file itself is no longer there.
    """
    damage: dict[DamagedCell, None] = {}

    def read(y: int, height: int, width: int) -> Image:
        region, cells = slide.salvage(x=x, y=y, width=width, height=height, level=level)
        damage.update(dict.fromkeys(cells))
        return region

    tile = _resampled(read, y, _extent(slide, size, level, scale), size, slide.levels[level].downsample)
    return tile, tuple(damage)


def is_of_level(slide: Slide, *, x: int, y: int, size: int, level: int, scale: float) -> bool:
    """Whether a tile's pixels are those of its level, at whole distances in level-0 px from each other."""
    px = slide.levels[level].downsample
    return scale == px and px.is_integer() and x % px == y % px == 0


def _extent(slide: Slide, size: int, level: int, scale: float) -> float:
    """Edge of a tile in px of its level: `size` itself where the two differ by less than half a pixel."""
    extent = size * scale / slide.levels[level].downsample
    if abs(extent - size) < 0.5:
        return float(size)
    return float(round(extent)) if abs(extent - round(extent)) < 1e-6 else extent


def _resampled(read: Callable[[int, int, int], Image], y: int, extent: float, size: int, downsample: float) -> Image:
    """A tile of the rows that `read` gives: all at once, or in bands where they are too many to hold."""
    side = math.ceil(extent)
    if extent == size:
        return read(y, side, side)
    if side * side <= _HELD:
        return area_resample(rows_of(read(y, side, side)), (extent, extent), (size, size))

    first = round(y / downsample)

    def read_rows(start: int, stop: int) -> Image:
        # From pixel to pixel of the level: of a downsample like 2.0005 not a whole number of level-0 px.
        below = round((first + start) * downsample) - round(first * downsample)
        return read(y + below, stop - start, side)

    return area_resample(read_rows, (extent, extent), (size, size))
