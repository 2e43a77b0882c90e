"""The StyleGAN2 generator: mapping network, synthesis network, and the features of its blocks.

Karras et al. 2020a, section 2 and figure 2; names and shapes of parameters are those of the published
StyleGAN2-ADA networks, so that weights can be exchanged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hdgan.checks import check_number
from hdgan.stylegan2.layout import Architecture, Layout
from hdgan.stylegan2.ops import (
    Convolution,
    FullyConnected,
    bias_act,
    channels_last,
    modulated_conv2d,
    normalise_second_moment,
    resampling_filter,
    upsample2d,
)
from tiling.errors import InputError

# Far beyond what anybody trains: what a damaged or hostile file asks for is refused before it is built.
_WIDEST = 2**16
_RANGES = {
    "resolution": (8, 2**16),
    "z_dim": (1, _WIDEST),
    "w_dim": (1, _WIDEST),
    "c_dim": (0, _WIDEST),
    "channel_base": (1, 2**30),
    "channel_max": (1, _WIDEST),
    "mapping_layers": (0, 64),
    "fp16_resolutions": (0, 16),
}

NoiseMode = Literal["const", "random", "none"]
Features = dict[str, Tensor]


@dataclass(frozen=True)
class GeneratorConfig:
    """Everything that determines the generator's shape; the arguments of :class:`Generator`."""

    resolution: int
    z_dim: int = 512
    w_dim: int = 512
    c_dim: int = 0
    channel_base: int = 32768
    channel_max: int = 512
    mapping_layers: int = 8
    architecture: Architecture = "skip"
    conv_clamp: float | None = 256
    fp16_resolutions: int = 0

    def __post_init__(self) -> None:
        for name, (least, most) in _RANGES.items():
            check_number(name, getattr(self, name), least, most)
        if self.conv_clamp is not None:
            check_number("conv_clamp", self.conv_clamp, 0, 1e6, whole=False)


class LabelledMapping(nn.Module):
    """Latents and labels to w: Karras et al. 2019, section 2, with leaky ReLU in every layer, the last too.

    `z_dim` or `c_dim` may be 0: a discriminator's mapping has no latent, an unconditional generator's no label.
    """

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, layers: int) -> None:
        super().__init__()
        self.z_dim, self.c_dim, self.w_dim, self.layers = z_dim, c_dim, w_dim, layers
        if c_dim > 0:
            self.embed = FullyConnected(c_dim, w_dim)
        widths = [z_dim + (w_dim if c_dim > 0 else 0)] + [w_dim] * layers
        for i in range(layers):
            layer = FullyConnected(widths[i], widths[i + 1], activation="lrelu", lr_multiplier=0.01)
            self.add_module(f"fc{i}", layer)

    def map(self, z: Tensor | None, c: Tensor | None) -> Tensor:
        """(N, z_dim), (N, c_dim) -> (N, w_dim)."""
        parts = []
        if self.z_dim > 0:
            parts.append(normalise_second_moment(_checked("z", z, self.z_dim)))
        if self.c_dim > 0:
            parts.append(normalise_second_moment(self.embed(_checked("c", c, self.c_dim))))
        x = torch.cat(parts, dim=1)
        for i in range(self.layers):
            x = self.get_submodule(f"fc{i}")(x)
        return x


def _checked(name: str, value: Tensor | None, width: int) -> Tensor:
    if value is None or value.ndim != 2 or value.shape[1] != width:
        received = "nothing" if value is None else tuple(value.shape)
        raise InputError(f"{name} must be (N, {width}) for this network, not {received}")
    return value.float()


class MappingNetwork(LabelledMapping):
    """The generator's mapping network, with truncation towards the mean w (Karras et al. 2019, appendix B)."""

    w_avg: Tensor

    def __init__(self, z_dim: int, c_dim: int, w_dim: int, layers: int, *, num_ws: int) -> None:
        super().__init__(z_dim, c_dim, w_dim, layers)
        self.num_ws = num_ws
        self.register_buffer("w_avg", torch.zeros(w_dim))

    def forward(self, z: Tensor, c: Tensor | None = None, *, psi: float = 1.0, cutoff: int | None = None) -> Tensor:
        """(N, z_dim), (N, c_dim) -> (N, num_ws, w_dim); truncation psi acts on the first `cutoff` ws (None: all)."""
        w = self.map(z, c)[:, None].expand(-1, self.num_ws, -1)
        if psi == 1:
            return w
        truncated = self.w_avg.lerp(w, psi)
        if cutoff is None:
            return truncated
        return torch.cat([truncated[:, :cutoff], w[:, cutoff:]], dim=1)


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

    def forward(
        self, x: Tensor, w: Tensor, *, noise: NoiseMode, generator: torch.Generator | None, gain: float = 1.0
    ) -> Tensor:
        """One layer; `generator` draws the noise where it is "random"."""
        x = modulated_conv2d(x, self.weight, self.affine(w), up=self.up, resample_filter=self.resample_filter)
        if noise == "const":
            x = x + (self.noise_const * self.noise_strength).to(x.dtype)
        elif noise == "random":
            drawn = _draw_noise((x.shape[0], 1, self.resolution, self.resolution), generator, x.device)
            x = x + (drawn * self.noise_strength).to(x.dtype)
        return bias_act(x, self.bias, activation="lrelu", gain=gain, clamp=self.clamp)


