"""Generative meta curriculum learning: a teacher draws the images by which a student learns to classify real ones.

The teacher is trained through the whole training of the student, see :mod:`hdgan.augmenters.meta_gradient`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdgan.augmenters.base import Shape
from hdgan.augmenters.batches import one_hot, to_pixels
from hdgan.augmenters.classifier import Classifier
from hdgan.augmenters.classifier_networks import StudentNetwork
from hdgan.augmenters.gmcl_config import MOST_MOMENTUM, GMCLConfig
from hdgan.augmenters.gmcl_networks import Curriculum
from hdgan.augmenters.images import LabelledImages, Pixels
from hdgan.augmenters.meta_gradient import Batch, Flattened, Inner, MetaGradient, State, by_adjoint, by_graph
from hdgan.augmenters.network import NetworkAugmenter
from hdgan.augmenters.trainer import SamplerTrainer
from hdgan.augmenters.transforms import CropAndFlip
from hdgan.labels import Image
from hdgan.pictures import IMAGES_SHOWN, row_sheet, write_png
from tiling.errors import InputError
from tiling.progress import note
from tiling.wording import counted
from training.draws import drawing, numpy_draws, torch_draws
from training.host import Host
from training.metrics import Level
from training.share import Share

STUDENT, CURRICULUM = "student.safetensors", "curriculum.png"
_MOST_ROWS = 32  # of the curriculum's picture


class GMCL(NetworkAugmenter):
    """A teacher that gives images by class, and the student that learnt from them: `student.safetensors` of the run."""

    name, settings = "gmcl", GMCLConfig
    config: GMCLConfig

    def build(self, shape: Shape) -> nn.Module:
        """The curriculum."""
        return Curriculum(shape, self.config)

    def check(self, images: LabelledImages) -> None:
        """Also whether its curriculum shows every class."""
        super().check(images)
        shown, classes = self.config.inner_steps * self.config.inner_batch, len(images.classes)
        if shown < classes:
            raise InputError(
                f"{counted(self.config.inner_steps, 'inner step')} of {self.config.inner_batch} images cannot show "
                f"{classes} classes: take more inner_steps, or a larger inner_batch"
            )

    def trainer(self, images: LabelledImages, *, unlabelled: Pixels | None, seed: int, host: Host) -> SamplerTrainer:
        """Teacher and student at their beginning."""
        return GMCLTrainer(self.config, images, seed=seed, host=host)

    def finish(self, trainer: SamplerTrainer, run: Path) -> None:
        """Write the student, its batch norm measured on real images, and a picture of what it is shown."""
        assert isinstance(trainer, GMCLTrainer)
        student = Classifier(trainer.deployed_student(), self.shape, trainer.about_student)
        student.licence = self.licence
        student.save(run / STUDENT)
        write_png(run / CURRICULUM, self._curriculum_sheet())

    def _curriculum_sheet(self) -> Image:
        """The first images of each inner step, or of some, a row for each."""
        shown = self.curriculum()
        steps = np.unique(np.linspace(0, len(shown) - 1, _MOST_ROWS).round().astype(int)).tolist()
        rows = [
            (images[:IMAGES_SHOWN], [f"{step} {name}" for name in names[:IMAGES_SHOWN]])
            for step, (images, names) in ((step, shown[step]) for step in steps)
        ]
        return row_sheet(rows, size=self.shape.size)

    def curriculum(self) -> list[tuple[Image, list[str]]]:
        """What the student is shown at each inner step: images (B, H, W, C) uint8, and the names of their classes.

        They are normalised by the batch, as in training. Where z is random, it is one draw of it.
        """
        network = self._fitted()
        assert isinstance(network, Curriculum)
        device, shown = network.log_rates.device, []
        network.train()
        try:
            for step, labels in enumerate(network.labels):
                drawn = torch.randn(len(labels), self.config.latent, generator=torch_draws(0, "curriculum", step))
                z = network.z[step] if len(network.z) else drawn.to(device)
                with torch.no_grad():
                    images = to_pixels(network(z, one_hot(labels, len(self.classes))))
                shown.append((images, [self.classes[label] for label in labels.tolist()]))
        finally:
            network.eval()
        return shown

    def _latents(self, label: int, seed: int, samples: Sequence[int]) -> Tensor:
        """Where z is learned or fixed: between two of those of the class, or the only one."""
        network = self._fitted()
        assert isinstance(network, Curriculum)
        if not len(network.z):
            return super()._latents(label, seed, samples)
        known = network.z.detach().cpu()[network.labels.cpu() == label]
        draws = [numpy_draws(seed, f"samples of class {label}", sample) for sample in samples]
        if len(known) == 1:
            return known.expand(len(samples), -1)
        pairs = np.stack([each.choice(len(known), 2, replace=False) for each in draws])
        turns = torch.tensor([each.uniform(0, math.pi / 2) for each in draws], dtype=known.dtype)[:, None]
        return known[pairs[:, 0]] * turns.cos() + known[pairs[:, 1]] * turns.sin()


class GMCLTrainer(SamplerTrainer):
    """Outer steps: the student learns from the curriculum, and the curriculum from what the student is then worth."""

    def __init__(self, config: GMCLConfig, images: LabelledImages, *, seed: int, host: Host) -> None:
        super().__init__(
            images, batch=config.batch, steps=config.steps, seed=seed, host=host, parts=config.parts,
            transform=CropAndFlip(), balanced=config.balanced,
        )  # fmt: skip
        self.config, self._shape = config, Shape.of(images)
        self.about_student = {"kind": "student", "width": config.student_width}
        self._inner = Share.of(config.inner_batch, host, config.parts)
        self._check()
        with drawing(seed, "weights"):
            self.curriculum = Curriculum(self._shape, config).to(self.device)
        self.student = self._fresh_student(0)
        self._flat = Flattened(self.student)
        self._v = torch.zeros_like(self._flat.vector())
        self.networks = {"curriculum": self.curriculum, "student": self.student}
        learned = [parameter for parameter in self.curriculum.parameters() if parameter.requires_grad]
        betas = (config.outer_beta1, config.outer_beta2)
        self.optimisers = {
            "curriculum": torch.optim.Adam(learned, lr=config.outer_rate, betas=betas, eps=config.outer_epsilon)
        }

    def _check(self) -> None:
        """An :class:`InputError` for settings that do not go together with the number of processes."""
        config, count = self.config, self._inner.count
        if config.mode == "plain" and self.host.count > 1:
            raise InputError(f"mode plain is for one process, and there are {self.host.count}: take sqrt")
        if config.inner_batch < 2 * count:
            raise InputError(
                f"an inner_batch of {config.inner_batch} in {counted(count, 'part')} has one image in each, and batch "
                f"norm compares two at least: take {2 * count} or more"
            )

    def step(self, index: int) -> Mapping[str, float | Tensor]:
        """Train the student on the curriculum, then the curriculum by the loss on real batch `index`."""
        config, curriculum = self.config, self.curriculum
        if config.reset_student and index:
            self.student.load_state_dict(self._fresh_student(index).state_dict())
        self.student.train()
        theta = self._flat.vector()
        begin = State(theta, self._v if config.carry_momentum else torch.zeros_like(theta))
        found = self._meta_gradient(index, begin)
        if config.adaptive:  # summed over the processes already, which the update does for what is not
            curriculum.log_rates.grad = found.of_log_rates / self.host.count
            curriculum.log_momenta.grad = found.of_log_momenta / self.host.count
        rate, momentum = (float(logs.detach()[-1].exp()) for logs in (curriculum.log_rates, curriculum.log_momenta))
        self.update("curriculum")
        with torch.no_grad():
            curriculum.log_momenta.clamp_(max=math.log(MOST_MOMENTUM))
        end = found.end
        if not config.reset_student:
            self._v = momentum * end.v + found.of_theta
            end = State(end.theta - rate * self._v, self._v)
        self._flat.put(end.theta)
        rates, momenta = curriculum.log_rates.detach().exp(), curriculum.log_momenta.detach().exp()
        return {
            "loss_real": found.loss,
            "rate": Level(float(rates.mean())),
            "momentum": Level(float(momenta.mean())),
        }

    def set_precision(self, wanted: str) -> None:
        """Float32 whatever is wanted, as the meta-gradient is exact; a line says so where another is asked for."""
        if wanted == "bf16":
            note("gmcl: computed in float32 and not in bf16, as its gradient goes through all steps of the student")

    def state(self) -> Mapping[str, Any]:
        """Everything that later steps depend on."""
        return {**super().state(), "v": self._v}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state of the same configuration."""
        super().restore(state)
        self._v = state["v"].to(self.device)

    def sampler(self) -> nn.Module:
        """The curriculum; its batch norm is measured on all that the student is shown, whoever computes it."""
        size = len(self._inner.parts[0])
        parts = [range(at, at + size) for at in range(0, self.config.inner_batch, size)]
        asked = (self._asked(0, step, parts) for step in range(self.config.inner_steps))
        return self.settled(self.curriculum, itertools.chain.from_iterable(asked))

    def deployed_student(self) -> StudentNetwork:
        """The student; its batch norm is measured on real images."""
        student = self.settled(self.student, self.shown())
        assert isinstance(student, StudentNetwork)
        return student.cpu()

    def _meta_gradient(self, index: int, begin: State) -> MetaGradient:
        config, curriculum = self.config, self.curriculum
        inner = Inner(
            lambda theta, x, c: F.cross_entropy(self._flat.call(theta, x), c),
            lambda step: self._drawn_by_teacher(index, step),
            share=1 / self.share.count,
            total=self.host.sum,
        )

        def push(step: int, gradients: Sequence[Tensor]) -> None:
            for (z, c), gradient in zip(self._asked(index, step, self._inner.parts), gradients, strict=True):
                curriculum(z, c).backward(gradient)

        settings = curriculum.log_rates.detach(), curriculum.log_momenta.detach()
        given = (inner, begin, *settings, list(self.real(index)), push)
        if config.mode == "plain":
            return by_graph(*given)
        keep = {"sqrt": None, "reverse": config.inner_steps, "truncated": None}[config.mode]
        return by_adjoint(*given, keep=keep, through=config.through if config.mode == "truncated" else None)

    def _asked(self, index: int, step: int, parts: Sequence[range]) -> Iterator[tuple[Tensor, Tensor]]:
        """What the teacher is asked for at an inner step, part by part: z (n, latent), and classes (n, K)."""
        config, curriculum = self.config, self.curriculum
        if config.z == "random":
            draws = torch_draws(self.seed, f"z of inner step {step}", index)
            z = torch.randn(config.inner_batch, config.latent, generator=draws).to(self.device)
        else:
            z = curriculum.z[step]
        c = one_hot(curriculum.labels[step], self.classes)
        for part in parts:
            yield z[part.start : part.stop], c[part.start : part.stop]

    @torch.no_grad()
    def _drawn_by_teacher(self, index: int, step: int) -> list[Batch]:
        return [(self.curriculum(z, c), c) for z, c in self._asked(index, step, self._inner.parts)]

    def _fresh_student(self, index: int) -> StudentNetwork:
        with drawing(self.seed, "student", index):
            return StudentNetwork(self._shape, width=self.config.student_width).to(self.device)
