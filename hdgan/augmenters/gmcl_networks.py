"""The teacher of generative meta curriculum learning, and all that is trained with it."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hdgan.augmenters.base import Shape
from hdgan.augmenters.gmcl_config import GMCLConfig
from hdgan.augmenters.normalisation import BatchNorm
from tiling.errors import InputError

_SLOPE = 0.1
_LARGEST_START = 16  # px of the maps that the teacher's linear layers give


class Teacher(nn.Module):
    """z (n, latent) and classes (n, K) to images (n, C, H, W) in [-1, 1].

    Two linear layers, then doublings by nearest neighbours with 3x3 convolutions, two of them up to 64 px.
    """

    def __init__(self, shape: Shape, latent: int) -> None:
        super().__init__()
        doublings = _doublings(shape.size)
        self.edge = shape.size >> doublings
        self.begin = nn.Sequential(
            nn.Linear(latent + len(shape.classes), 1024, bias=False),
            BatchNorm(1024),
            nn.LeakyReLU(_SLOPE),
            nn.Linear(1024, 128 * self.edge**2),
            BatchNorm(128 * self.edge**2),
            nn.LeakyReLU(_SLOPE),
            nn.Unflatten(1, (128, self.edge, self.edge)),
        )
        stages: list[nn.Module] = []
        before = 128
        for _ in range(doublings - 1):
            stages += [*_doubled(before, 64), BatchNorm(64), nn.LeakyReLU(_SLOPE)]
            before = 64
        self.stages = nn.Sequential(*stages, *_doubled(before, shape.channels), nn.Tanh())

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """Images of latents and classes."""
        images: Tensor = self.stages(self.begin(torch.cat([z, c], dim=1)))
        return images


def _doubled(before: int, after: int) -> list[nn.Module]:
    return [nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1), nn.Conv2d(before, after, 3)]


def _doublings(size: int) -> int:
    """How often maps double between the teacher's linear layers and its images: twice, or more for large ones."""
    doublings = 2
    while size >> doublings > _LARGEST_START and size % 2 ** (doublings + 1) == 0:
        doublings += 1
    if size % 2**doublings:
        raise InputError(f"GMCL makes images whose edge is a multiple of 4 px, not {size} px")
    return doublings


class Curriculum(nn.Module):
    """What the outer steps train: the teacher, z, and the rate and momentum of each inner step.

    Attributes
    ----------
    z
        (M, B, latent); of no step where z is random.
    log_rates, log_momenta
        (M,).
    """

    labels: Tensor

    def __init__(self, shape: Shape, config: GMCLConfig) -> None:
        super().__init__()
        steps = config.inner_steps
        self.teacher = Teacher(shape, config.latent)
        kept = 0 if config.z == "random" else steps
        self.z = nn.Parameter(torch.randn(kept, config.inner_batch, config.latent), config.z == "learned")
        self.log_rates = nn.Parameter(torch.full((steps,), math.log(config.rate)), config.adaptive)
        self.log_momenta = nn.Parameter(torch.full((steps,), math.log(config.momentum)), config.adaptive)
        self.register_buffer("labels", balanced_labels(steps, config.inner_batch, len(shape.classes)))

    def forward(self, z: Tensor, c: Tensor) -> Tensor:
        """The teacher's images."""
        images: Tensor = self.teacher(z, c)
        return images


def balanced_labels(steps: int, batch: int, classes: int) -> Tensor:
    """(M, B) int64: the classes by turns, on and on from step to step, each as often as any other or once more."""
    return torch.arange(steps * batch).reshape(steps, batch) % classes
