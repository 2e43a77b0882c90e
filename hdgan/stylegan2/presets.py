"""What to train: the settings, and named sets of them as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from hdgan.stylegan2.augment_draws import PRESETS as AUGMENTATIONS
from hdgan.stylegan2.layout import Architecture
from tiling.errors import InputError

LEAST_RESOLUTION = 8  # px
_LARGEST_GROUP = 4
_KIMG = 25000
_LARGEST_NUMBER = 1e12  # above every sensible setting, and no product of two settings overflows


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training, besides the tiles.

    Lengths are in thousands of images (kimg) shown to the discriminator. :func:`train_config` fills in what the
    automatic rule of StyleGAN2-ADA gives for the resolution and batch.
    """

    resolution: int
    kimg: float
    batch: int
    learning_rate: float
    gamma: float
    ema_kimg: float
    channel_base: int
    mbstd_group: int
    z_dim: int = 512
    w_dim: int = 512
    channel_max: int = 512
    mapping_layers: int = 2
    conv_clamp: float | None = 256
    generator_architecture: Architecture = "skip"
    discriminator_architecture: Architecture = "resnet"
    ema_rampup: float | None = 0.05
    path_length_weight: float = 2.0
    style_mixing: float = 0.9
    r1_interval: int = 16
    path_length_interval: int = 4
    augment: str = "histology"
    ada_target: float = 0.6
    ada_kimg: float = 500
    turn: bool = True
    mirror: bool = False
    crop: int | None = None
    c_dim: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for name in (setting.name for setting in fields(self)):
            value = getattr(self, name)
            if isinstance(value, float) and not abs(value) <= _LARGEST_NUMBER:
                raise InputError(f"{name} must be a finite number of at most {_LARGEST_NUMBER:g}, not {value}")
        for name in ("kimg", "batch", "learning_rate", "ada_kimg", "r1_interval", "path_length_interval"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")
        for name in ("gamma", "ema_kimg", "path_length_weight"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name} must not be negative: {getattr(self, name)}")
        for name in ("style_mixing", "ada_target"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be between 0 and 1, not {getattr(self, name)}")
        size = self.resolution
        if size < LEAST_RESOLUTION or size & (size - 1):
            raise InputError(f"resolution must be a power of two of at least {LEAST_RESOLUTION}, not {size}")
        if self.augment not in AUGMENTATIONS:
            raise InputError(f"unknown augmentation {self.augment!r}; there are: {', '.join(AUGMENTATIONS)}")
        if self.crop is not None and self.crop < self.resolution:
            raise InputError(f"crop must be at least the resolution, {self.resolution} px, not {self.crop}")
        group = min(self.mbstd_group, self.batch)
        if group > 1 and self.batch % group:
            raise InputError(f"batch {self.batch} is not a multiple of mbstd_group {group}")

    @property
    def steps(self) -> int:
        """Training iterations."""
        return math.ceil(round(self.kimg * 1000 / self.batch, 6))  # 8.06 kimg are 2015 steps of 4, not 2016


def _paper(**settings: Any) -> Mapping[str, Any]:
    return {"mapping_layers": 8, "ema_rampup": None, **settings}


PRESETS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "auto": {},
        # Karras et al. 2020a, configuration F, and Karras et al. 2020b, appendix D, at the resolutions of their names.
        "stylegan2": _paper(batch=32, mbstd_group=4, channel_base=32768, learning_rate=0.002, gamma=10, ema_kimg=10),
        "paper256": _paper(batch=64, mbstd_group=8, channel_base=16384, learning_rate=0.0025, gamma=1, ema_kimg=20),
        "paper512": _paper(batch=64, mbstd_group=8, channel_base=32768, learning_rate=0.0025, gamma=0.5, ema_kimg=20),
        "paper1024": _paper(batch=32, mbstd_group=4, channel_base=32768, learning_rate=0.002, gamma=2, ema_kimg=10),
        # Rizvi et al. 2022: the automatic rule on four GPUs, mirrored tiles, colours augmented, 2.6 million images.
        "hdgan4096": {
            "kimg": 2600,
            "batch": 4,
            "mbstd_group": 1,
            "channel_base": 32768,
            "learning_rate": 0.002,
            "gamma": 0.0002 * 4096**2 / 4,
            "ema_kimg": 1.25,
            "augment": "color",
            "turn": False,
            "mirror": True,
        },
        # For CPUs: narrow networks at 64 to 128 px. Neither path length nor style mixing, which Karras et al. 2020b
        # left out too for images as small as these.
        "small": {
            "batch": 8,
            "path_length_weight": 0.0,
            "style_mixing": 0.0,
            "z_dim": 128,
            "w_dim": 128,
            "channel_base": 2048,
            "channel_max": 128,
            "conv_clamp": None,
        },
        # For tests: minutes become seconds.
        "tiny": {
            "batch": 4,
            "z_dim": 32,
            "w_dim": 32,
            "channel_base": 512,
            "channel_max": 32,
            "conv_clamp": None,
            "ada_kimg": 100,
        },
    }
)
"""What each preset sets; everything else follows the automatic rule."""


def train_config(
    preset: str, *, resolution: int, kimg: float | None = None, processes: int = 1, **settings: Any
) -> TrainConfig:
    """Settings of a preset, completed by the automatic rule of StyleGAN2-ADA, overridden by `settings`.

    The rule (Karras et al. 2020b, published configuration `auto`): for each of the `processes`, that is of the GPUs,
    min(4096 / res, 32) images a step, 64 in all at most, but two at least; gamma = 0.0002 res^2 / batch, and so on.
    Groups of the minibatch deviation are the rule's min(images of a process, 4), or as many fewer as divide them.
    Settings that are None are taken as not given. A length that neither preset nor caller gives is 25,000 kimg.
    """
    if preset not in PRESETS:
        raise InputError(f"unknown preset {preset!r}; there are: {', '.join(PRESETS)}")
    chosen = dict(PRESETS[preset]) | {name: value for name, value in settings.items() if value is not None}
    kimg = chosen.get("kimg", _KIMG) if kimg is None else kimg
    automatic = max(min(processes * min(4096 // resolution, 32), 64), processes, 2)
    batch = chosen.setdefault("batch", automatic - automatic % processes)
    if batch < 1:
        raise InputError(f"batch must be above 0, not {batch}")
    share = max(batch // processes, 1)
    chosen.setdefault("mbstd_group", max(group for group in range(1, _LARGEST_GROUP + 1) if share % group == 0))
    chosen.setdefault("channel_base", 16384 if resolution < 512 else 32768)
    chosen.setdefault("learning_rate", 0.002 if resolution >= 1024 else 0.0025)
    chosen.setdefault("gamma", 0.0002 * resolution**2 / batch)
    chosen.setdefault("ema_kimg", batch * 10 / 32)
    chosen.pop("kimg", None)
    return TrainConfig(resolution=resolution, kimg=kimg, **chosen)
