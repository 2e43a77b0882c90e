"""Generative meta curriculum learning: a teacher draws the images by which a student learns to classify real ones.

The teacher is trained through the whole training of the student, see :mod:`hdgan.augmenters.meta_gradient`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdgan.augmenters.base import Shape
from hdgan.augmenters.batches import as_rgb, one_hot, to_pixels
from hdgan.augmenters.classifier import Classifier
from hdgan.augmenters.classifier_networks import StudentNetwork
from hdgan.augmenters.conditional_config import MOST_BETA
from hdgan.augmenters.images import LabelledImages, Pixels
from hdgan.augmenters.meta_gradient import Batch, Flattened, Inner, MetaGradient, State, by_adjoint, by_graph
from hdgan.augmenters.network import NetworkAugmenter
from hdgan.augmenters.normalisation import BatchNorm
from hdgan.augmenters.trainer import SamplerTrainer
from hdgan.augmenters.transforms import CropAndFlip
from hdgan.checks import check_bool, check_choice, check_number
from hdgan.labels import Image
from hdgan.pictures import contact_sheet, write_png
from tiling.errors import InputError
from tiling.progress import note
from tiling.wording import counted
from training.draws import drawing, numpy_draws, torch_draws
from training.host import Host
from training.metrics import Level
from training.share import Share

STUDENT, CURRICULUM = "student.safetensors", "curriculum.png"
_COLUMNS, _MOST_ROWS, _THUMBNAIL = 8, 32, 64  # of the curriculum's picture
_SLOPE = 0.1
_MOST_MOMENTUM = 0.99
_LARGEST_START = 16  # px of the maps that the teacher's linear layers give


@dataclass(frozen=True)
class GMCLConfig:
    """Settings of :class:`GMCL`.

    Attributes
    ----------
    steps, batch
        Outer steps N, each of which trains the student anew or further; real images in one.
    inner_steps, inner_batch
        Steps M of the student on the curriculum, and images in one.
    latent
        Dimensions of z.
    z
        "learned" by the outer steps, "fixed" as first drawn, or "random": new ones for every outer step.
    adaptive
        Whether the rate and the momentum of each inner step are learned, too.
    reset_student
        Whether a fresh student begins in every outer step, as in generative teaching networks (Such et al. 2020); or
        else the one before goes on, after a step on the real batch.
    carry_momentum
        Whether the student's momentum goes on with it; or else is zero at the beginning of every outer step. A student
        that is reset has none.
    rate, momentum
        Of the inner steps, at first.
    outer_rate, outer_beta1, outer_beta2, outer_epsilon
        Of the Adam that trains the teacher, z, rates and momenta.
    mode
        How the meta-gradient is computed: "sqrt" keeps the square root of M states, "reverse" all, "truncated" goes
        back through the last `through` steps only, "plain" by PyTorch's graph of all steps, in one process.
    through
        For "truncated": inner steps, all at most.
    student_width
        Channels of the student's first layer.
    balanced
        Whether real batches show each class as often as any other, as the curriculum does; or else as often as it has
        images.
    parts
        In how many parts a batch goes through the networks (:class:`training.share.Share`); None: one for each process.
    """

    steps: int = 2000
    batch: int = 128
    inner_steps: int = 32
    inner_batch: int = 64
    latent: int = 128
    z: str = "learned"
    adaptive: bool = True
    reset_student: bool = False
    carry_momentum: bool = False
    rate: float = 0.02
    momentum: float = 0.5
    outer_rate: float = 0.02
    outer_beta1: float = 0.9
    outer_beta2: float = 0.9
    outer_epsilon: float = 1e-5
    mode: str = "sqrt"
    through: int = 8
    student_width: int = 64
    balanced: bool = False
    parts: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "inner_steps", "inner_batch", "latent", "through", "student_width"):
            check_number(name, getattr(self, name), 1, 2**31)
        for name in ("rate", "outer_rate", "outer_epsilon"):
            check_number(name, getattr(self, name), 1e-12, 1, whole=False)
        for name in ("outer_beta1", "outer_beta2"):
            check_number(name, getattr(self, name), 0, MOST_BETA, whole=False)
        check_number("momentum", self.momentum, 1e-6, _MOST_MOMENTUM, whole=False)
        check_choice("z", self.z, ("learned", "fixed", "random"))
        check_choice("mode", self.mode, ("sqrt", "reverse", "truncated", "plain"))
        for name in ("adaptive", "reset_student", "carry_momentum"):
            check_bool(name, getattr(self, name))
        if self.parts is not None:
            check_number("parts", self.parts, 1, 2**31)
        if self.mode == "truncated":
            check_number("through", self.through, 1, self.inner_steps)
        if self.reset_student and self.carry_momentum:
            raise InputError("a student that is reset has no momentum to carry: leave reset_student or it out")


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
    """(M, B) int64: each class as often as any other, in every step and over all."""
    return torch.arange(steps * batch).reshape(steps, batch) % classes


class GMCL(NetworkAugmenter):
    """A teacher that gives images by class, and the student that learnt from them: `student.safetensors` of the run."""

    name, settings = "gmcl", GMCLConfig
    config: GMCLConfig

    def build(self, shape: Shape) -> nn.Module:
        """The curriculum."""
        return Curriculum(shape, self.config)

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
        rows = [(step, *each) for step in steps for each in list(zip(*shown[step], strict=True))[:_COLUMNS]]
        return contact_sheet(
            [as_rgb(image) for _, image, _ in rows],
            columns=min(self.config.inner_batch, _COLUMNS),
            captions=[f"{step} {name}" for step, _, name in rows],
            size=max(self.shape.size, _THUMBNAIL),
        )

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
        """An :class:`InputError` for settings that do not go together, or with the classes."""
        config, count = self.config, self._inner.count
        if config.mode == "plain" and self.host.count > 1:
            raise InputError(f"mode plain is for one process, and there are {self.host.count}: take sqrt")
        if config.inner_batch < 2 * count:
            raise InputError(
                f"an inner_batch of {config.inner_batch} in {counted(count, 'part')} has one image in each, and batch "
                f"norm compares two at least: take {2 * count} or more"
            )
        if config.inner_steps * config.inner_batch < self.classes:
            raise InputError(
                f"{counted(config.inner_steps, 'inner step')} of {config.inner_batch} images cannot show "
                f"{self.classes} classes: take more inner_steps, or a larger inner_batch"
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
            curriculum.log_momenta.clamp_(max=math.log(_MOST_MOMENTUM))
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