def _draw_noise(shape: tuple[int, ...], generator: torch.Generator | None, device: torch.device) -> Tensor:
    drawn_on = device if generator is None else generator.device
    return torch.randn(shape, generator=generator, device=drawn_on).to(device)


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
        x = modulated_conv2d(x, self.weight, self.affine(w) * self.weight_gain, demodulate=False)
        return bias_act(x, self.bias, activation="linear", clamp=self.clamp)


class SynthesisBlock(nn.Module):
    """All that happens at one resolution: two layers (b4 has one), and the image where the architecture makes one."""

    resample_filter: Tensor

    def __init__(self, config: GeneratorConfig, layout: Layout, resolution: int) -> None:
        super().__init__()
        self.resolution, self.architecture = resolution, config.architecture
        channels = layout.channels(resolution)
        settings: dict[str, Any] = {"w_dim": config.w_dim, "resolution": resolution, "clamp": config.conv_clamp}
        self.first = resolution == 4
        self.low_precision = layout.low_precision(resolution, config.fp16_resolutions)
        if self.first:
            self.const = nn.Parameter(torch.randn(channels, 4, 4))
        else:
            previous = layout.channels(resolution // 2)
            self.conv0 = SynthesisLayer(previous, channels, up=True, **settings)
            if config.architecture == "resnet":
                self.skip = Convolution(previous, channels, 1, bias=False, up=True)
        self.conv1 = SynthesisLayer(channels, channels, up=False, **settings)
        if resolution == layout.resolution or config.architecture == "skip":
            self.torgb = ToRGB(channels, w_dim=config.w_dim, clamp=config.conv_clamp)
        self.register_buffer("resample_filter", resampling_filter())

    @property
    def layers(self) -> int:
        """Synthesis layers, each of which takes one w."""
        return 1 if self.first else 2

    def forward(
        self,
        x: Tensor | None,
        image: Tensor | None,
        ws: Tensor,
        *,
        dtype: torch.dtype,
        noise: NoiseMode,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor | None, Features]:
        """Run on ws (N, layers + 1, w_dim); give features, the float32 image so far, and each layer's output."""
        outputs: Features = {}
        draws: dict[str, Any] = {"noise": noise, "generator": generator}
        if self.first:
            x = channels_last(self.const.to(dtype).expand(ws.shape[0], -1, -1, -1))
            x = outputs["conv1"] = self.conv1(x, ws[:, 0], **draws)
        else:
            assert x is not None
            x = x.to(dtype)
            residual = self.skip(x, gain=0.5**0.5) if self.architecture == "resnet" else None
            x = outputs["conv0"] = self.conv0(x, ws[:, 0], **draws)
            x = outputs["conv1"] = self.conv1(x, ws[:, 1], **draws, gain=1.0 if residual is None else 0.5**0.5)
            if residual is not None:
                x = residual + x
        if image is not None:
            image = upsample2d(image, self.resample_filter)
        if hasattr(self, "torgb"):
            rgb = self.torgb(x, ws[:, self.layers]).float()
            image = rgb if image is None else image + rgb
        return x, image, outputs


class SynthesisNetwork(nn.Module):
    """w (N, num_ws, w_dim) to images (N, 3, R, R) float32 in about [-1, 1]."""

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.layout = Layout(config.resolution, config.channel_base, config.channel_max, config.architecture)
        self.w_dim = config.w_dim
        self.low_precision_dtype = torch.float16
        for resolution in self.layout.resolutions:
            self.add_module(f"b{resolution}", SynthesisBlock(config, self.layout, resolution))
        self.num_ws = sum(block.layers for _, block in self.blocks()) + 1

    def blocks(self) -> Iterator[tuple[str, SynthesisBlock]]:
        """(name, block), from 4 px up."""
        for resolution in self.layout.resolutions:
            block = self.get_submodule(f"b{resolution}")
            assert isinstance(block, SynthesisBlock)
            yield f"b{resolution}", block

    def forward(self, w: Tensor, *, noise: NoiseMode = "random", generator: torch.Generator | None = None) -> Tensor:
        """Images of latents; `noise` is "const" (the stored maps), "random" or "none"."""
        return self.run(w, blocks=0, noise=noise, generator=generator)[0]

    def run(
        self, w: Tensor, *, blocks: int, noise: NoiseMode, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Features]:
        """Images, and the outputs of both layers of the last `blocks` blocks, lowest resolution first."""
        if w.ndim != 3 or tuple(w.shape[1:]) != (self.num_ws, self.w_dim):
            raise InputError(f"w must be (N, {self.num_ws}, {self.w_dim}), not {tuple(w.shape)}")
        if noise not in ("const", "random", "none"):
            raise InputError(f'noise must be "const", "random" or "none", not {noise!r}')
        if not 0 <= blocks <= len(self.layout.resolutions):
            raise InputError(f"blocks must be 0 to {len(self.layout.resolutions)}, not {blocks}")
        x: Tensor | None = None
        image: Tensor | None = None
        features: Features = {}
        kept_from = len(self.layout.resolutions) - blocks
        start = 0
        for i, (name, block) in enumerate(self.blocks()):
            dtype = self.low_precision_dtype if block.low_precision else torch.float32
            ws = w[:, start : start + block.layers + 1]
            x, image, outputs = block(x, image, ws.float(), dtype=dtype, noise=noise, generator=generator)
            if i >= kept_from:
                features |= {f"{name}.{layer}": output for layer, output in outputs.items()}
            start += block.layers
        assert image is not None
        return image, features


class Generator(nn.Module):
    """z to image, through w.

    Parameters
    ----------
    resolution
        Image edge in px, a power of two of at least 8.
    z_dim, w_dim, c_dim
        Widths of the input latent, the intermediate latent and the condition (0: unconditional).
    channel_base, channel_max
        Width of the blocks: min(channel_base // res, channel_max).
    architecture
        "skip" (every block adds to the image), "resnet" or "orig".
    conv_clamp
        Activations are clamped at this magnitude (None: not at all).
    fp16_resolutions
        So many of the highest resolutions compute in half precision.

    Examples
    --------
    >>> g = Generator(resolution=16, z_dim=8, w_dim=8, channel_base=128, mapping_layers=2)
    >>> g.synthesis(g.mapping(torch.randn(2, 8)), noise="const").shape
    torch.Size([2, 3, 16, 16])
    """

    def __init__(
        self,
        *,
        resolution: int,
        z_dim: int = 512,
        w_dim: int = 512,
        c_dim: int = 0,
        channel_base: int = 32768,
        channel_max: int = 512,
        mapping_layers: int = 8,
        architecture: Architecture = "skip",
        conv_clamp: float | None = 256,
        fp16_resolutions: int = 0,
    ) -> None:
        super().__init__()
        self.config = GeneratorConfig(
            resolution, z_dim, w_dim, c_dim, channel_base, channel_max, mapping_layers, architecture, conv_clamp,
            fp16_resolutions,
        )  # fmt: skip
        self.licence: tuple[str, ...] = ()
        self.classes: dict[str, int] = {}  # names, in the order of c, and how many tiles of each were learnt from
        """Terms under which the weights may be used, and with them all that is made by them; kept in files."""
        self.synthesis = SynthesisNetwork(self.config)
        self.mapping = MappingNetwork(z_dim, c_dim, w_dim, mapping_layers, num_ws=self.synthesis.num_ws)

    @property
    def resolution(self) -> int:
        """Image edge in px."""
        return self.config.resolution

    @property
    def num_ws(self) -> int:
        """Number of intermediate latents an image takes: 2 log2(resolution) - 2."""
        return self.synthesis.num_ws

    def forward(
        self,
        z: Tensor,
        c: Tensor | None = None,
        *,
        psi: float = 1.0,
        cutoff: int | None = None,
        noise: NoiseMode = "random",
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """(N, z_dim), (N, c_dim) -> (N, 3, R, R) in about [-1, 1]."""
        w = self.mapping(z, c, psi=psi, cutoff=cutoff)
        image: Tensor = self.synthesis(w, noise=noise, generator=generator)
        return image

    def features(
        self, w: Tensor, *, blocks: int = 5, noise: NoiseMode = "const", generator: torch.Generator | None = None
    ) -> Features:
        """Outputs of the synthesis layers of the last `blocks` blocks, {"b{res}.conv{0,1}": (N, C, res, res)}.

        Lowest resolution first. DatasetGAN (Zhang et al. 2021, section 3.1) and HDGAN (Rizvi et al. 2022) classify
        pixels by them.
        """
        return self.image_and_features(w, blocks=blocks, noise=noise, generator=generator)[1]

    def image_and_features(
        self, w: Tensor, *, blocks: int = 5, noise: NoiseMode = "const", generator: torch.Generator | None = None
    ) -> tuple[Tensor, Features]:
        """Images (N, 3, R, R) and their features, in one pass; `generator` draws the noise where it is "random"."""
        return self.synthesis.run(w, blocks=blocks, noise=noise, generator=generator)

    @classmethod
    def from_config(cls, config: GeneratorConfig) -> Generator:
        """A freshly initialised generator of the given shape."""
        return cls(**asdict(config))
