"""Slides, tissue, grids and tile sets: everything before training, without torch.

Examples
--------
>>> import tiling
>>> with tiling.open_slide("biopsy.svs") as slide:  # doctest: +SKIP
...     corner = slide.read(x=0, y=0, width=512, height=512)
>>> tiles = tiling.tile_archive("slides/", "study/tiles", size=4096, mpp=0.5)  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiling.lazy import lazy_names

if TYPE_CHECKING:
    from tiling.archive import tile_archive
    from tiling.errors import InputError
    from tiling.slide import Slide, open_slide
    from tiling.tileset import Tile, TileSet

__all__ = ["InputError", "Slide", "Tile", "TileSet", "open_slide", "tile_archive"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "InputError": "tiling.errors",
        "Slide": "tiling.slide",
        "Tile": "tiling.tileset",
        "TileSet": "tiling.tileset",
        "open_slide": "tiling.slide",
        "tile_archive": "tiling.archive",
    },
)
