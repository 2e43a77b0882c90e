"""Equalised layers: weights kept at unit variance, scaled when used (Karras et al. 2018, section 4.1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hdgan.stylegan2.activation import Activation, bias_act
from hdgan.stylegan2.ops import conv2d_down, conv2d_up, convolve, resampling_filter


class FullyConnected(nn.Module):
    """Equalised linear layer, (N, in) -> (N, out), with optional leaky ReLU.

    The weight is stored at unit variance over `lr_multiplier`; its gain is lr_multiplier / sqrt(in).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: Activation = "linear",
        lr_multiplier: float = 1.0,
        bias_start: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_start)))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        x = (x * self.weight_gain) @ self.weight.t()
        return bias_act(x, self.bias * self.bias_gain, activation=self.activation)


class Convolution(nn.Module):
    """Equalised convolution with bias, activation and clamp, optionally doubling or halving the resolution."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        bias: bool = True,
        activation: Activation = "linear",
        up: bool = False,
        down: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.up, self.down, self.clamp = up, down, clamp
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel**2)
        self.register_buffer("resample_filter", resampling_filter())

    def forward(self, x: Tensor, *, gain: float = 1.0) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W), or double or half of H and W."""
        # without a bias there is nothing between the weight and the gain
        weight_gain = self.weight_gain if self.bias is not None else self.weight_gain * gain
        if self.up:
            x = conv2d_up(x, self.weight, self.resample_filter, gain=weight_gain)
        elif self.down:
            x = conv2d_down(x, self.weight, self.resample_filter, gain=weight_gain)
        else:
            x = convolve(x, self.weight, gain=weight_gain, padding=self.weight.shape[-1] // 2)
        if self.bias is None:
            return x
        return bias_act(x, self.bias, activation=self.activation, gain=gain, clamp=self.clamp)
