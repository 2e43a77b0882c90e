"""The StyleGAN2 generator: z to image, through w.

Karras et al. 2020a, section 2 and figure 2; names and shapes of parameters are those of the published
StyleGAN2-ADA networks, so that weights can be exchanged.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from torch import Tensor, nn

from hdgan.stylegan2.layout import Architecture, Layout, check_sizes
from hdgan.stylegan2.mapping import MappingNetwork
from hdgan.stylegan2.synthesis import Draws, Features, NoiseMode, SynthesisNetwork


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
        check_sizes(vars(self))


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
        So many of the highest resolutions compute in float16, except on the CPU.

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
        """Terms under which the weights may be used, and with them all that is made by them; kept in files."""
        self.classes: dict[str, int] = {}
        """Names, in the order of c, and how many tiles of each were learnt from; kept in files."""
        self.mpp: float | None = None
        """Micrometres per pixel of its images, where what it learnt from was of one resolution; kept in files."""
        layout = Layout(resolution, channel_base, channel_max, architecture)
        self.synthesis = SynthesisNetwork(layout, w_dim=w_dim, clamp=conv_clamp, low_precision=fp16_resolutions)
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
        generator: Draws = None,
    ) -> Tensor:
        """Images of latents: mapping and synthesis in one.

        Parameters
        ----------
        z
            (N, z_dim), standard normal.
        c
            (N, c_dim), one-hot; None where there is no condition.
        psi
            Truncation (Karras et al. 2019, appendix B): w moves towards its mean, which 0 leads to; 1, the default,
            leaves it where it is. The smaller psi, the more typical and the less varied are images.
        cutoff
            How many of the w that an image takes are truncated, the coarsest first; None: all.
        noise
            "random": drawn anew for every image, as in training; "const": the maps that the generator stores, the same
            for every image; "none": none.
        generator
            What draws random noise, one for all images or one for each; by default PyTorch's own.

        Returns
        -------
        Tensor
            (N, 3, R, R) in about [-1, 1].
        """
        w = self.mapping(z, c, psi=psi, cutoff=cutoff)
        image: Tensor = self.synthesis(w, noise=noise, generator=generator)
        return image

    def features(self, w: Tensor, *, blocks: int = 5, noise: NoiseMode = "const", generator: Draws = None) -> Features:
        """Outputs of the synthesis layers of the last `blocks` blocks, {"b{res}.conv{0,1}": (N, C, res, res)}.

        Lowest resolution first. DatasetGAN (Zhang et al. 2021, section 3.1) and HDGAN (Rizvi et al. 2022) classify
        pixels by them.
        """
        return self.image_and_features(w, blocks=blocks, noise=noise, generator=generator)[1]

    def image_and_features(
        self, w: Tensor, *, blocks: int = 5, noise: NoiseMode = "const", generator: Draws = None
    ) -> tuple[Tensor, Features]:
        """Images (N, 3, R, R) and their features, in one pass; `generator` draws the noise where it is "random"."""
        return self.synthesis.run(w, blocks=blocks, noise=noise, generator=generator)

    @classmethod
    def from_config(cls, config: GeneratorConfig) -> Generator:
        """A freshly initialised generator of the given shape."""
        return cls(**asdict(config))
