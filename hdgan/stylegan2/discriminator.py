"""The StyleGAN2 discriminator (Karras et al. 2020a, section 4; conditional by projection, Miyato and Koyama 2018)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn

from hdgan.stylegan2.layers import Convolution, FullyConnected
from hdgan.stylegan2.layout import Architecture, Layout, check_sizes
from hdgan.stylegan2.mapping import LabelledMapping
from hdgan.stylegan2.ops import channels_last, computed_in, downsample2d, resampling_filter
from tiling.errors import InputError
from training.gradients import recomputed


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Everything that determines the discriminator's shape; the arguments of :class:`Discriminator`."""

    resolution: int
    c_dim: int = 0
    channel_base: int = 32768
    channel_max: int = 512
    architecture: Architecture = "resnet"
    conv_clamp: float | None = 256
    mbstd_group: int = 4
    mapping_layers: int = 8
    fp16_resolutions: int = 0

    def __post_init__(self) -> None:
        check_sizes(vars(self))


class DiscriminatorBlock(nn.Module):
    """Two convolutions, the second of which halves the resolution."""

    resample_filter: Tensor

    def __init__(self, config: DiscriminatorConfig, layout: Layout, resolution: int) -> None:
        super().__init__()
        self.architecture = config.architecture
        self.resolution = resolution
        self.dtype = torch.float32
        channels, following = layout.channels(resolution), layout.channels(resolution // 2)
        clamp = config.conv_clamp
        if resolution == layout.resolution or config.architecture == "skip":
            self.fromrgb = Convolution(3, channels, 1, activation="lrelu", clamp=clamp)
        self.conv0 = Convolution(channels, channels, 3, activation="lrelu", clamp=clamp)
        self.conv1 = Convolution(channels, following, 3, activation="lrelu", down=True, clamp=clamp)
        if config.architecture == "resnet":
            self.skip = Convolution(channels, following, 1, bias=False, down=True)
        self.register_buffer("resample_filter", resampling_filter())

    def forward(self, x: Tensor | None, image: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Features (N, C, H, W) or None, and the image (N, 3, H, W) where it is still needed; both halved."""
        if x is not None:
            x = x.to(computed_in(self.dtype, x.device))
        if image is not None:
            rgb = self.fromrgb(image.to(computed_in(self.dtype, image.device)))
            x = rgb if x is None else x + rgb
            image = downsample2d(image, self.resample_filter) if self.architecture == "skip" else None
        assert x is not None
        if self.architecture != "resnet":
            return self.conv1(self.conv0(x)), image
        residual = self.skip(x, gain=0.5**0.5)
        return residual + self.conv1(self.conv0(x), gain=0.5**0.5), image


class DiscriminatorEpilogue(nn.Module):
    """The 4 px end: minibatch standard deviation, one convolution, two fully connected layers."""

    resample_filter: Tensor

    def __init__(self, config: DiscriminatorConfig, layout: Layout, outputs: int) -> None:
        super().__init__()
        channels = layout.channels(4)
        self.mbstd_group = config.mbstd_group
        if config.architecture == "skip":
            self.fromrgb = Convolution(3, channels, 1, activation="lrelu", clamp=config.conv_clamp)
        statistics = 1 if config.mbstd_group > 0 else 0
        self.conv = Convolution(channels + statistics, channels, 3, activation="lrelu", clamp=config.conv_clamp)
        self.fc = FullyConnected(channels * 16, channels, activation="lrelu")
        self.out = FullyConnected(channels, outputs)

    def forward(self, x: Tensor, image: Tensor | None) -> Tensor:
        """(N, C, 4, 4) -> (N, outputs) float32."""
        x = x.float()
        if image is not None:
            x = x + self.fromrgb(image.float())
        if self.mbstd_group > 0:
            x = torch.cat([x, minibatch_deviation(x, self.mbstd_group)], dim=1)
        x = self.fc(self.conv(x).flatten(1))
        out: Tensor = self.out(x)
        return out


def minibatch_deviation(x: Tensor, group: int) -> Tensor:
    """(N, C, H, W) -> (N, 1, H, W): how much the images of a group differ, one number per group.

    Karras et al. 2018, section 3. The images n, n + N/group, n + 2N/group, ... form a group; one alone gives 1e-4.
    """
    n, channels, height, width = x.shape
    size = min(group, n)
    if n % size:
        raise InputError(f"a batch of {n} images cannot be split into groups of {size} for the minibatch deviation")
    grouped = x.reshape(size, n // size, channels, height, width)
    variance = (grouped - grouped.mean(dim=0)).square().mean(dim=0)
    deviation = (variance + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return deviation.repeat(size).reshape(n, 1, 1, 1).expand(n, 1, height, width)


class Discriminator(nn.Module):
    """Images (N, 3, R, R) and labels (N, c_dim) to logits (N, 1).

    Parameters
    ----------
    architecture
        "resnet" (residual blocks), "skip" (every block sees the image) or "orig".
    mbstd_group
        Images per group of the minibatch deviation, which is constant in groups of 1; 0 leaves it out.
    mapping_layers
        Layers of the label's mapping network, where c_dim > 0.
    """

    def __init__(
        self,
        *,
        resolution: int,
        c_dim: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        architecture: Architecture = "resnet",
        conv_clamp: float | None = 256,
        mbstd_group: int = 4,
        mapping_layers: int = 8,
        fp16_resolutions: int = 0,
    ) -> None:
        super().__init__()
        self.config = config = DiscriminatorConfig(
            resolution, c_dim, channel_base, channel_max, architecture, conv_clamp, mbstd_group, mapping_layers,
            fp16_resolutions,
        )  # fmt: skip
        self.layout = layout = Layout(resolution, channel_base, channel_max, architecture)
        self.recompute = False
        """Keep only what passes between blocks, and compute a block again for its gradients: less memory, more time."""
        self.block_names = [f"b{res}" for res in reversed(layout.resolutions) if res > 4]
        for name in self.block_names:
            self.add_module(name, DiscriminatorBlock(config, layout, int(name[1:])))
        label_width = layout.channels(4) if c_dim > 0 else 0
        if c_dim > 0:
            self.mapping = LabelledMapping(0, c_dim, label_width, mapping_layers)
        self.b4 = DiscriminatorEpilogue(config, layout, max(label_width, 1))
        self.set_low_precision(torch.float16, fp16_resolutions)

    def set_low_precision(self, dtype: torch.dtype, resolutions: int) -> None:
        """Compute so many of the highest resolutions, down to 8 px, in this type, and the others in float32."""
        for block in self.blocks():
            block.dtype = dtype if self.layout.low_precision(block.resolution, resolutions) else torch.float32

    def blocks(self) -> Iterator[DiscriminatorBlock]:
        """The blocks from the highest resolution down to 8 px."""
        for name in self.block_names:
            block = self.get_submodule(name)
            assert isinstance(block, DiscriminatorBlock)
            yield block

    @classmethod
    def from_config(cls, config: DiscriminatorConfig) -> Discriminator:
        """A freshly initialised discriminator of the given shape."""
        return cls(**asdict(config))

    def forward(self, images: Tensor, c: Tensor | None = None) -> Tensor:
        """(N, 3, R, R) in [-1, 1], (N, c_dim) -> (N, 1); positive means real."""
        expected = (3, self.config.resolution, self.config.resolution)
        if images.ndim != 4 or tuple(images.shape[1:]) != expected:
            raise InputError(f"images must be (N, {', '.join(map(str, expected))}), not {tuple(images.shape)}")
        x: Tensor | None = None
        image: Tensor | None = channels_last(images)
        for block in self.blocks():
            if self.recompute and torch.is_grad_enabled():
                x, image = recomputed(block, x, image)
            else:
                x, image = block(x, image)
        assert x is not None
        logits: Tensor = self.b4(x, image)
        if self.config.c_dim > 0:
            label = self.mapping.map(None, c)
            logits = (logits * label).sum(dim=1, keepdim=True) / math.sqrt(label.shape[1])
        return logits
