"""Which device to compute on, and what it is told for that."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from tiling.errors import InputError

CHOICES = ("auto", "cpu", "cuda")
_MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h
_LARGE = 2**23  # bytes


def choose_device(wanted: str | torch.device = "auto") -> torch.device:
    """The device of that name, or the one given; "auto" is a GPU if one is there, else the CPU.

    On a GPU float32 is float32 from then on: convolutions do not round to TF32's ten bits, as cuDNN's would.
    """
    device = wanted if isinstance(wanted, torch.device) else _named(wanted)
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
    return device


def _named(name: str) -> torch.device:
    if name not in CHOICES:
        raise InputError(f"device must be one of {', '.join(CHOICES)}, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda was asked for, but PyTorch sees no GPU; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in hardware: AMX on CPUs, tensor cores on GPUs."""
    if device.type == "cpu":
        return bool(torch.cpu.get_capabilities().get("amx_bf16", False))
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def fast_precision(device: torch.device) -> torch.dtype:
    """What convolutions are fast in: bfloat16 on GPUs that have it, float32 elsewhere."""
    return torch.bfloat16 if device.type == "cuda" and has_bfloat16(device) else torch.float32


@contextmanager
def of_many_shapes() -> Iterator[None]:
    """Inside, a GPU does not try every way of a convolution that it meets for the first time.

    For convolutions whose shapes are new again and again, the trials that :func:`suit_convolutions` asks for would take
    more than they save.
    """
    tried = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = tried


def suit_convolutions(device: torch.device) -> None:
    """Set this process up for a training of large convolutions, the same again and again.

    On a GPU the fastest way of each is found by trying. On a CPU glibc, where it is there, gives the memory of large
    tensors back as soon as they are freed. Otherwise it keeps blocks of up to 32 MB for later and, between tensors of
    many sizes, cannot use half of them: a training takes a quarter more memory. Large pages, where PyTorch may ask for
    them, make up for most of the time.
    """
    if device.type != "cpu":
        torch.backends.cudnn.benchmark = True
        return
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGE)
