"""Networks that are told the class: what draws images, what tells them from real ones, what finds their latents."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from hdgan.augmenters.base import Shape
from hdgan.augmenters.batches import as_maps
from hdgan.augmenters.layers import Down, Up, initialise


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
    """Images (n, C, H, W) with classes (n, K) to logits (n,) of being real, by way of maps (n, F, 4, 4) or smaller."""

    def __init__(self, shape: Shape, width: int) -> None:
        super().__init__()
        self.down = Down(shape.size, shape.channels + len(shape.classes), width)
        self.verdict = nn.Conv2d(self.down.outputs, 1, self.down.edge)
        initialise(self)

    def look(self, images: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The maps of images, and the logits."""
        maps: Tensor = self.down(as_maps(c, images))
        return maps, self.verdict(maps).flatten()

    def forward(self, images: Tensor, c: Tensor) -> Tensor:
        """Logits of images."""
        return self.look(images, c)[1]


class Encoder(nn.Module):
    """Images (n, C, H, W) with classes (n, K) to the mean and the log-variance of their latents, (n, latent) each."""

    def __init__(self, shape: Shape, latent: int, width: int) -> None:
        super().__init__()
        self.down = Down(shape.size, shape.channels + len(shape.classes), width)
        self.gaussian = nn.Conv2d(self.down.outputs, 2 * latent, self.down.edge)
        initialise(self)

    def forward(self, images: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance."""
        mean, log_variance = self.gaussian(self.down(as_maps(c, images))).flatten(1).chunk(2, dim=1)
        return mean, log_variance


class Sampler(nn.Module):
    """Standard normal z (n, latent) and classes (n, K) to images (n, C, H, W), by way of the prior of the class.

    Attributes
    ----------
    decoder
        Latents and classes to images.
    centres, spreads
        Of the priors: means (K, latent), and lower triangles whose squares are the covariances (K, latent, latent).
    """

    centres: Tensor
    spreads: Tensor

    def __init__(self, decoder: Generator, latent: int, classes: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.register_buffer("centres", torch.zeros(classes, latent))
        self.register_buffer("spreads", torch.eye(latent).repeat(classes, 1, 1))

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Images of standard normal numbers and classes."""
        latents = c @ self.centres + torch.einsum("nk,kij,nj->ni", c, self.spreads, z)
        images: Tensor = self.decoder(latents, c)
        return images

    @torch.no_grad()
    def fit_prior(self, posteriors: Iterable[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Give the prior of each class the moments of its images' posteriors: means, log-variances, classes (n, K).

        One standard normal image of each class is counted as well: of a class without any that is the prior.
        """
        identity = torch.eye(self.centres.shape[1], dtype=torch.float64, device=self.centres.device)
        count = torch.ones(len(self.centres), dtype=torch.float64, device=self.centres.device)
        first, second = torch.zeros_like(self.centres, dtype=torch.float64), identity.repeat(len(count), 1, 1)
        for mean, log_variance, c in ((part.double() for part in parts) for parts in posteriors):
            count += c.sum(dim=0)
            first += c.T @ mean
            second += torch.einsum("nk,ni,nj->kij", c, mean, mean) + (c.T @ log_variance.exp()).diag_embed()
        centres = first / count[:, None]
        covariances = second / count[:, None, None] - torch.einsum("ki,kj->kij", centres, centres)
        self.centres.copy_(centres)
        self.spreads.copy_(torch.linalg.cholesky(covariances))


def prior_loss(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of diagonal Gaussians (n, latent) from N(0, 1), nats for each image: a scalar."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
