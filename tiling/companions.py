"""Slides of several files: the one that is opened, and those that it needs beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

MIRAX = ".mrxs"  # its pixels lie in a folder of its name, with this index
MIRAX_INDEX = "Slidedat.ini"
HAMAMATSU = (".vms", ".vmu")  # their pixels lie in files that they name


def companions_of(slide: Path) -> list[Path]:
    """The files without which a slide cannot be read, in order; none for a slide of one file.

    Raises an OSError if the slide's own file cannot be read.
    """
    suffix = slide.suffix.lower()
    if suffix == MIRAX:
        folder = slide.with_suffix("")
        return sorted(path for path in folder.iterdir() if path.is_file()) if folder.is_dir() else []
    if suffix in HAMAMATSU:
        return sorted(slide.parent / name for name in _values(slide) if (slide.parent / name).is_file())
    return []


def _values(index: Path) -> Iterable[str]:
    """What stands right of the equals signs in a Hamamatsu index, as far as it can be a file name beside it."""
    lines = index.read_bytes().decode("utf-8", "replace").splitlines()
    values = {line.partition("=")[2].strip() for line in lines}
    return {value for value in values if value and "/" not in value and "\0" not in value and value != index.name}
