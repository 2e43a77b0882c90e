"""Whether a compressed cell is all there.

Decoders fill what is missing of a picture with grey, or with whatever its remains amount to, and say nothing. What a
truncated copy, a hole in a file or an overwritten sector leave behind is told here by the structure of the code
(ITU-T T.81, annex B; ITU-T T.800, annex A), at a hundredth of the price of decoding it.
"""

from __future__ import annotations

import re

_END = b"\xff\xd9"  # both of a JPEG and of a JPEG 2000
_START_OF_PART, _START_OF_DATA = b"\xff\x90", b"\xff\x93"
_PART_HEADER = 12
# Coded data has no byte pair above FF8F, save the marks of packets.
_NO_CODE = re.compile(rb"\xff[\x90\x93-\xff]")


def why_incomplete_jpeg(data: bytes, *, pixels: int) -> str | None:
    """What tells that a JPEG is not all there; None if nothing does. `pixels` is how many it has."""
    if data.rfind(_END) < 0:
        return "its data end too soon"
    if _has_hole(data, pixels):
        return "part of its data is zeros"
    return None


def why_incomplete_jpeg2000(data: bytes, *, pixels: int) -> str | None:
    """What tells that a JPEG 2000 is not all there; None if nothing does. `pixels` is how many it has."""
    if _has_hole(data, pixels):
        return "part of its data is zeros"
    part = data.find(_START_OF_PART + b"\0\x0a")
    while data[part : part + 2] == _START_OF_PART:
        length = int.from_bytes(data[part + 6 : part + 10], "big") or data.rfind(_END) - part  # 0: up to the end
        segment = part + _PART_HEADER
        while data[segment : segment + 1] == b"\xff" and data[segment : segment + 2] != _START_OF_DATA:
            segment += 2 + int.from_bytes(data[segment + 2 : segment + 4], "big")
        if length < _PART_HEADER or data[segment : segment + 2] != _START_OF_DATA:
            return "its parts are not where they should be"
        if _NO_CODE.search(data, segment + 2, part + length):
            return "part of its data is no JPEG 2000"
        part += length
    return None if part >= 0 and data[part : part + 2] == _END else "its data end too soon"


def without_end(data: bytes) -> bytes:
    """A JPEG that goes on, with code of no meaning, where it should end.

    A decoder that has all its pixels by then never reads it.
    """
    end = data.rfind(_END)
    return data[:end] + b"\x55" * 256 + data[end:]


def _has_hole(data: bytes, pixels: int) -> bool:
    """Whether there are more zeros in a row than the shortest code for blank pixels has, 2 bits per block of 64."""
    return bytes(64 + pixels * 3 * 2 // (64 * 8)) in data
