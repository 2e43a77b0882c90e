"""Tensors that stay in their file: what is touched of them is read, and dropped again when it is let go."""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Sequence
from typing import BinaryIO
from weakref import WeakValueDictionary

import torch
from torch import Tensor

_MAPPINGS: WeakValueDictionary[int, mmap.mmap] = WeakValueDictionary()  # by the address of the storage, which owns it
_AT_ONCE = 2**24  # bytes


def mapped_floats(file: BinaryIO, offset: int, shape: Sequence[int]) -> Tensor:
    """The float32 numbers of this shape that a file holds from byte `offset` on.

    A tensor like any other, but that memory is taken by no more of it than was touched. What is written to it is its
    own and never comes into the file. The file may be closed, renamed, replaced by another or removed. Where it is cut
    off or written over, what was not read yet is lost or another's: the kernel ends a process that touches what is not
    there any more (SIGBUS).

    Raises
    ------
    ValueError
        If the file ends before.
    """
    count = math.prod(shape)
    skipped = offset % mmap.ALLOCATIONGRANULARITY
    mapping = mmap.mmap(file.fileno(), skipped + 4 * count, access=mmap.ACCESS_COPY, offset=offset - skipped)
    with torch.inference_mode(False):  # else nothing would tell whether it was written to
        tensor = torch.frombuffer(mapping, dtype=torch.float32, count=count, offset=skipped).view(*shape)
    _MAPPINGS[tensor.untyped_storage().data_ptr()] = mapping
    return tensor


def let_go(tensor: Tensor) -> None:
    """Drop from memory what was read of a tensor that stays in its file, be it a view; it is read again when touched.

    Any other tensor is left alone, and so is one that was written to by PyTorch. What was written through NumPy, or
    through `.data`, is lost.
    """
    mapping = _MAPPINGS.get(tensor.untyped_storage().data_ptr())
    if mapping is not None and tensor._version == 0:
        mapping.madvise(mmap.MADV_DONTNEED)


def bytes_of(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of a tensor in order, some MiB at a time, each of which is let go when the next one is asked for."""
    content = tensor.detach().cpu().contiguous().view(-1).view(torch.uint8)
    for part in content.split(_AT_ONCE):
        yield part.numpy().data
        let_go(tensor)
