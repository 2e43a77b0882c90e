"""A conditional variational autoencoder (Kingma and Welling 2014; Sohn et al. 2015) of strided convolutions.

Its likelihood is Gaussian, with one variance for all pixels that is the best for each batch (Rybkin et al. 2021), so
that nothing has to be weighed by hand. Samples are drawn by the Gaussian prior of each class that is the best for the
encoder as it was trained: that with the moments of the latents of the class's images (Ghosh et al. 2020).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from hdgan.augmenters.base import Shape
from hdgan.augmenters.conditional_config import ConditionalConfig
from hdgan.augmenters.conditional_networks import Encoder, Generator, Sampler, prior_loss
from hdgan.augmenters.images import LabelledImages, Pixels
from hdgan.augmenters.network import NetworkAugmenter
from hdgan.augmenters.trainer import SamplerTrainer
from training.draws import drawing
from training.ema import update_average, warmed
from training.host import Host
from training.metrics import Level

_LEAST_VARIANCE = (2 / 255) ** 2 / 12  # of what was rounded to uint8, in [-1, 1]


@dataclass(frozen=True)
class CVAEConfig(ConditionalConfig):
    """Settings of :class:`CVAE`: learning rate and momentum are other than the adversarial methods'."""

    learning_rate: float = 1e-3
    beta1: float = 0.9


class CVAE(NetworkAugmenter):
    """Encoder and decoder, each told the class; samples are what the decoder makes of the prior of the class."""

    name, settings = "cvae", CVAEConfig
    config: CVAEConfig

    def build(self, shape: Shape) -> nn.Module:
        """The decoder, with the priors."""
        latent = self.config.latent
        return Sampler(Generator(shape, latent, self.config.width), latent, len(shape.classes))

    def trainer(self, images: LabelledImages, *, unlabelled: Pixels | None, seed: int, host: Host) -> SamplerTrainer:
        """Both networks at their beginning."""
        return CVAETrainer(self.config, images, seed=seed, host=host)


class CVAETrainer(SamplerTrainer):
    """One step of both networks on the evidence lower bound."""

    def __init__(self, config: CVAEConfig, images: LabelledImages, *, seed: int, host: Host) -> None:
        super().__init__(
            images, batch=config.batch, steps=config.steps, seed=seed, host=host, parts=config.parts,
            balanced=config.balanced,
        )  # fmt: skip
        self.config, shape = config, Shape.of(images)
        with drawing(seed, "weights"):
            self.encoder = Encoder(shape, config.latent, config.width).to(self.device)
            self.decoder = Generator(shape, config.latent, config.width).to(self.device)
        self.average = copy.deepcopy(self.decoder)
        self.networks = {"encoder": self.encoder, "decoder": self.decoder, "average": self.average}
        parameters = [*self.encoder.parameters(), *self.decoder.parameters()]
        betas = (config.beta1, config.beta2)
        self.optimisers = {"both": torch.optim.Adam(parameters, lr=config.learning_rate, betas=betas)}

    def step(self, index: int) -> Mapping[str, float | Tensor]:
        """Both networks on batch `index`. Losses are nats for each image; the deviation is of pixels in [-1, 1]."""
        losses = []
        for (images, c), noise in zip(self.real(index), self.normal("z", index, self.config.latent), strict=True):
            mean, log_variance = self.computed(self.encoder, images, c)
            reconstructed = self.computed(self.decoder, mean + (0.5 * log_variance).exp() * noise, c)
            variance = (reconstructed - images).square().mean() + _LEAST_VARIANCE
            prior, likelihood = prior_loss(mean, log_variance), likelihood_loss(variance, images[0].numel())
            self.descend("both", prior + likelihood)
            losses.append(torch.stack([prior, likelihood, variance]).detach())
        self.update("both")
        update_average(self.average, self.decoder, warmed(self.config.average, index))
        prior, likelihood, variance = (self.mean(each) for each in zip(*losses, strict=True))
        return {
            "loss": prior + likelihood,
            "loss_prior": prior,
            "loss_likelihood": likelihood,
            "deviation": Level(float(variance) ** 0.5),
        }

    def sampler(self) -> nn.Module:
        """The average of the decoder, and the priors of the encoder as it is now."""
        sampler = Sampler(self.average, self.config.latent, self.classes).to(self.device)
        with torch.no_grad():
            sampler.fit_prior((*self.encoder(images, c), c) for images, c in self.labelled())
        return self.settled(sampler, self.drawn(self.config.latent))


def likelihood_loss(variance: Tensor, values: int) -> Tensor:
    """Negative log-likelihood of an image of so many values that are off by a variance, which is the Gaussian's too."""
    return 0.5 * values * ((2 * math.pi * variance).log() + 1)
