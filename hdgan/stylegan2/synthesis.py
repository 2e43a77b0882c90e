"""The synthesis network: w to images and features (Karras et al. 2020a, section 2 and figure 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from hdgan.stylegan2.activation import bias_act
from hdgan.stylegan2.layers import Convolution, FullyConnected
from hdgan.stylegan2.layout import Layout
from hdgan.stylegan2.ops import channels_last, computed_in, modulated_conv2d, resampling_filter, upsample2d
from tiling.errors import InputError
from training.gradients import recomputed

NoiseMode = Literal["const", "random", "none"]
Features = dict[str, Tensor]
Draws = torch.Generator | Sequence[torch.Generator] | None


class SynthesisLayer(nn.Module):
    """Modulated 3x3 convolution, noise, bias, leaky ReLU: (N, I, H, W), (N, w_dim) -> (N, O, H or 2H, W or 2W)."""

    noise_const: Tensor
    resample_filter: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, *, w_dim: int, resolution: int, up: bool, clamp: float | None
    ) -> None:
        super().__init__()
        self.up, self.clamp, self.resolution = up, clamp, resolution
        self.affine = FullyConnected(w_dim, in_channels, bias_start=1)
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", torch.randn(resolution, resolution))
        self.register_buffer("resample_filter", resampling_filter())

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None, *, gain: float = 1.0) -> Tensor:
        """One layer; `noise` is (N or 1, 1, R, R), or None."""
        x, coefficients = modulated_conv2d(
            x, self.weight, self.affine(w), up=self.up, resample_filter=self.resample_filter
        )
        if noise is not None:
            noise = noise * self.noise_strength
        return bias_act(x, self.bias, activation="lrelu", scale=coefficients, noise=noise, gain=gain, clamp=self.clamp)

    def noise(self, count: int, mode: NoiseMode, draws: Draws) -> Tensor | None:
        """The noise maps of `count` samples, before their strength: stored, drawn, or None."""
        if mode == "none":
            return None
        if mode == "const":
            return self.noise_const[None, None]
        device, shape = self.noise_const.device, (1, *self.noise_const.shape)
        if draws is None:
            return torch.randn((count, *shape), device=device)
        if isinstance(draws, torch.Generator):
            return torch.randn((count, *shape), generator=draws, device=draws.device).to(device)
        each = [torch.randn(shape, generator=one, device=one.device).to(device) for one in draws]
        return torch.stack(each)


class ToRGB(nn.Module):
    """Modulated 1x1 convolution to 3 channels, without demodulation."""

    def __init__(self, in_channels: int, *, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.clamp = clamp
        self.affine = FullyConnected(w_dim, in_channels, bias_start=1)
        self.weight = nn.Parameter(torch.randn(3, in_channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(3))
        self.weight_gain = in_channels**-0.5

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """(N, I, H, W), (N, w_dim) -> (N, 3, H, W)."""
        x, _ = modulated_conv2d(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        return bias_act(x, self.bias, activation="linear", clamp=self.clamp)


class SynthesisBlock(nn.Module):
    """All that happens at one resolution: two layers (b4 has one), and the image where the architecture makes one."""

    resample_filter: Tensor

    def __init__(self, layout: Layout, resolution: int, *, w_dim: int, clamp: float | None) -> None:
        super().__init__()
        self.resolution, self.architecture = resolution, layout.architecture
        channels = layout.channels(resolution)
        self.dtype = torch.float32
        self.first = resolution == 4
        if self.first:
            self.const = nn.Parameter(torch.randn(channels, 4, 4))
        else:
            previous = layout.channels(resolution // 2)
            self.conv0 = SynthesisLayer(previous, channels, w_dim=w_dim, resolution=resolution, up=True, clamp=clamp)
            if layout.architecture == "resnet":
                self.skip = Convolution(previous, channels, 1, bias=False, up=True)
        self.conv1 = SynthesisLayer(channels, channels, w_dim=w_dim, resolution=resolution, up=False, clamp=clamp)
        if resolution == layout.resolution or layout.architecture == "skip":
            self.torgb = ToRGB(channels, w_dim=w_dim, clamp=clamp)
        self.register_buffer("resample_filter", resampling_filter())

    @property
    def layers(self) -> int:
        """Synthesis layers, each of which takes one w."""
        return 1 if self.first else 2

    def forward(
        self, x: Tensor | None, image: Tensor | None, ws: Tensor, *noises: Tensor | None, paints: bool = True
    ) -> tuple[Tensor | None, ...]:
        """Run on ws (N, layers + 1, w_dim); give features, the float32 image so far, and each layer's output.

        One that does not paint adds nothing to the image.
        """
        if self.first:
            x = channels_last(self.const.to(computed_in(self.dtype, self.const.device)).expand(len(ws), -1, -1, -1))
            x = self.conv1(x, ws[:, 0], noises[0])
            outputs = [x]
        else:
            assert x is not None
            x = x.to(computed_in(self.dtype, x.device))
            residual = self.skip(x, gain=0.5**0.5) if self.architecture == "resnet" else None
            first = self.conv0(x, ws[:, 0], noises[0])
            x = self.conv1(first, ws[:, 1], noises[1], gain=1.0 if residual is None else 0.5**0.5)
            outputs = [first, x]
            if residual is not None:
                x = residual + x
        if image is not None:
            image = upsample2d(image, self.resample_filter)
        if paints and hasattr(self, "torgb"):
            rgb = self.torgb(x, ws[:, self.layers]).float()
            image = rgb if image is None else image + rgb
        return x, image, *outputs

    def convolutions(self) -> list[SynthesisLayer]:
        """The synthesis layers, each of which takes one noise."""
        return [self.conv1] if self.first else [self.conv0, self.conv1]


def named(block: str, outputs: Sequence[Tensor | None]) -> Features:
    """The outputs of a block's layers by name; the first block has conv1 alone."""
    layers = ("conv0", "conv1")[-len(outputs) :]
    return {f"{block}.{layer}": output for layer, output in zip(layers, outputs, strict=True) if output is not None}


