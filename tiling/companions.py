"""Slides of several files: the one that is opened, and those that it needs beside it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable
from pathlib import Path

from tiling.dicom import DicomHeader, read_header
from tiling.files import state_of

MIRAX = ".mrxs"  # its pixels lie in a folder of its name, with this index
MIRAX_INDEX = "Slidedat.ini"
HAMAMATSU = (".vms", ".vmu")  # their pixels lie in files that they name
DICOM = ".dcm"  # each level is a file, or several, of one series in one folder


def companions_of(slide: Path) -> list[Path]:
    """The files without which a slide cannot be read, in order; none for a slide of one file.

    Raises an OSError if the file that the slide is named by, or the folder of a MIRAX slide, cannot be read. A DICOM
    file beside it that cannot be read is none of its own, as far as anybody can tell.
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


def size_of(slide: Path) -> int:
    """Bytes of a slide's files, as far as these can be told; whatever cannot be read is no error."""
    try:
        files = [slide, *companions_of(slide)]
    except OSError:
        files = [slide]
    size = 0
    for file in files:
        with contextlib.suppress(OSError):
            size += file.stat().st_size
    return size


def _of_series(slide: Path) -> list[Path]:
    """The other files with pixels of a DICOM slide; its label may come and go."""
    header = read_header(slide)
    if header is None or not header.is_level:
        return []
    others = sorted(path for path in slide.parent.iterdir() if path.suffix.lower() == DICOM and path != slide)
    headers = ((path, _header(path)) for path in others)
    return [path for path, other in headers if other and other.is_level and other.series == header.series]


def _header(path: Path) -> DicomHeader | None:
    """The header of a file that may belong to any slide of its folder, or to none: None if it cannot be read."""
    try:
        return _header_in(path, state_of(path)) if path.is_file() else None
    except OSError:
        return None


@functools.lru_cache(1 << 15)
def _header_in(path: Path, state: tuple[int, ...]) -> DicomHeader | None:
    """The header of a file in a state: every slide of a folder asks for those of all files in it."""
    return read_header(path)


def _values(index: Path) -> Iterable[str]:
    """What stands right of the equals signs in a Hamamatsu index, as far as it can be a file name beside it."""
    lines = index.read_bytes().decode("utf-8", "replace").splitlines()
    values = {line.partition("=")[2].strip() for line in lines}
    return {value for value in values if value and "/" not in value and "\0" not in value and value != index.name}
