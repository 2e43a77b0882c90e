"""Fingerprints of what lives in memory, for the records of the stages that use it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt


def digest(arrays: Mapping[Any, Any]) -> str:
    """SHA-256 in hex of named arrays or tensors: their names, types, shapes and bytes, in the given order."""
    whole = hashlib.sha256()
    for name, value in arrays.items():
        array = np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
        whole.update(f"{name} {array.dtype} {array.shape}\n".encode())
        whole.update(np.ascontiguousarray(array).data)
    return whole.hexdigest()


def told_tiles(indices: Sequence[int] | npt.NDArray[np.int64]) -> str:
    """Which tiles a training is on, as its record and the generator's file tell it: their number and a fingerprint."""
    chosen = np.asarray(indices, np.int64)
    return f"{len(chosen)}, {digest({'indices': chosen})[:16]}"
