"""Batch norm whose statistics are the batch's, or measured once.

While a network trains, nothing but its weights changes by computing with it: a pass may be repeated, or shared by
processes. What it normalises by when it is used is measured when the training has ended.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_EPSILON = 1e-5


class BatchNorm(nn.Module):
    """Ioffe and Szegedy 2015 for (N, C) and (N, C, H, W): by the batch in training, else by what was measured."""

    mean: Tensor
    variance: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each channel, then scale and shift it."""
        if self.training:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=_EPSILON)
        return F.batch_norm(x, self.mean, self.variance, self.weight, self.bias, eps=_EPSILON)


@torch.no_grad()
def settle(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Measure what each batch norm of a network sees over some batches of its inputs, and leave it in evaluation mode.

    In every batch the layers before normalise by that batch, as they did in training.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, BatchNorm)]
    if not layers:
        network.eval()
        return
    sums = {layer: layer.mean.new_zeros(3, len(layer.mean), dtype=torch.float64) for layer in layers}

    def look(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, BatchNorm)
        x = inputs[0].double().transpose(0, 1).flatten(1)
        sums[layer] += torch.stack([torch.full_like(x[:, 0], x.shape[1]), x.sum(dim=1), x.square().sum(dim=1)])

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    network.train()
    try:
        for inputs in batches:
            network(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
        network.eval()
    for layer, (count, total, squares) in sums.items():
        mean = total / count
        layer.mean.copy_(mean)
        layer.variance.copy_((squares / count - mean.square()).clamp(min=0))
