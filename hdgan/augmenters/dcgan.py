"""A conditional DCGAN: Radford et al. 2016, told the class as in Mirza and Osindero 2014."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from hdgan.augmenters.base import Shape
from hdgan.augmenters.conditional_config import ConditionalConfig
from hdgan.augmenters.conditional_networks import Discriminator, Generator
from hdgan.augmenters.images import LabelledImages, Pixels
from hdgan.augmenters.network import NetworkAugmenter
from hdgan.augmenters.trainer import SamplerTrainer
from training.draws import drawing
from training.ema import update_average, warmed
from training.host import Host


@dataclass(frozen=True)
class DCGANConfig(ConditionalConfig):
    """Settings of :class:`DCGAN`; the defaults are the paper's, but for width, length and the average."""


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
        super().__init__(
            images, batch=config.batch, steps=config.steps, seed=seed, host=host, parts=config.parts,
            balanced=config.balanced,
        )  # fmt: skip
        self.config, shape = config, Shape.of(images)
        with drawing(seed, "weights"):
            self.generator = Generator(shape, config.latent, config.width).to(self.device)
            self.discriminator = Discriminator(shape, config.width).to(self.device)
        self.average = copy.deepcopy(self.generator)
        trained = {"generator": self.generator, "discriminator": self.discriminator}
        self.networks = {**trained, "average": self.average}
        betas = (config.beta1, config.beta2)
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=betas)
            for name, network in trained.items()
        }

    def step(self, index: int) -> Mapping[str, float | Tensor]:
        """Both networks on batch `index`."""
        parts = list(zip(self.real(index), self.normal("z", index, self.config.latent), strict=True))
        losses: list[Tensor] = []
        for (images, c), z in parts:
            with torch.no_grad():
                fakes = self.computed(self.generator, z, c)
            real = against(self.computed(self.discriminator, images, c), 1)
            fake = against(self.computed(self.discriminator, fakes, c), 0)
            self.descend("discriminator", real + fake)
            losses.append(torch.stack([real, fake]).detach())
        self.update("discriminator")
        losses_g = []
        for (_, c), z in parts:
            fakes = self.computed(self.generator, z, c)
            loss = against(self.computed(self.discriminator, fakes, c), 1)
            self.descend("generator", loss)
            losses_g.append(loss)
        self.update("generator")
        update_average(self.average, self.generator, warmed(self.config.average, index))
        real, fake = (self.mean(each) for each in zip(*losses, strict=True))
        return {"loss_real": real, "loss_fake": fake, "loss_generator": self.mean(losses_g)}

    def sampler(self) -> nn.Module:
        """The average of the generator."""
        return self.settled(self.average, self.drawn(self.config.latent))


def against(logits: Tensor, target: int) -> Tensor:
    """Cross entropy of logits (n,) with all images being fakes (0), or real (1): a scalar."""
    return binary_cross_entropy_with_logits(logits, torch.full_like(logits, target))
