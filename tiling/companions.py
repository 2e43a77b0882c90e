"""Slides of several files: the one that is opened, and those that it needs beside it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tiling.dicom import read_header

MIRAX = ".mrxs"  # its pixels lie in a folder of its name, with this index
MIRAX_INDEX = "Slidedat.ini"
HAMAMATSU = (".vms", ".vmu")  # their pixels lie in files that they name
DICOM = ".dcm"  # each level is a file, or several, of one series in one folder


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
    if suffix == DICOM:
        return _of_series(slide)
    return []


def _of_series(slide: Path) -> list[Path]:
    """The other files with pixels of a DICOM slide; its label may come and go."""
    header = read_header(slide)
    if header is None or not header.is_level:
        return []
    others = sorted(path for path in slide.parent.iterdir() if path.suffix.lower() == DICOM and path != slide)
    headers = ((path, read_header(path)) for path in others if path.is_file())
    return [path for path, other in headers if other and other.is_level and other.series == header.series]


def _values(index: Path) -> Iterable[str]:
    """What stands right of the equals signs in a Hamamatsu index, as far as it can be a file name beside it."""
    lines = index.read_bytes().decode("utf-8", "replace").splitlines()
    values = {line.partition("=")[2].strip() for line in lines}
    return {value for value in values if value and "/" not in value and "\0" not in value and value != index.name}
