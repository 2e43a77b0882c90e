"""Fingerprints of what lives in memory, for the records of the stages that use it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def digest(arrays: Mapping[Any, Any]) -> str:
    """SHA-256 in hex of named arrays or tensors: their names, types, shapes and bytes, in the given order."""
    whole = hashlib.sha256()
    for name, value in arrays.items():
        held = value.detach().cpu() if hasattr(value, "detach") else value
        array = np.asarray(held)
        whole.update(f"{name} {array.dtype} {array.shape}\n".encode())
        for part in [np.ascontiguousarray(array).data] if held is value else _bytes_of(held):
            whole.update(part)
    return whole.hexdigest()


def _bytes_of(tensor: Any) -> Iterator[memoryview]:
    from training.mapped import bytes_of  # not where there are arrays alone, which need no torch

    return bytes_of(tensor)


def told_tiles(indices: Sequence[int] | npt.NDArray[np.int64]) -> str:
    """Which tiles a training is on, as its record and the generator's file tell it: their number and a fingerprint."""
    chosen = np.asarray(indices, np.int64)
    return f"{len(chosen)}, {digest({'indices': chosen})[:16]}"
