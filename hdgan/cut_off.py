"""Whether the end of an image's file is missing, told without decoding it."""

from __future__ import annotations

import os
from pathlib import Path

from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

_PNG_END, _JPEG_END = b"IEND\xaeB`\x82", b"\xff\xd9"
_PNG_HEADER_BYTES = 8
_JPEG_SCAN = 0xDA
_TIFF_PARTS = ((273, 279), (324, 325))  # where strips and tiles begin, and how long they are


def is_cut_off(picture: ImageFile, path: Path) -> bool:
    """Whether a PNG, JPEG or TIFF file ends before its image does.

    Its last bytes are read; all of them if these are not the image's end: cameras may write something after that.
    """
    if isinstance(picture, TiffImageFile):
        size, tags = path.stat().st_size, picture.tag_v2
        parts = [
            part for where, long in _TIFF_PARTS for part in zip(tags.get(where, ()), tags.get(long, ()), strict=False)
        ]
        return any(start + length > size for start, length in parts)
    if isinstance(picture, PngImageFile | JpegImageFile):
        end = _PNG_END if isinstance(picture, PngImageFile) else _JPEG_END
        with path.open("rb") as file:
            file.seek(-len(end), os.SEEK_END)
            if file.read() == end:
                return False
        content = path.read_bytes()
        start = _PNG_HEADER_BYTES if isinstance(picture, PngImageFile) else _scan_start(content)
        return content.find(end, start) < 0
    return False


def _scan_start(content: bytes) -> int:
    """Where the pixels of a JPEG begin: what comes before them may hold a thumbnail, with an end of its own."""
    at = 2
    while at + 4 <= len(content) and content[at + 1] != _JPEG_SCAN:
        fill = content[at + 1] == 0xFF
        at += 1 if fill else 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return at
