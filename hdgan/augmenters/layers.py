"""Stages of strided convolutions, from 4 px up to any size and back (Radford et al. 2016, "DCGAN")."""

from __future__ import annotations

from torch import Tensor, nn

from hdgan.augmenters.normalisation import BatchNorm

_MOST_TIMES = 8  # as many channels as at full size, at most
SLOPE = 0.2


def edges(size: int) -> list[int]:
    """Edges of the maps from 4 px or less up to `size`, each half the next, rounded up.

    Examples
    --------
    >>> edges(28), edges(64)
    ([4, 7, 14, 28], [4, 8, 16, 32, 64])
    """
    found = [size]
    while found[-1] > 4:
        found.append((found[-1] + 1) // 2)
    return found[::-1]


def widths(size: int, base: int) -> list[int]:
    """Channels of the maps of :func:`edges` but the last: doubled from `base` at half of the size, up to 8 times."""
    return [base * min(2**stage, _MOST_TIMES) for stage in range(len(edges(size)) - 1)][::-1]


class Up(nn.Module):
    """z (n, inputs) to images (n, channels, size, size) in [-1, 1]: transposed convolutions, BN, ReLU; tanh."""

    def __init__(self, inputs: int, size: int, channels: int, base: int) -> None:
        super().__init__()
        sizes, wide = edges(size), widths(size, base)
        layers: list[nn.Module] = [nn.Unflatten(1, (inputs, 1, 1))]
        layers += [nn.ConvTranspose2d(inputs, wide[0], sizes[0], bias=False), BatchNorm(wide[0]), nn.ReLU()]
        outputs = [*wide[1:], channels]
        for edge, before, after in zip(sizes[1:], wide, outputs, strict=True):
            last = edge == size
            layers.append(nn.ConvTranspose2d(before, after, 4 - edge % 2, 2, 1, bias=last))
            layers += [nn.Tanh()] if last else [BatchNorm(after), nn.ReLU()]
        self.layers = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        """Images of latents."""
        images: Tensor = self.layers(z)
        return images


class Down(nn.Module):
    """Images (n, channels, size, size) to maps (n, C, 4, 4): strided convolutions, BN but for the first, leaky ReLU."""

    def __init__(self, size: int, channels: int, base: int) -> None:
        super().__init__()
        sizes, wide = edges(size)[::-1], widths(size, base)[::-1]
        stages: list[nn.Module] = []
        for edge, before, after in zip(sizes, [channels, *wide], wide, strict=False):
            first = not stages
            convolution = nn.Conv2d(before, after, 4 - edge % 2, 2, 1, bias=first)
            stages.append(nn.Sequential(convolution, *([] if first else [BatchNorm(after)]), nn.LeakyReLU(SLOPE)))
        self.stages = nn.Sequential(*stages)
        self.edge, self.outputs = sizes[-1], wide[-1]

    def forward(self, images: Tensor) -> Tensor:
        """Maps of images."""
        maps: Tensor = self.stages(images)
        return maps


def initialise(network: nn.Module, deviation: float = 0.02) -> None:
    """Weights N(0, .02), those of batch norm N(1, .02), no biases (Radford et al. 2016, section 4)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(layer.weight, 0, deviation)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, BatchNorm):
            nn.init.normal_(layer.weight, 1, deviation)
