"""Resolutions and widths of the networks, and the checks on what a caller asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tiling.errors import InputError

Architecture = Literal["skip", "resnet", "orig"]
ARCHITECTURES: tuple[Architecture, ...] = ("skip", "resnet", "orig")


@dataclass(frozen=True)
class Layout:
    """Blocks of a network: channels(res) = min(channel_base // res, channel_max), for res = 4, 8, ... resolution."""

    resolution: int
    channel_base: int
    channel_max: int
    architecture: Architecture

    def __post_init__(self) -> None:
        if self.resolution < 8 or self.resolution & (self.resolution - 1):
            raise InputError(f"resolution must be a power of two of at least 8, not {self.resolution}")
        if self.channel_base < self.resolution:
            raise InputError(
                f"channel_base {self.channel_base} leaves no channel at {self.resolution} px; "
                f"use at least {self.resolution}"
            )
        if self.channel_max < 1:
            raise InputError(f"channel_max must be at least 1, not {self.channel_max}")
        if self.architecture not in ARCHITECTURES:
            raise InputError(f"architecture must be one of {', '.join(ARCHITECTURES)}, not {self.architecture!r}")

    @property
    def resolutions(self) -> list[int]:
        """4, 8, ... up to the image's resolution."""
        return [2**i for i in range(2, self.resolution.bit_length())]

    def channels(self, resolution: int) -> int:
        """Feature channels of a block."""
        return min(self.channel_base // resolution, self.channel_max)

    def feature_channels(self, blocks: int) -> dict[str, int]:
        """{layer: channels} of the convolutions of the last `blocks` blocks, lowest resolution first."""
        return {
            f"b{resolution}.{convolution}": self.channels(resolution)
            for resolution in self.resolutions[-blocks:]
            for convolution in ("conv0", "conv1")
            if resolution > 4 or convolution == "conv1"  # the first block has one
        }

    def low_precision(self, resolution: int, top: int) -> bool:
        """Whether a block is among the `top` highest resolutions, and at least 8 px, that run in half precision."""
        return top > 0 and resolution >= max(2 * self.resolution >> top, 8)
