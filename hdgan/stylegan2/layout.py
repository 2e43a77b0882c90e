"""Resolutions and widths of the networks, and the checks on what a caller asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from hdgan.checks import check_number
from tiling.errors import InputError

Architecture = Literal["skip", "resnet", "orig"]
ARCHITECTURES: tuple[Architecture, ...] = ("skip", "resnet", "orig")

# Far beyond what anybody trains: what a damaged or hostile file asks for is refused before it is built.
_WIDEST = 2**16
_RANGES = {
    "resolution": (8, 2**16),
    "z_dim": (1, _WIDEST),
    "w_dim": (1, _WIDEST),
    "c_dim": (0, _WIDEST),
    "channel_base": (1, 2**30),
    "channel_max": (1, _WIDEST),
    "mbstd_group": (0, 1024),
    "mapping_layers": (0, 64),
    "fp16_resolutions": (0, 16),
}


def check_sizes(config: Mapping[str, object]) -> None:
    """An :class:`InputError` unless the numbers in the configuration of a network are within reason."""
    for name, (least, most) in _RANGES.items():
        if name in config:
            check_number(name, config[name], least, most)
    if (clamp := config["conv_clamp"]) is not None:
        check_number("conv_clamp", clamp, 0, 1e6, whole=False)


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
