"""A conditional DCGAN: Radford et al. 2016, told the class as in Mirza and Osindero 2014."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from hdgan.augmenters.base import Shape
from hdgan.augmenters.batches import as_maps
from hdgan.augmenters.images import LabelledImages, Pixels
from hdgan.augmenters.layers import Down, Up, initialise
from hdgan.augmenters.network import NetworkAugmenter
from hdgan.augmenters.trainer import SamplerTrainer
from hdgan.checks import check_number
from training.draws import drawing
from training.host import Host


@dataclass(frozen=True)
class DCGANConfig:
    """Settings of :class:`DCGAN`; the defaults are the paper's, but for the length.

    Attributes
    ----------
    steps, batch
        Of the training; images in a step.
    latent
        Dimensions of z.
    width
        Channels of the maps of half the images' size, in both networks.
    learning_rate, beta1, beta2
        Of Adam.
    parts
        See :class:`training.share.Share`; None: one for each process.
    """

    steps: int = 5000
    batch: int = 128
    latent: int = 100
    width: int = 64
    learning_rate: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999
    parts: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "latent", "width"):
            check_number(name, getattr(self, name), 1, 2**31)
        for name in ("learning_rate", "beta1", "beta2"):
            check_number(name, getattr(self, name), 0, 1, whole=False)


class Generator(nn.Module):
    """z (n, latent) and classes (n, K) to images (n, C, H, W) in [-1, 1]."""

    def __init__(self, shape: Shape, latent: int, width: int) -> None:
        super().__init__()
        self.up = Up(latent + len(shape.classes), shape.size, shape.channels, width)
        initialise(self)

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Images of latents and classes."""
        images: Tensor = self.up(torch.cat([z, c], dim=1))
        return images


class Discriminator(nn.Module):
    """Images (n, C, H, W) with classes (n, K) to logits (n,) of being real."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.down = Down(shape.size, shape.channels + len(shape.classes), width)
        self.verdict = nn.Conv2d(self.down.outputs, 1, self.down.edge)
        initialise(self)

    def forward(self, images: Tensor, c: Tensor) -> Tensor:
        """Logits of images."""
        logits: Tensor = self.verdict(self.down(as_maps(c, images)))
        return logits.flatten()


class DCGAN(NetworkAugmenter):
    """Generator and discriminator, each told the class."""

    name, settings = "dcgan", DCGANConfig
    config: DCGANConfig

    def build(self, shape: Shape) -> nn.Module:
        """The generator."""
        return Generator(shape, self.config.latent, self.config.width)

    def trainer(self, images: LabelledImages, *, unlabelled: Pixels | None, seed: int, host: Host) -> SamplerTrainer:
        """Both networks at their beginning."""
        return DCGANTrainer(self.config, images, seed=seed, host=host)


class DCGANTrainer(SamplerTrainer):
    """One step of the discriminator, then one of the generator (Goodfellow et al. 2014, non-saturating)."""

    def __init__(self, config: DCGANConfig, images: LabelledImages, *, seed: int, host: Host) -> None:
        super().__init__(images, batch=config.batch, steps=config.steps, seed=seed, host=host, parts=config.parts)
        self.config, shape = config, Shape.of(images)
        with drawing(seed, "weights"):
            self.generator = Generator(shape, config.latent, config.width).to(self.device)
            self.discriminator = Discriminator(shape, config.width).to(self.device)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        betas = (config.beta1, config.beta2)
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=betas)
            for name, network in self.networks.items()
        }

    def step(self, index: int) -> Mapping[str, float | Tensor]:
        """Both networks on batch `index`."""
        parts = list(zip(self.real(index), self.normal("z", index, self.config.latent), strict=True))
        losses_d, losses_g = [], []
        for (images, c), z in parts:
            with torch.no_grad():
                fakes = self.generator(z, c)
            loss = _against(self.discriminator(images, c), 1) + _against(self.discriminator(fakes, c), 0)
            (loss / self.share.count).backward()
            losses_d.append(loss)
        self.update("discriminator")
        for (_, c), z in parts:
            loss = _against(self.discriminator(self.generator(z, c), c), 1)
            (loss / self.share.count).backward()
            losses_g.append(loss)
        self.optimisers["discriminator"].zero_grad()
        self.update("generator")
        return {"loss_d": self.mean(losses_d), "loss_g": self.mean(losses_g)}

    def sampler(self) -> nn.Module:
        """The generator."""
        return self.settled(self.generator, self.drawn(self.config.latent))


def _against(logits: Tensor, target: int) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
