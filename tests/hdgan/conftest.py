"""A generator small enough for tests, with random weights."""

from __future__ import annotations

import pytest
import torch

from hdgan.latents import Latents
from hdgan.stylegan2.generator import Generator


def make_small_generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(resolution=32, z_dim=32, w_dim=32, channel_base=512, channel_max=32, mapping_layers=2)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.1)
    return generator.eval().requires_grad_(False)


def make_latents(generator: Generator, n: int) -> Latents:
    return Latents.sample(generator, range(10, 10 + n), psi=1.0)


@pytest.fixture(scope="session")
def small_generator() -> Generator:
    return make_small_generator()
