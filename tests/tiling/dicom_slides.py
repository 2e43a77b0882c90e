"""Whole-slide images in DICOM as the tests make them: a file of JPEG frames for each level, explicit VR."""

from __future__ import annotations

import struct
from pathlib import Path

import imagecodecs
import numpy as np

FRAME = 64
WHOLE_SLIDE = "1.2.840.10008.5.1.4.1.1.77.1.6"
CT = "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT_JPEG = "1.2.840.10008.1.2.4.50"


def element(tag: int, kind: str, value: str | int | bytes, *, length: int | None = None) -> bytes:
    """An element of explicit VR; a length of -1 is an undefined one."""
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, int):
        value = struct.pack({"US": "<H", "UL": "<I"}[kind], value)
    value += (b"\0" if kind in ("UI", "OB") else b" ") * (len(value) % 2)
    length = len(value) if length is None else 0xFFFFFFFF
    wide = kind in ("OB", "SQ", "UN")
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, kind.encode())
    return head + (struct.pack("<HI", 0, length) if wide else struct.pack("<H", length)) + value


def item(value: bytes, *, undefined: bool = False) -> bytes:
    end = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) if undefined else b""
    return struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF if undefined else len(value)) + value + end


END_OF_SEQUENCE = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)


def header(
    *, series: str, kind: str, columns: int, rows: int, uid: str, sop_class: str = WHOLE_SLIDE, made: str = "NONE"
) -> bytes:
    """All up to the size of the level, with sequences of both kinds of length before that."""
    meta = element(0x00020001, "OB", b"\0\1") + element(0x00020002, "UI", sop_class) + element(0x00020003, "UI", uid)
    meta += element(0x00020010, "UI", EXPLICIT_JPEG) + element(0x00020012, "UI", "1.2.3")
    inner = element(0x00400551, "LO", "S1") + element(0x0020000E, "UI", "9.9.9")
    data = [
        element(0x00080008, "CS", f"ORIGINAL\\PRIMARY\\{kind}\\{made}"),
        element(0x00080016, "UI", sop_class),
        element(0x00080018, "UI", uid),
        element(0x00081115, "SQ", item(inner)),
        element(0x0020000D, "UI", "1.2.3.1"),
        element(0x0020000E, "UI", series),
        element(0x00209311, "CS", "TILED_FULL"),
        element(0x00280002, "US", 3),
        element(0x00280004, "CS", "YBR_FULL_422"),
        element(0x00280006, "US", 0),
        element(0x00280008, "IS", str(-(-columns // FRAME) * -(-rows // FRAME))),
        element(0x00280010, "US", FRAME),
        element(0x00280011, "US", FRAME),
        element(0x00280100, "US", 8),
        element(0x00280101, "US", 8),
        element(0x00280102, "US", 7),
        element(0x00280103, "US", 0),
        element(0x00400560, "SQ", item(inner, undefined=True) + END_OF_SEQUENCE, length=-1),
        element(0x00480006, "UL", columns),
        element(0x00480007, "UL", rows),
    ]
    return bytes(128) + b"DICM" + element(0x00020000, "UL", len(meta)) + meta + b"".join(data)


def dicom_level(
    path: Path,
    pixels: np.ndarray,
    *,
    series: str = "1.2.3.4",
    kind: str = "VOLUME",
    mpp: float = 0.5,
    made: str = "NONE",
) -> Path:
    """Write a file: the level of a slide, or its label."""
    rows, columns = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -rows % FRAME), (0, -columns % FRAME), (0, 0)))
    frames = [
        imagecodecs.jpeg8_encode(np.ascontiguousarray(padded[y : y + FRAME, x : x + FRAME]), level=90)
        for y in range(0, rows, FRAME)
        for x in range(0, columns, FRAME)
    ]
    frames = [frame + b"\0" * (len(frame) % 2) for frame in frames]
    offsets = np.cumsum([0, *(8 + len(frame) for frame in frames[:-1])]).astype("<u4").tobytes()
    spacing = element(0x00280030, "DS", f"{mpp / 1000}\\{mpp / 1000}")
    shared = element(0x52009229, "SQ", item(element(0x00289110, "SQ", item(spacing))))
    stream = item(offsets) + b"".join(item(frame) for frame in frames) + END_OF_SEQUENCE
    uid = f"{series}.{columns}.{len(kind)}"
    head = header(series=series, kind=kind, columns=columns, rows=rows, uid=uid, made=made)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(head + shared + element(0x7FE00010, "OB", stream, length=-1))
    return path
