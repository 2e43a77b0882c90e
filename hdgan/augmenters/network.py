"""Augmenters whose samples come from a network that is trained by steps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from hdgan.augmenters.base import SHEETS, Augmenter, Shape
from hdgan.augmenters.batches import one_hot, to_pixels
from hdgan.augmenters.images import LabelledImages, Pixels
from hdgan.augmenters.trainer import SamplerTrainer
from hdgan.augmenters.work import Task, Work
from hdgan.labels import Image
from hdgan.pictures import CLASSES_SHOWN, IMAGES_SHOWN, row_sheet, write_png
from tiling.errors import InputError
from tiling.progress import note
from tiling.wording import first_few
from training.checkpoint import build_network
from training.draws import sample_draws
from training.host import Host
from training.loop import CHECKPOINTS, LoopConfig, run_loop
from training.metrics import require_tensorboard

_SHEETS = 10  # in the course of a training


class NetworkConfig(Protocol):
    """What the settings of all these methods have."""

    @property
    def steps(self) -> int:
        """Of the training."""

    @property
    def batch(self) -> int:
        """Images in a step, over all processes."""

    @property
    def latent(self) -> int:
        """Dimensions of z."""


class NetworkAugmenter(Augmenter):
    """An augmenter that asks a network for images (n, C, H, W) in [-1, 1] of z (n, latent) and classes (n, K) one-hot.

    A method gives the network and what trains it.
    """

    config: NetworkConfig

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self._network: nn.Module | None = None

    @abstractmethod
    def build(self, shape: Shape) -> nn.Module:
        """The network that samples come from, initialised by PyTorch's own draws."""

    def check(self, images: LabelledImages) -> None:
        """Also its batch, and whether its network makes the images' size."""
        super().check(images)
        images.require_batch(self.config.batch)
        with torch.device("meta"):
            self.build(Shape.of(images))

    @abstractmethod
    def trainer(self, images: LabelledImages, *, unlabelled: Pixels | None, seed: int, host: Host) -> SamplerTrainer:
        """What trains the network, at its beginning."""

    def finish(self, trainer: SamplerTrainer, run: Path) -> None:
        """Write what a method leaves besides the network that samples come from."""

    def _begin(self, task: Task) -> Work:
        return _Training(self, task)

    def to(self, device: torch.device) -> Self:
        """As :meth:`Augmenter.to`."""
        self._fitted().to(device)
        return self

    def _draw(self, label: int, seed: int, samples: Sequence[int]) -> Image:
        network = self._fitted()
        z = self._latents(label, seed, samples)
        c = one_hot(torch.full((len(samples),), label), len(self.classes))
        device = next(network.parameters()).device
        with torch.no_grad():
            return to_pixels(network(z.to(device), c.to(device)))

    def _latents(self, label: int, seed: int, samples: Sequence[int]) -> Tensor:
        """z of some samples of a class, (n, latent) float32 on the CPU."""
        draws = sample_draws(seed, f"samples of class {label}", 0, samples)
        return torch.stack([torch.randn(self.config.latent, generator=each) for each in draws])

    def _fitted(self) -> nn.Module:
        if self._network is None:
            raise InputError(f"this {self.name} augmenter is not fitted: call fit, or load one that was saved")
        return self._network

    def _tensors(self) -> Mapping[str, Tensor]:
        return self._fitted().state_dict()

    def _restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        network = build_network(lambda: self.build(self.shape), tensors, path)
        self._network = network.eval().requires_grad_(False)


class _Training(Work):
    """Started by `torchrun` or `accelerate launch`, processes share every batch."""

    def __init__(self, augmenter: NetworkAugmenter, task: Task) -> None:
        if task.tensorboard:
            require_tensorboard()
        super().__init__(task, Host(task.device))
        self.augmenter, config = augmenter, augmenter.config
        self.trainer = augmenter.trainer(task.labelled, unlabelled=task.unlabelled, seed=task.seed, host=self.host)
        self.trainer.set_precision(task.precision)
        self.settings |= {"seed": task.seed, "parts": self.trainer.share.count}
        self.temporary = task.run / CHECKPOINTS
        self.summary["steps"] = config.steps
        self.loop = LoopConfig(steps=config.steps, picture_every=max(config.steps // _SHEETS, 1), images=config.batch)

    def train(self) -> None:
        name, picture = self.augmenter.name, None
        if self.host.is_main:
            images, config = self.task.labelled, self.augmenter.config
            size = f"{images.shape[0]} px"
            of = first_few([f"{count} {label}" for label, count in images.counts.items()])
            note(f"{name}: training on {len(images)} images ({of}) of {size}, {config.steps} steps of {config.batch}")
            picture = self._picture
        run_loop(
            self.trainer, self.task.run, self.loop, name, picture=picture, host=self.host,
            tensorboard=self.task.tensorboard,
        )  # fmt: skip

    def take_over(self) -> None:
        self.augmenter._network = self.trainer.sampler().cpu()
        self.augmenter.finish(self.trainer, self.task.run)

    def _picture(self, done: int) -> None:
        """Write a contact sheet of the samples as they are now, a row for each class."""
        made, shape = self.augmenter, Shape.of(self.task.labelled)
        made._shape, made._network = shape, self.trainer.sampler()
        rows = [
            (list(made.sample(IMAGES_SHOWN, label, seed=0)), [name] * IMAGES_SHOWN)
            for label, name in enumerate(shape.classes[:CLASSES_SHOWN])
        ]
        write_png(self.task.run / SHEETS / f"step-{done:08d}.png", row_sheet(rows, size=shape.size))
