"""Fingerprints of what lives in memory, for the records of the stages that use it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from training.mapped import bytes_of


def digest(arrays: Mapping[Any, Any]) -> str:
    """SHA-256 in hex of named arrays or tensors: their names, types, shapes and bytes, in the given order."""
    whole = hashlib.sha256()
    for name, value in arrays.items():
        tensor = value.detach().cpu() if hasattr(value, "detach") else None
        array = np.asarray(value if tensor is None else tensor)
        whole.update(f"{name} {array.dtype} {array.shape}\n".encode())
        for part in [np.ascontiguousarray(array).data] if tensor is None else bytes_of(tensor):
            whole.update(part)
    return whole.hexdigest()


def told_tiles(indices: Sequence[int] | npt.NDArray[np.int64]) -> str:
    """Which tiles a training is on, as its record and the generator's file tell it: their number and a fingerprint."""
    chosen = np.asarray(indices, np.int64)
    return f"{len(chosen)}, {digest({'indices': chosen})[:16]}"
