"""StyleGAN2-ADA (Karras et al. 2020a, 2020b) told the class: :mod:`hdgan.stylegan2` as an augmenter."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from hdgan.augmenters.base import SHEETS, Augmenter
from hdgan.augmenters.batches import as_rgb
from hdgan.augmenters.images import LEAST, LabelledImages
from hdgan.augmenters.work import Task, Work
from hdgan.checks import check_bool, check_choice, check_number
from hdgan.conditions import Conditions, classes_of
from hdgan.labels import Image
from hdgan.latents import MAX_PSI, Latents
from hdgan.stylegan2 import PRESETS, Generator, Rendered, TrainConfig, load_generator, train, train_config
from hdgan.stylegan2.augment_draws import PRESETS as AUGMENTATIONS
from hdgan.stylegan2.execution import Execution
from hdgan.stylegan2.sheets import SHEETS as SHEETS_OF_TRAINING
from hdgan.stylegan2.trainer import build_networks
from tiling.errors import InputError
from training.checkpoint import build_network
from training.draws import numpy_draws
from training.metrics import METRICS, TENSORBOARD, require_tensorboard

TRAINING = "training"
_CLASS = "class"
_SHEETS = 10  # in the course of a training
_LEAST_KIMG = 1e-3
_SEEDS = 2**32  # that latents have


@dataclass(frozen=True)
class StyleGAN2Config:
    """Settings of :class:`StyleGAN2`.

    Attributes
    ----------
    preset
        Of `hdgan train --preset`: the networks and their training (:data:`hdgan.stylegan2.PRESETS`).
    kimg
        Length, in thousands of images shown. The papers' are 25,000.
    batch
        Images in a step; None: the preset's, or what the automatic rule gives one GPU.
    augment
        What adaptive augmentation does to images that the discriminator sees; "bgc" is the paper's.
    turn, mirror
        Whether images are shown in all eight orientations; or, without that, in two. Samples have them, too.
    psi
        Truncation of samples. Less than 1 draws them towards the mean of all classes, not of their own.
    """

    preset: str = "auto"
    kimg: float = 1000
    batch: int | None = None
    augment: str = "bgc"
    turn: bool = False
    mirror: bool = False
    psi: float = 1.0

    def __post_init__(self) -> None:
        check_choice("preset", self.preset, tuple(PRESETS))
        check_choice("augment", self.augment, tuple(AUGMENTATIONS))
        if self.batch is not None:
            check_number("batch", self.batch, 1, 2**31)
        check_number("kimg", self.kimg, _LEAST_KIMG, 1e9, whole=False)
        check_number("psi", self.psi, 0, MAX_PSI, whole=False)
        check_bool("turn", self.turn)
        check_bool("mirror", self.mirror)
        self.of_training(LEAST)

    def of_training(self, size: int, *, classes: int = 0, seed: int = 0) -> TrainConfig:
        """Those of a training on images of an edge, px; an :class:`InputError` for what it does not take."""
        return train_config(
            self.preset, resolution=1 << (size - 1).bit_length(), kimg=self.kimg, batch=self.batch,
            augment=self.augment, turn=self.turn, mirror=self.mirror, c_dim=classes, seed=seed,
        )  # fmt: skip


@dataclass(frozen=True)
class FramedImages:
    """Labelled images as tiles: in RGB, mirrored outwards on all sides to the next power of two.

    No pixel is resampled, so that samples have the images' own sharpness; what is around the middle is cut off them.
    """

    images: LabelledImages
    resolution: int

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> Image:
        """An image, (R, R, 3) uint8."""
        image = as_rgb(self.images.pixels[np.array([index])][0])
        before, after = _frame(len(image), self.resolution)
        return np.pad(image, [(before, after), (before, after), (0, 0)], mode="reflect")

    def labels(self, name: str) -> list[str | None]:
        """The class of every image, whatever it is asked for as."""
        return [self.images.classes[label] for label in self.images.labels]


@dataclass(frozen=True)
class _Named:
    """A tile of each class."""

    classes: Sequence[str]

    def labels(self, name: str) -> list[str | None]:
        return list(self.classes)


class StyleGAN2(Augmenter):
    """A generator that :func:`hdgan.stylegan2.train` trains, with the class as its condition."""

    name, settings = "stylegan2", StyleGAN2Config
    config: StyleGAN2Config

    def __init__(self, config: StyleGAN2Config) -> None:
        super().__init__(config)
        self._generator: Generator | None = None

    def check(self, images: LabelledImages) -> None:
        """Also its batch."""
        super().check(images)
        images.require_batch(self.config.of_training(images.shape[0]).batch)

    def _begin(self, task: Task) -> Work:
        return _GeneratorTraining(self, task)

    def to(self, device: torch.device) -> Self:
        """As :meth:`Augmenter.to`."""
        self._fitted().to(device)
        return self

    def _draw(self, label: int, seed: int, samples: Sequence[int]) -> Image:
        generator = self._fitted()
        first = int(numpy_draws(seed, f"samples of class {label}").integers(_SEEDS))
        seeds = [(first + sample) % _SEEDS for sample in samples]
        c = Conditions.of(generator).of_seeds(seeds, self.classes[label])
        latents = Latents.sample(generator, seeds, psi=self.config.psi, c=c, noise="random")
        before, _ = _frame(self.shape.size, generator.resolution)
        middle = slice(before, before + self.shape.size)
        images = np.stack([image[middle, middle] for image in Rendered(generator, latents)])
        return images if self.shape.channels == 3 else _as_grey(images)

    def _fitted(self) -> Generator:
        if self._generator is None:
            raise InputError(f"this {self.name} augmenter is not fitted: call fit, or load one that was saved")
        return self._generator

    def _tensors(self) -> Mapping[str, Tensor]:
        return self._fitted().state_dict()

    def _restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        config = self.config.of_training(self.shape.size, classes=len(self.classes))
        generator = build_network(lambda: build_networks(config)[0], tensors, path)
        conditions, _ = classes_of(_Named(self.classes), [_CLASS], range(len(self.classes)))
        generator.classes = dict(conditions.counts)
        self._generator = generator.eval().requires_grad_(False)


class _GeneratorTraining(Work):
    """In `training/`, the run folder of the generator's training: losses and contact sheets are there until it ends.

    Started by `torchrun` or `accelerate launch`, processes share every batch. Classes are shown as often as they have
    images.
    """

    def __init__(self, augmenter: StyleGAN2, task: Task) -> None:
        if task.tensorboard:
            require_tensorboard()
        self.augmenter, self.execution = augmenter, Execution(task.device, task.precision)
        super().__init__(task, self.execution.host())
        self.config = augmenter.config.of_training(task.labelled.shape[0], seed=task.seed)
        self.settings["seed"], self.summary["kimg"] = task.seed, augmenter.config.kimg
        self.temporary = task.run / TRAINING
        self.execution.cut(self.config.batch, self.config.mbstd_group, self.host)  # refuses what cannot be shared

    def train(self) -> None:
        self.trained = train(
            FramedImages(self.task.labelled, self.config.resolution), self.task.run / TRAINING, self.config,
            condition=[_CLASS], sheet_kimg=max(self.augmenter.config.kimg / _SHEETS, _LEAST_KIMG),
            tensorboard=self.task.tensorboard, execution=self.execution, inputs=self.task.inputs,
        )  # fmt: skip

    def take_over(self) -> None:
        run = self.task.run
        self.augmenter._generator = load_generator(self.trained)
        shutil.copyfile(run / TRAINING / METRICS, run / METRICS)
        for made, name in ((SHEETS_OF_TRAINING, SHEETS), (TENSORBOARD, TENSORBOARD)):
            if (run / TRAINING / made).exists():
                shutil.copytree(run / TRAINING / made, run / name, dirs_exist_ok=True)


def _frame(size: int, resolution: int) -> tuple[int, int]:
    """Pixels before and after an image in the middle of a larger one."""
    before = (resolution - size) // 2
    return before, resolution - size - before


def _as_grey(images: Image) -> Image:
    """Images (N, H, W, 3) uint8 as (N, H, W, 1): the mean of their colours."""
    grey: Image = images.mean(axis=3, keepdims=True).round().astype(np.uint8)
    return grey
