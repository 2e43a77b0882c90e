"""What a slide is, in a few facts: `hdgan info SLIDE`."""

from __future__ import annotations

import os
from typing import Any

from tiling.slide import open_slide


def describe(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The facts of a slide that matter for tiling it, JSON-able.

    Nothing of the file's own comments is told: scanners write names of users and patients there.

    Raises
    ------
    InputError
        If it cannot be opened or read.
    """
    with open_slide(path) as slide:
        width, height = slide.dimensions
        return {
            "slide": slide.path.name,
            "bytes": slide.path.stat().st_size,
            "backend": slide.backend,
            "format": slide.properties.get("openslide.vendor") or slide.properties.get("image.format"),
            "width": width,
            "height": height,
            "levels": [level._asdict() for level in slide.levels],
            "mpp": slide.mpp,
            "objective_power": slide.objective_power,
            "kind": "fluorescence" if slide.dark_background else "bright field",
            "background": list(slide.background),
        }
