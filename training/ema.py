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


def warmed(beta: float, step: int) -> float:
    """How much of an average to keep at a step: little in the first ones, whose weights are soon forgotten, then beta.

    Examples
    --------
    >>> warmed(0.99, 0), warmed(0.99, 90), warmed(0.99, 10_000)
    (0.1, 0.91, 0.99)
    """
    return min(beta, (1 + step) / (10 + step))
