"""A picture of where on a slide the tissue and the tiles are, for reports."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from skimage.segmentation import find_boundaries

from tiling.backends.base import Colour, Image
from tiling.files import write_bytes
from tiling.grid import Grid
from tiling.masks import Mask
from tiling.slide import Slide
from tiling.tileset import Tile
from tiling.tissue import find_tissue

TISSUE_COLOUR: Colour = (0, 160, 90)
TILE_COLOUR: Colour = (30, 90, 220)
PEN_COLOUR: Colour = (255, 140, 0)
DAMAGE_COLOUR: Colour = (220, 20, 40)

_HATCH = 6  # px between the lines that cover pen
_JPEG_QUALITY = 85

Boxes = npt.NDArray[np.int64]


class Area(Protocol):
    """A rectangle of a slide, level-0 px: a damaged cell, for one."""

    @property
    def x(self) -> int:
        """Left."""

    @property
    def y(self) -> int:
        """Top."""

    @property
    def width(self) -> int:
        """Width."""

    @property
    def height(self) -> int:
        """Height."""


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
    picture[find_boundaries(find_tissue(picture, dark=slide.dark_background), mode="inner")] = TISSUE_COLOUR
    areas = [(tile.x, tile.y, tile.size * tile.scale, tile.size * tile.scale) for tile in tiles]
    _frame(picture, _boxes(np.array(areas, float), picture, *slide.dimensions), TILE_COLOUR)
    return picture


def overview(
    thumbnail: Image,
    *,
    tissue: Mask,
    grid: Grid,
    width: int,
    height: int,
    pen: Mask | None = None,
    damaged: Sequence[Area] = (),
) -> Image:
    """What became of a slide, drawn on its thumbnail; the slide is not read.

    The tissue is outlined in green, tiles are framed in blue, pen is hatched and outlined in orange, damaged cells are
    red, and so large that they can be seen.

    Parameters
    ----------
    thumbnail
        (h, w, 3) uint8, which is left as it is.
    tissue, pen
        (h', w') bool, of the thumbnail's size or another.
    grid
        The tiles kept.
    width, height
        Size of the slide, level-0 px.
    damaged
        Cells that could not be decoded.

    Returns
    -------
    (h, w, 3) uint8
    """
    picture = thumbnail.copy()
    picture[find_boundaries(_fitted(tissue, picture), mode="inner")] = TISSUE_COLOUR
    if pen is not None:
        ink = _fitted(pen, picture)
        y, x = np.ogrid[: picture.shape[0], : picture.shape[1]]
        picture[ink & ((x + y) % _HATCH == 0) | find_boundaries(ink, mode="inner")] = PEN_COLOUR
    extents = np.full(len(grid), grid.extent)
    _frame(picture, _boxes(np.stack([grid.x, grid.y, extents, extents], axis=1), picture, width, height), TILE_COLOUR)
    cells = np.array([(cell.x, cell.y, cell.width, cell.height) for cell in damaged], float)
    for left, top, right, bottom in _boxes(cells, picture, width, height):
        picture[max(0, top - 1) : bottom + 2, max(0, left - 1) : right + 2] = DAMAGE_COLOUR
    return picture


def write_overview(path: Path, image: Image) -> None:
    """Write a picture as a JPEG, whole or not at all: (h, w, 3) uint8.

    A tenth of the size of a PNG, which counts for a page of thousands of slides; the colours are kept at full
    resolution, so that thin lines stay clear.
    """
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    write_bytes(path, buffer.getvalue())


def _fitted(mask: Mask, picture: Image) -> Mask:
    """A mask at the size of a picture: the nearest of its pixels."""
    rows, columns = (
        np.arange(length) * own // length for length, own in zip(picture.shape[:2], mask.shape, strict=True)
    )
    fitted: Mask = mask[rows[:, None], columns]
    return fitted


def _boxes(areas: npt.NDArray[np.float64], picture: Image, width: int, height: int) -> Boxes:
    """Areas (n, 4) of x, y, width, height in level-0 px as (n, 4) left, top, right, bottom px of the picture."""
    corners = areas.reshape(-1, 4) + np.pad(areas.reshape(-1, 4)[:, :2], ((0, 0), (2, 0)))
    rows, columns = picture.shape[:2]
    scale = np.array([columns / width, rows / height] * 2)
    boxes: Boxes = np.clip(np.rint(corners * scale), 0, [columns - 1, rows - 1] * 2).astype(np.int64)
    return boxes


def _frame(picture: Image, boxes: Boxes, colour: Colour) -> None:
    """Draw the frames of boxes whose corners are within the picture."""
    for left, top, right, bottom in boxes:
        picture[top : bottom + 1 : max(1, bottom - top), left : right + 1] = colour
        picture[top : bottom + 1, left : right + 1 : max(1, right - left)] = colour
