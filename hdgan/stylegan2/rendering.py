"""Images of latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hdgan.labels import Image
from hdgan.stylegan2.data import to_uint8
from hdgan.stylegan2.generator import Generator

if TYPE_CHECKING:
    from hdgan.latents import Latents


@torch.no_grad()
def render(generator: Generator, latents: Latents) -> Iterator[Image]:
    """Images (R, R, 3) uint8 of latents, one at a time."""
    device = next(generator.parameters()).device
    for i in range(len(latents)):
        yield to_uint8(generator.synthesis(**latents.synthesis(i, device=device)))[0]


@dataclass(frozen=True)
class Rendered:
    """The images (R, R, 3) uint8 of latents, made when they are asked for, one at a time."""

    generator: Generator
    latents: Latents

    def __len__(self) -> int:
        return len(self.latents)

    def __iter__(self) -> Iterator[Image]:
        return render(self.generator, self.latents)
