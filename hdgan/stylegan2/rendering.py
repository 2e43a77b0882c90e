"""Images of latents."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from hdgan.labels import Image
from hdgan.stylegan2.data import to_uint8
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.windows import synthesize_image

if TYPE_CHECKING:
    from hdgan.latents import Latents


_LARGE = 2048  # px: from here on a whole pass takes GiBs


@torch.no_grad()
def render(generator: Generator, latents: Latents) -> Iterator[Image]:
    """Images (R, R, 3) uint8 of latents, one at a time; large ones window by window."""
    device = next(generator.parameters()).device
    for i in range(len(latents)):
        synthesis = latents.synthesis(i, device=device)
        if generator.resolution < _LARGE:
            yield to_uint8(generator.synthesis(**synthesis))[0]
        else:
            yield synthesize_image(generator, **synthesis)


@dataclass(frozen=True)
class Rendered:
    """The images (R, R, 3) uint8 of latents, made when they are asked for, one at a time."""

    generator: Generator
    latents: Latents

    def __len__(self) -> int:
        return len(self.latents)

    def __iter__(self) -> Iterator[Image]:
        return render(self.generator, self.latents)
