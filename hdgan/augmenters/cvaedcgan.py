"""An autoencoder that is judged by a discriminator's features: VAE-GAN (Larsen et al. 2016), told the class.

Samples are drawn by the Gaussian prior of each class that fits the encoder, as those of :mod:`hdgan.augmenters.cvae`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hdgan.augmenters.base import Shape
from hdgan.augmenters.conditional_config import ConditionalConfig
from hdgan.augmenters.conditional_networks import Discriminator, Encoder, Generator, Sampler, prior_loss
from hdgan.augmenters.dcgan import against
from hdgan.augmenters.images import LabelledImages, Pixels
from hdgan.augmenters.network import NetworkAugmenter
from hdgan.augmenters.trainer import SamplerTrainer
from hdgan.checks import check_number
from training.draws import drawing
from training.ema import update_average, warmed
from training.host import Host


@dataclass(frozen=True)
class CVAEDCGANConfig(ConditionalConfig):
    """Settings of :class:`CVAEDCGAN`; of the three networks those of DCGAN.

    Attributes
    ----------
    gamma
        Weight of the likelihood, beside deceiving the discriminator, for the decoder.
    """

    gamma: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("gamma", self.gamma, 0, 2**31, whole=False)


class CVAEDCGAN(NetworkAugmenter):
    """Encoder, decoder and discriminator, each told the class; samples are the decoder's, of the prior of the class."""

    name, settings = "cvaedcgan", CVAEDCGANConfig
    config: CVAEDCGANConfig

    def build(self, shape: Shape) -> nn.Module:
        """The decoder, with the priors."""
        latent = self.config.latent
        return Sampler(Generator(shape, latent, self.config.width), latent, len(shape.classes))

    def trainer(self, images: LabelledImages, *, unlabelled: Pixels | None, seed: int, host: Host) -> SamplerTrainer:
        """The three networks at their beginning."""
        return CVAEDCGANTrainer(self.config, images, seed=seed, host=host)


class CVAEDCGANTrainer(SamplerTrainer):
    """One step of each network, all by the same images (Larsen et al. 2016, algorithm 1).

    Fakes are reconstructions, and samples of the prior; the decoder's share in the adversarial loss is non-saturating.
    """

    def __init__(self, config: CVAEDCGANConfig, images: LabelledImages, *, seed: int, host: Host) -> None:
        super().__init__(
            images, batch=config.batch, steps=config.steps, seed=seed, host=host, parts=config.parts,
            balanced=config.balanced,
        )  # fmt: skip
        self.config, shape = config, Shape.of(images)
        with drawing(seed, "weights"):
            self.encoder = Encoder(shape, config.latent, config.width).to(self.device)
            self.decoder = Generator(shape, config.latent, config.width).to(self.device)
            self.discriminator = Discriminator(shape, config.width).to(self.device)
        self.average = copy.deepcopy(self.decoder)
        trained = {"encoder": self.encoder, "decoder": self.decoder, "discriminator": self.discriminator}
        self.networks = {**trained, "average": self.average}
        betas = (config.beta1, config.beta2)
        self.optimisers = {
            name: torch.optim.Adam(network.parameters(), lr=config.learning_rate, betas=betas)
            for name, network in trained.items()
        }

    def step(self, index: int) -> Mapping[str, float | Tensor]:
        """The three networks on batch `index`."""
        latent, found = self.config.latent, list[Mapping[str, Tensor]]()
        draws = self.normal("noise", index, latent), self.normal("z", index, latent)
        for (images, c), noise, z in zip(self.real(index), *draws, strict=True):
            found.append(self.losses(images, c, noise, z))
            self.add_gradients(found[-1])
        for name in self.optimisers:
            self.update(name)
        update_average(self.average, self.decoder, warmed(self.config.average, index))
        return {name: self.mean(losses[name] for losses in found) for name in found[0]}

    def sampler(self) -> nn.Module:
        """The average of the decoder, and the priors of the encoder as it is now."""
        sampler = Sampler(self.average, self.config.latent, self.classes).to(self.device)
        with torch.no_grad():
            sampler.fit_prior((*self.encoder(images, c), c) for images, c in self.labelled())
        return self.settled(sampler, self.drawn(self.config.latent))

    def losses(self, images: Tensor, c: Tensor, noise: Tensor, z: Tensor) -> Mapping[str, Tensor]:
        """All losses of a part, scalars: its images with their classes, noise of the posterior, z of the prior."""
        mean, log_variance = self.computed(self.encoder, images, c)
        reconstructed = self.computed(self.decoder, mean + (0.5 * log_variance).exp() * noise, c)
        wanted, of_real = self.computed(self.discriminator.look, images, c)
        maps, of_reconstructed = self.computed(self.discriminator.look, reconstructed, c)
        of_sampled = self.computed(self.discriminator, self.computed(self.decoder, z, c), c)
        return {
            "loss_prior": prior_loss(mean, log_variance),
            "loss_likelihood": 0.5 * (maps - wanted).square().flatten(1).sum(dim=1).mean(),
            "loss_real": against(of_real, 1),
            "loss_reconstructed": against(of_reconstructed, 0),
            "loss_sampled": against(of_sampled, 0),
            "loss_deceived": against(of_reconstructed, 1) + against(of_sampled, 1),
        }

    def add_gradients(self, losses: Mapping[str, Tensor]) -> None:
        """Each network's, of the losses that are its own."""
        prior, likelihood, real, reconstructed, sampled, deceived = losses.values()
        self.descend("encoder", prior + likelihood, again=True)
        self.descend("decoder", self.config.gamma * likelihood + deceived, again=True)
        self.descend("discriminator", real + reconstructed + sampled)
