"""A study small enough for tests: a generator of random weights, label maps and an ensemble for its features."""

from __future__ import annotations

import numpy as np
import torch

from hdgan.features import FeatureStore
from hdgan.labels import LabelMap
from hdgan.latents import Latents
from hdgan.pixels import PixelEnsemble
from hdgan.stylegan2.generator import Generator


def make_small_generator() -> Generator:
    torch.manual_seed(0)
    generator = Generator(resolution=32, z_dim=32, w_dim=32, channel_base=512, channel_max=32, mapping_layers=2)
    for name, parameter in generator.named_parameters():
        if name.endswith("noise_strength"):
            parameter.data.fill_(0.1)
    return generator.eval().requires_grad_(False)


def make_latents(generator: Generator, n: int) -> Latents:
    return Latents.sample(generator, range(10, 10 + n), psi=0.2)


def make_label_maps(store: FeatureStore) -> dict[int, LabelMap]:
    """Three classes that the features tell apart, a frame of unlabelled pixels round them."""
    features = np.stack([store.window(i, y=0, x=0, h=32, w=32)[[131, 139, 147]] for i in range(len(store))])
    standardised = features - features.mean(axis=(0, 2, 3), keepdims=True)
    standardised /= features.std(axis=(0, 2, 3), keepdims=True)
    maps = np.full((len(store), 32, 32), 255, np.uint8)
    maps[:, 2:-2, 2:-2] = standardised.argmax(axis=1)[:, 2:-2, 2:-2]
    return dict(enumerate(maps))


def make_ensemble(store: FeatureStore, members: int = 5) -> PixelEnsemble:
    """Random weights, and normalisations that are not the identity."""
    draw = torch.Generator().manual_seed(3)
    ensemble = PixelEnsemble(layers=store.layers, classes=["a", "b", "c"], members=members, generator=draw)
    for norm in ensemble.norm:
        for name in ("running_mean", "weight", "bias"):
            getattr(norm, name).data.normal_(generator=draw)
        norm.running_var.uniform_(0.5, 2, generator=draw)
    ensemble.mean.normal_(generator=draw)
    ensemble.deviation.uniform_(0.5, 2, generator=draw)
    return ensemble
