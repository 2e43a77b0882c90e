"""A picture of where on a slide the tissue and the tiles are, for reports."""

from __future__ import annotations

from collections.abc import Iterable

from skimage.segmentation import find_boundaries

from tiling.backends.base import Colour, Image
from tiling.slide import Slide
from tiling.tileset import Tile
from tiling.tissue import find_tissue

TISSUE_COLOUR: Colour = (0, 160, 90)
TILE_COLOUR: Colour = (30, 90, 220)


def draw_tiles(slide: Slide, tiles: Iterable[Tile] = (), *, max_size: int = 1024) -> Image:
    """A thumbnail with the outline of the tissue and the frames of tiles.

    Parameters
    ----------
    slide
        An open slide.
    tiles
        Tiles of that slide.
    max_size
        Longest side of the picture, px.

    Returns
    -------
    (h, w, 3) uint8
    """
    picture = slide.thumbnail(max_size)
    tissue = find_tissue(picture, dark=slide.dark_background)
    picture[find_boundaries(tissue, mode="inner")] = TISSUE_COLOUR
    height, width = picture.shape[:2]
    across, down = width / slide.dimensions[0], height / slide.dimensions[1]  # picture px per level-0 px
    for tile in tiles:
        extent = tile.size * tile.scale
        left, right = (min(max(round(x * across), 0), width - 1) for x in (tile.x, tile.x + extent))
        top, bottom = (min(max(round(y * down), 0), height - 1) for y in (tile.y, tile.y + extent))
        picture[[top, bottom], left : right + 1] = TILE_COLOUR
        picture[top : bottom + 1, [left, right]] = TILE_COLOUR
    return picture
