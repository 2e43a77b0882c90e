"""A compact U-Net (Ronneberger et al. 2015); fitted, its output at a pixel depends on a bounded neighbourhood only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hdgan.checks import check_number

LEVELS = 4
STRIDE = 2 ** (LEVELS - 1)
"""Heights and widths are multiples of this."""

REACH = 64
"""No pixel further away than this, in px along either axis, has a say in an output pixel; a multiple of STRIDE."""


def _convolutions(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        convolution = nn.Conv2d(channels, outputs, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Four levels, two 3 x 3 convolutions each; a level down has half the resolution and twice the channels.

    Batch normalisation is a fixed scale once the network is fitted, so an image and a window of it give the same
    result, and a blank window stays blank; group normalisation would take its statistics from what it is shown.

    Parameters
    ----------
    classes
        Number of classes K.
    width
        Channels at full resolution; 16 makes 0.5 million, 24 makes 1.1 million parameters.
    """

    def __init__(self, classes: int, *, width: int = 16) -> None:
        super().__init__()
        check_number("width", width, 1, 2**12)
        widths = [width * 2**level for level in range(LEVELS)]
        self.down = nn.ModuleList(_convolutions(a, b) for a, b in zip([3, *widths], widths, strict=False))
        self.up = nn.ModuleList(_convolutions(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.head = nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1], H and W multiples of 8 -> logits (N, K, H, W)."""
        skips: list[Tensor] = []
        for block in self.down:
            x = block(functional.max_pool2d(x, 2) if skips else x)
            skips.append(x)
        skips.pop()
        for block in self.up:
            x = block(torch.cat([functional.interpolate(x, scale_factor=2, mode="nearest"), skips.pop()], dim=1))
        logits: Tensor = self.head(x)
        return logits
