"""Exponential moving averages of parameters."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_average(average: nn.Module, module: nn.Module, beta: float) -> None:
    """average <- lerp(module, average, beta) for parameters; buffers are copied."""
    for kept, current in zip(average.parameters(), module.parameters(), strict=True):
        kept.copy_(current.lerp(kept, beta))
    for copied, source in zip(average.buffers(), module.buffers(), strict=True):
        copied.copy_(source)
