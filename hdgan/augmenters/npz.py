"""Arrays of `.npz` files that come from anywhere: what an array says of itself is checked before it is read."""

from __future__ import annotations

import math
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy

from tiling.errors import InputError
from tiling.wording import first_few, one_line

_HEADERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
_NUMBERS = "biuf"  # kinds of types
_MOST_DEFLATED = 1032  # bytes of one that is compressed
_NAMED = 5
_UNREADABLE = (  # what zipfile, zlib and numpy raise for files that are none, or damaged
    OSError, EOFError, ValueError, TypeError, LookupError, SyntaxError, RuntimeError, MemoryError, ArithmeticError,
    zipfile.BadZipFile, zlib.error, tokenize.TokenError,
)  # fmt: skip


def read_npz(path: Path, wanted: Sequence[str], *, needed: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of numbers by name, of those wanted all that are there.

    Raises
    ------
    InputError
        For a file that cannot be read or lacks what is needed, and an array of other than numbers or of another size
        than the file has bytes for: nothing is sized by what the file merely says.
    """
    try:
        with zipfile.ZipFile(path) as held:
            there = {name.removesuffix(".npy") for name in held.namelist() if name.endswith(".npy")}
            if not there.issuperset(needed):
                has = first_few(sorted(there), named=_NAMED) or "no array"
                raise InputError(f"{path} has no {' and '.join(needed)}; it has: {has}")
            return {name: _array(held, name, path) for name in wanted if name in there}
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(
            f"{path} cannot be read as an .npz file with {' and '.join(needed)} ({one_line(error)}): bring a whole one"
        ) from error


def _array(held: zipfile.ZipFile, name: str, path: Path) -> npt.NDArray[Any]:
    entry = held.getinfo(f"{name}.npy")
    with held.open(entry) as stream:
        read_header = _HEADERS.get(npy.read_magic(stream))
        if read_header is None:
            raise InputError(f"{name} of {path} is of a version of .npy that is not read: save it by numpy.savez")
        shape, _, dtype = read_header(stream)
        if dtype.kind not in _NUMBERS:
            raise InputError(f"{name} of {path} holds {dtype}: images are numbers, and so are the labels of classes")
        said = stream.tell() + math.prod(shape) * dtype.itemsize
    stored = min(entry.compress_size, path.stat().st_size)
    possible = stored * (1 if entry.compress_type == zipfile.ZIP_STORED else _MOST_DEFLATED)
    if min(shape, default=0) < 0 or said != entry.file_size or said > possible:
        raise InputError(
            f"{name} of {path} says that it is {shape} {dtype}, and the file does not hold as much: bring a whole one"
        )
    with held.open(entry) as stream:
        return np.asarray(npy.read_array(stream, allow_pickle=False))
