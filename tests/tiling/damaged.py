"""Slides of JPEG and JPEG 2000 cells whose bytes the tests spoil."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile

CELL = 128
RANDOM = np.random.default_rng(0).bytes(1 << 20)


def jpeg_slide(path: Path, levels: list[np.ndarray], **options) -> Path:
    """A tiled TIFF of JPEG cells, 4:2:0."""
    with tifffile.TiffWriter(path) as file:
        for index, pixels in enumerate(levels):
            file.write(
                pixels,
                tile=(CELL, CELL),
                photometric="ycbcr",
                compression="jpeg",
                compressionargs={"level": 90},
                subfiletype=1 if index else 0,
                metadata=None,
                **options,
            )
    return path


def jpeg2000_slide(path: Path, pixels: np.ndarray, **options) -> Path:
    """A slide of JPEG 2000 cells as Aperio writes them; its size must be a multiple of the cells'."""
    height, width = pixels.shape[:2]
    cells = (
        imagecodecs.jpeg2k_encode(np.ascontiguousarray(pixels[y : y + CELL, x : x + CELL]), level=45, codecformat="J2K")
        for y in range(0, height, CELL)
        for x in range(0, width, CELL)
    )
    tifffile.imwrite(
        path,
        cells,
        shape=pixels.shape,
        dtype=np.uint8,
        tile=(CELL, CELL),
        photometric="rgb",
        compression=33005,
        description=f"Aperio Image Library\r\n{width}x{height} ({CELL}x{CELL}) J2K/KDU Q=70",
        metadata=None,
        **options,
    )
    return path


def spoil(path: Path, row: int, column: int, change: Callable[[bytes], bytes], *, level: int = 0) -> None:
    """Put other bytes in the place of a cell's; its length in the file's directory becomes theirs."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[level]
        index = row * -(-page.imagewidth // page.tilewidth) + column
        sizes, offset = list(page.databytecounts), page.dataoffsets[index]
    with path.open("r+b") as file:
        file.seek(offset)
        content = file.read(sizes[index])
        changed = change(content)
        assert len(changed) <= len(content)
        file.seek(offset)
        file.write(changed)
    if len(changed) < len(content):
        sizes[index] = len(changed)
        with tifffile.TiffFile(path, mode="r+") as file:
            file.pages[level].tags["TileByteCounts"].overwrite(sizes)


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "all zeros": lambda cell: bytes(len(cell)),
    "zeros at the head": lambda cell: bytes(300) + cell[300:],
    "zeros at the tail": lambda cell: cell[: len(cell) // 2] + bytes(len(cell) - len(cell) // 2),
    "a hole": lambda cell: cell[: len(cell) // 2] + bytes(512) + cell[len(cell) // 2 + 512 :],
    "cut in half": lambda cell: cell[: len(cell) // 2],
    "cut by two bytes": lambda cell: cell[:-2],
    "cut to one byte": lambda cell: cell[:1],
    "random bytes": lambda cell: RANDOM[: len(cell)],
    "random at the tail": lambda cell: cell[: len(cell) // 2] + RANDOM[: len(cell) - len(cell) // 2],
    "random up to the end mark": lambda cell: (
        cell[: len(cell) // 2] + RANDOM[: len(cell) - len(cell) // 2 - 2] + cell[-2:]
    ),
    "half a picture with its end mark": lambda cell: cell[: len(cell) // 2] + cell[-2:],
}
