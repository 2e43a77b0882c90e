"""Whether a slide is still the one that was tiled, told without reading its pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import tifffile

from tiling.backends.base import DAMAGED, LostFileError, backend_error
from tiling.companions import companions_of
from tiling.errors import InputError
from tiling.ngff import DOCUMENTS

_END = 1 << 16  # bytes of either end of a file
_BLOCK = 1 << 12  # bytes of a sample
_SAMPLES = 16
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ASIDE = "labels"  # of an OME-Zarr: segmentations, which may be added while the picture stays as it is


def slide_fingerprint(path: Path) -> str:
    """Tell whether a slide is still the same, at the price of reading some hundred KiB of it: 32 hex digits.

    The pixels of an archive are too many to hash. This is SHA-256 of a file's size, both ends, and samples spread over
    it: of a TIFF all its directories and the beginning of 16 of its finest cells, of other files 16 blocks. Slides of
    several files, and OME-Zarr folders, add the names and sizes of these. When a file was written does not count.

    Raises
    ------
    InputError
        If the slide is not there or cannot be read.
    """
    try:
        digest = hashlib.sha256()
        for part in _of_folder(path) if path.is_dir() else _of_files(path):
            digest.update(b"%d:" % len(part) + part)
        return digest.hexdigest()[:32]
    except FileNotFoundError as error:
        raise InputError(f"no such slide: {path}") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error


def _of_files(path: Path) -> Iterator[bytes]:
    """What tells a slide's file, and those that belong to it, from others."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        yield b"%d" % size
        head = _bytes_at(file, 0, _END)
        yield head
        yield _bytes_at(file, max(0, size - _END), _END)
        samples = None
        if head.startswith(_TIFF):
            samples = _of_tiff(file, size)
        yield from _blocks(file, size) if samples is None else samples
    for companion in companions_of(path):
        with companion.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            yield f"{companion.name}:{size}".encode(errors="surrogateescape")
            yield _bytes_at(file, 0, _BLOCK)
            yield _bytes_at(file, max(0, size - _BLOCK), _BLOCK)


def _of_tiff(file: BinaryIO, size: int) -> list[bytes] | None:
    """The tags of all directories with their values, and the beginnings of cells; None if the TIFF is broken."""
    parts: list[bytes] = []
    file.seek(0)
    try:
        tiff = tifffile.TiffFile(file)
        pages = list(_pages(tiff.pages))
        for page in pages:
            for tag in page.tags:
                if tag.valueoffset + tag.valuebytecount > size:
                    return None
                parts.append(b"%d,%d,%d" % (tag.code, tag.dtype, tag.count))
                parts.append(_bytes_at(file, tag.valueoffset, tag.valuebytecount))
        finest = max(pages, key=lambda page: page.imagewidth * page.imagelength)
        cells = len(finest.dataoffsets)
        if cells < _SAMPLES:
            return [*parts, *_blocks(file, size)]
        for index in np.linspace(0, cells - 1, _SAMPLES, dtype=int):
            length = min(_BLOCK, finest.databytecounts[index])
            parts.append(_bytes_at(file, finest.dataoffsets[index], length))
    except DAMAGED as error:
        if isinstance(backend_error(error), LostFileError):
            raise
        return None
    return parts


def _pages(pages: Iterable[tifffile.TiffPage]) -> Iterator[tifffile.TiffPage]:
    """Pages and those below them, where pyramids of OME-TIFF keep their levels."""
    for page in pages:
        yield page
        if page.subifds:
            yield from _pages(page.pages)


def _of_folder(folder: Path) -> Iterator[bytes]:
    """What tells an OME-Zarr from others: documents whole, the names and sizes of chunks, and some chunks' ends."""
    chunks: list[tuple[str, int]] = []
    for place, below, names in os.walk(folder, onerror=_raised):
        below[:] = sorted(name for name in below if name != _ASIDE)
        for name in sorted(names):
            path = Path(place, name)
            relative = path.relative_to(folder).as_posix()
            if name in DOCUMENTS:
                yield relative.encode(errors="surrogateescape")
                yield path.read_bytes()
            else:
                chunks.append((relative, path.stat().st_size))
    for relative, size in chunks:
        yield f"{relative}:{size}".encode(errors="surrogateescape")
    for index in np.unique(np.linspace(0, len(chunks) - 1, _SAMPLES, dtype=int)) if chunks else ():
        relative, size = chunks[index]
        with (folder / relative).open("rb") as file:
            yield _bytes_at(file, 0, _BLOCK)
            yield _bytes_at(file, max(0, size - _BLOCK), _BLOCK)


def _blocks(file: BinaryIO, size: int) -> list[bytes]:
    """Samples spread evenly over a file."""
    offsets = np.linspace(0, max(0, size - _BLOCK), _SAMPLES, dtype=np.int64)
    return [_bytes_at(file, int(offset), _BLOCK) for offset in offsets]


def _bytes_at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _raised(error: OSError) -> None:
    raise error
