"""What a slide is, in a few facts: `hdgan info SLIDE`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tiling.companions import companions_of
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
            "bytes": _size(slide.path),
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


def _size(path: Path) -> int:
    """Bytes of a slide's files."""
    files = path.rglob("*") if path.is_dir() else [path, *companions_of(path)]
    return sum(file.stat().st_size for file in files if file.is_file())
