"""Slides, tissue, grids and tile sets: everything before training, without torch.

Examples
--------
>>> import tiling
>>> with tiling.open_slide("biopsy.svs") as slide:  # doctest: +SKIP
...     corner = slide.read(x=0, y=0, width=512, height=512)
>>> tiles = tiling.tile_archive("slides/", "study/tiles", size=4096, mpp=0.5)  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tiling.archive import tile_archive
    from tiling.errors import InputError
    from tiling.slide import Slide, open_slide
    from tiling.tileset import Tile, TileSet

__all__ = ["InputError", "Slide", "Tile", "TileSet", "open_slide", "tile_archive"]

_HOME = {
    "InputError": "tiling.errors",
    "Slide": "tiling.slide",
    "Tile": "tiling.tileset",
    "TileSet": "tiling.tileset",
    "open_slide": "tiling.slide",
    "tile_archive": "tiling.archive",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562), so that `import tiling` itself costs nothing."""
    if name not in _HOME:
        raise AttributeError(f"module 'tiling' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
