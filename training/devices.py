"""Which device to compute on."""

from __future__ import annotations

import torch

from tiling.errors import InputError

CHOICES = ("auto", "cpu", "cuda")


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is a GPU if one is there, else the CPU.

    On a GPU float32 is float32 from then on: convolutions do not round to TF32's ten bits, as cuDNN's would.
    """
    if name not in CHOICES:
        raise InputError(f"device must be one of {', '.join(CHOICES)}, not {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device cuda was asked for, but PyTorch sees no GPU; use --device cpu or auto")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda":
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
        torch.backends.cuda.matmul.fp32_precision = "ieee"
    return torch.device(name)