class SynthesisNetwork(nn.Module):
    """w (N, num_ws, w_dim) to images (N, 3, R, R) float32 in about [-1, 1].

    Attributes
    ----------
    recompute
        Keep only what passes between blocks, and compute a block again for its gradients: less memory, more time.
    """

    def __init__(self, layout: Layout, *, w_dim: int, clamp: float | None, low_precision: int) -> None:
        super().__init__()
        self.layout, self.w_dim = layout, w_dim
        self.recompute = False
        for resolution in layout.resolutions:
            block = SynthesisBlock(layout, resolution, w_dim=w_dim, clamp=clamp)
            self.add_module(f"b{resolution}", block)
        self.num_ws = sum(block.layers for _, block in self.blocks()) + 1
        self.set_low_precision(torch.float16, low_precision)

    def set_low_precision(self, dtype: torch.dtype, resolutions: int) -> None:
        """Compute so many of the highest resolutions, down to 8 px, in this type, and the others in float32."""
        for _, block in self.blocks():
            block.dtype = dtype if self.layout.low_precision(block.resolution, resolutions) else torch.float32

    def blocks(self) -> Iterator[tuple[str, SynthesisBlock]]:
        """(name, block), from 4 px up."""
        for resolution in self.layout.resolutions:
            block = self.get_submodule(f"b{resolution}")
            assert isinstance(block, SynthesisBlock)
            yield f"b{resolution}", block

    def forward(self, w: Tensor, *, noise: NoiseMode = "random", generator: Draws = None) -> Tensor:
        """Images of latents; `noise` is "const" (the stored maps), "random" or "none".

        `generator` draws it: one for all samples, or one for each, whose noise does then not depend on the others.
        """
        return self.run(w, blocks=0, noise=noise, generator=generator)[0]

    def run(self, w: Tensor, *, blocks: int, noise: NoiseMode, generator: Draws = None) -> tuple[Tensor, Features]:
        """Images, and the outputs of both layers of the last `blocks` blocks, lowest resolution first."""
        self.check(w, blocks, noise, generator)
        x: Tensor | None = None
        image: Tensor | None = None
        features: Features = {}
        kept_from = len(self.layout.resolutions) - blocks
        for i, (name, block, ws) in enumerate(self.steps(w)):
            inputs = (x, image, ws, *(layer.noise(len(w), noise, generator) for layer in block.convolutions()))
            if self.recompute and torch.is_grad_enabled():
                x, image, *outputs = recomputed(block, *inputs)
            else:
                x, image, *outputs = block(*inputs)
            if i >= kept_from:
                features |= named(name, outputs)
        assert image is not None
        return image, features

    def steps(self, w: Tensor) -> Iterator[tuple[str, SynthesisBlock, Tensor]]:
        """(name, block, its ws (N, layers + 1, w_dim) float32), from 4 px up."""
        start = 0
        for name, block in self.blocks():
            yield name, block, w[:, start : start + block.layers + 1].float()
            start += block.layers

    def check(self, w: Tensor, blocks: int, noise: NoiseMode, generator: Draws) -> None:
        """An :class:`InputError` unless :meth:`run` can take these."""
        if w.ndim != 3 or tuple(w.shape[1:]) != (self.num_ws, self.w_dim):
            raise InputError(f"w must be (N, {self.num_ws}, {self.w_dim}), not {tuple(w.shape)}")
        if noise not in ("const", "random", "none"):
            raise InputError(f'noise must be "const", "random" or "none", not {noise!r}')
        if not 0 <= blocks <= len(self.layout.resolutions):
            raise InputError(f"blocks must be 0 to {len(self.layout.resolutions)}, not {blocks}")
        if isinstance(generator, Sequence) and len(generator) != len(w):
            raise InputError(f"{len(generator)} generators for {len(w)} samples; give one, or one for each sample")
