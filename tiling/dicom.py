"""The few facts of a DICOM file's header that tell which slide it belongs to.

DICOM PS3.10 (files) and PS3.5 (explicit VR, little endian, as all whole-slide images are in that OpenSlide reads).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_SOP_CLASS, _IMAGE_TYPE, _SERIES, _COLUMNS = 0x00020002, 0x00080008, 0x0020000E, 0x00480006
_WANTED = frozenset({_SOP_CLASS, _IMAGE_TYPE, _SERIES, _COLUMNS})
_WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
_LONG = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
_ITEMS, _ENDS, _UNDEFINED = 0xFFFE, (0xFFFEE00D, 0xFFFEE0DD), 0xFFFFFFFF
_LONGEST, _MOST = 1 << 10, 1 << 16  # bytes of a value; elements before the last that is wanted


@dataclass(frozen=True)
class DicomHeader:
    """What a DICOM file is.

    Attributes
    ----------
    is_level
        Whether it holds pixels of a slide; else it is a label, an overview, a thumbnail, or no slide at all.
    series
        The UID of its slide; empty for what is no whole-slide image.
    columns
        Width of its level, px.
    is_resampled
        Whether it was made of another level, by what it says.
    """

    is_level: bool
    series: str
    columns: int
    is_resampled: bool = False


def read_header(path: Path) -> DicomHeader | None:
    """The header of a file; None if that cannot be read as DICOM's. Raises an OSError if the file cannot be read."""
    found: dict[int, bytes] = {}
    try:
        with path.open("rb") as file:
            if file.read(132)[128:] != b"DICM":
                return None
            for tag, value in _elements(file):
                found[tag] = value
                if tag == _SOP_CLASS and _text(value) != _WHOLE_SLIDE:
                    return DicomHeader(is_level=False, series="", columns=0)
        _, _, kind, made, *_ = [*_text(found[_IMAGE_TYPE]).split("\\"), "", "", "", ""]
        columns = int.from_bytes(found[_COLUMNS], "little")
        return DicomHeader(kind == "VOLUME", _text(found[_SERIES]), columns, is_resampled=made == "RESAMPLED")
    except (LookupError, ValueError, struct.error):
        return None


def _text(value: bytes) -> str:
    return value.decode("ascii").strip(" \0")


def _elements(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The wanted elements from here on, those within sequences left out; what is malformed is a struct.error."""
    depth = 0
    for _ in range(_MOST):
        group, element = struct.unpack("<HH", file.read(4))
        tag = group << 16 | element
        if depth == 0 and tag > max(_WANTED):
            return
        kind = b"" if group == _ITEMS else file.read(2)
        if kind and not (kind.isalpha() and kind.isupper()):
            raise struct.error(f"no type of value: {kind!r}")
        if kind in _LONG:
            file.read(2)
        (length,) = (
            struct.unpack("<I", file.read(4)) if kind in _LONG or not kind else struct.unpack("<H", file.read(2))
        )
        if tag in _ENDS:
            depth -= 1
        elif length == _UNDEFINED:
            depth += 1
        elif depth == 0 and tag in _WANTED and length <= _LONGEST:
            value = file.read(length)
            if len(value) < length:
                raise struct.error("the file ends within a value")
            yield tag, value
        else:
            file.seek(length, 1)


def finest_levels(paths: Iterable[Path]) -> Iterator[Path]:
    """Of the files of a folder those that stand for a slide each: of every series the finest, and what cannot be read.

    Beside a file that cannot be read, series without a level that was scanned are left out: it is likely to be theirs,
    and the slide would be taken for another, of a coarser level.
    """
    levels: dict[str, list[tuple[int, Path, bool]]] = {}
    unread = False
    for path in paths:
        try:
            header = read_header(path)
        except OSError:
            header = None
        if header is None:
            unread = True
            yield path  # why it cannot be opened is told by the ledger
        elif header.is_level:
            levels.setdefault(header.series, []).append((-header.columns, path, header.is_resampled))
    for _, finest, is_resampled in map(min, levels.values()):
        if not (unread and is_resampled):
            yield finest
