"""Every method of the registry, so small that a step takes milliseconds, and images to fit it on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from hdgan.augmenters import Augmenter, LabelledImages, create
from hdgan.augmenters.base import AUGMENTER
from hdgan.augmenters.network import NetworkAugmenter
from hdgan.augmenters.registry import method
from hdgan.stylegan2.trainer import StyleGAN2Trainer
from training.checkpoint import load_weights
from training.host import Host

SMALL: dict[str, dict[str, Any]] = {
    "geometric": {},
    "cvae": {"steps": 6, "batch": 8, "latent": 4, "width": 4},
    "cvaedcgan": {"steps": 6, "batch": 8, "latent": 4, "width": 4},
    "dcgan": {"steps": 6, "batch": 8, "latent": 4, "width": 4},
    "stylegan2": {"preset": "tiny", "steps": 6, "batch": 8, "augment": "blit"},
    "gmcl": {"steps": 6, "batch": 8, "inner_steps": 3, "inner_batch": 8, "latent": 4, "student_width": 4},
}
TRAINED = [name for name in SMALL if name != "geometric"]
NETWORKS = [name for name in TRAINED if issubclass(method(name), NetworkAugmenter)]


def small(name: str, **settings: Any) -> Augmenter:
    """An augmenter; a length in steps is told each in its own way."""
    chosen = SMALL[name] | settings
    if name == "stylegan2":
        chosen["kimg"] = chosen.pop("steps") * chosen["batch"] / 1000
    return create(name, **chosen)


def trainer_of(name: str) -> type[Any]:
    """The class whose `step` trains it."""
    if name == "stylegan2":
        return StyleGAN2Trainer
    return type(small(name).trainer(two_classes(), unlabelled=None, seed=0, host=Host("cpu")))


def two_classes(count: int = 40, *, size: int = 16, channels: int = 1) -> LabelledImages:
    """Images that are dark on the left (class "left") or on the right ("right"), and noise."""
    draws = np.random.default_rng(0)
    labels = np.arange(count) % 2
    pixels = draws.integers(120, 256, (count, size, size, channels), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        half = slice(size // 2, None) if label else slice(size // 2)
        image[:, half] //= 4
    return LabelledImages(pixels, labels, ("left", "right"), ("CC0-1.0",))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_weights(run / AUGMENTER, kind="augmenter")[0]


def assert_equal(got: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert got.keys() == wanted.keys()
    for name, tensor in got.items():
        assert torch.equal(tensor, wanted[name]), name
