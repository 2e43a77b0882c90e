"""GMCL: the gradient through its own networks, the steps of its student, and what is left of both."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_augmenters import SMALL, small, two_classes
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from hdgan.augmenters import LabelledImages, load
from hdgan.augmenters.base import AUGMENTER, Shape
from hdgan.augmenters.classifier import Classifier
from hdgan.augmenters.classifier_networks import StudentNetwork
from hdgan.augmenters.gmcl import GMCL, STUDENT, GMCLTrainer
from hdgan.augmenters.gmcl_config import GMCLConfig
from hdgan.augmenters.gmcl_networks import Curriculum, Teacher
from hdgan.augmenters.meta_gradient import State
from tiling.errors import InputError
from training.host import Host


class InDouble(GMCLTrainer):
    """In float64, so that what is the same in exact arithmetic differs by 1e-10 at most."""

    def __init__(self, seed: int = 0, host: Host | None = None, **settings: Any) -> None:
        config = GMCLConfig(**SMALL["gmcl"] | {"inner_batch": 4, "batch": 4, "student_width": 2} | settings)
        super().__init__(config, two_classes(), seed=seed, host=host or Host("cpu"))
        self.curriculum.double()
        self.student.double()
        self._v = self._v.double()

    def real(self, index: int) -> Iterator[tuple[Tensor, Tensor]]:
        return ((x.double(), c.double()) for x, c in super().real(index))

    def _asked(self, *of: Any) -> Iterator[tuple[Tensor, Tensor]]:
        return ((z.double(), c.double()) for z, c in super()._asked(*of))

    def _fresh_student(self, index: int) -> StudentNetwork:
        return super()._fresh_student(index).double()


def everything(trainer: GMCLTrainer) -> dict[str, Tensor]:
    """All that later steps depend on, the optimiser aside."""
    learned = {name: parameter.detach().clone() for name, parameter in trainer.curriculum.named_parameters()}
    return {**learned, "theta": trainer._flat.vector(), "v": trainer._v}


def after(steps: int = 2, **settings: Any) -> dict[str, Tensor]:
    trainer = InDouble(**settings)
    for index in range(steps):
        trainer.step(index)
    return everything(trainer)


def assert_close(got: dict[str, Tensor], wanted: dict[str, Tensor], tolerance: float = 1e-10) -> None:
    """Each, by its norm."""
    for name, tensor in wanted.items():
        assert float((got[name] - tensor).norm()) <= tolerance * float(tensor.norm()), name


def meta_gradient(mode: str, **settings: Any) -> dict[str, Tensor]:
    """With respect to each, of a student that has a momentum and steps of unequal settings."""
    trainer = InDouble(mode=mode, **settings)
    curriculum, draws = trainer.curriculum, torch.Generator().manual_seed(0)
    with torch.no_grad():
        for logs in (curriculum.log_rates, curriculum.log_momenta):
            logs += 0.1 * torch.randn(logs.shape, generator=draws)
    theta = trainer._flat.vector()
    found = trainer._meta_gradient(0, State(theta, 0.1 * torch.randn(theta.shape, generator=draws).double()))
    return {
        "of_student": found.of_theta,
        "of_log_rates": found.of_log_rates,
        "of_log_momenta": found.of_log_momenta,
        "of_z": curriculum.z.grad,
        "of_teacher": torch.cat([p.grad.flatten() for p in curriculum.teacher.parameters()]),
    }


@pytest.mark.parametrize(("steps", "parts"), [(1, 1), (4, 1), (10, 1), (4, 2)])
def test_the_meta_gradient_through_teacher_and_student_is_that_of_the_graph(steps: int, parts: int) -> None:
    by_adjoint, by_graph = (meta_gradient(mode, inner_steps=steps, parts=parts) for mode in ("sqrt", "plain"))
    assert all(float(gradient.norm()) > 0 for gradient in by_graph.values())
    assert_close(by_adjoint, by_graph)


@pytest.mark.parametrize("settings", [{"parts": 2, "carry_momentum": True}, {"z": "random", "reset_student": True}])
def test_ways_to_compute_it_train_the_same(settings: dict[str, Any]) -> None:
    plain = after(mode="plain", **settings)
    for mode in ("sqrt", "reverse", "truncated"):  # truncated where it begins
        assert_close(after(mode=mode, through=3, **settings), plain, 1e-9)


def test_truncated_after_fewer_steps_it_trains_otherwise() -> None:
    whole, truncated = after(1), after(1, mode="truncated", through=1)
    assert torch.equal(truncated["theta"], whole["theta"])  # the student's own steps are the same
    assert not torch.equal(truncated["teacher.begin.0.weight"], whole["teacher.begin.0.weight"])
    start = InDouble().curriculum
    moved = (truncated["z"] != start.z).flatten(1).any(dim=1)
    assert moved.tolist() == [False, False, True]


def test_plain_is_refused_in_several_processes() -> None:
    host = Host("cpu")
    host.count = 2
    with pytest.raises(InputError, match="mode plain is for one process, and there are 2: take sqrt"):
        InDouble(mode="plain", host=host)
    InDouble(mode="sqrt", host=host)


def by_hand(student: nn.Module, trainer: InDouble, index: int, v: Tensor | None) -> tuple[Tensor, Tensor]:
    """Theta and v that PyTorch's own SGD comes to on the trainer's curriculum, and by a step on real images."""
    curriculum, config = trainer.curriculum, trainer.config
    sgd = torch.optim.SGD(student.parameters(), lr=1.0, momentum=0.5)
    if v is not None:
        for parameter, part in zip(
            student.parameters(), v.split([p.numel() for p in student.parameters()]), strict=True
        ):
            sgd.state[parameter]["momentum_buffer"] = part.view_as(parameter).clone()

    def step(at: int, x: Tensor, c: Tensor) -> None:
        settings = sgd.param_groups[0]
        settings["lr"], settings["momentum"] = (
            float(logs.detach()[at].exp()) for logs in (curriculum.log_rates, curriculum.log_momenta)
        )
        sgd.zero_grad()
        cross_entropy(student(x), c).backward()
        sgd.step()

    for inner in range(config.inner_steps):
        ((z, c),) = trainer._asked(index, inner, [range(config.inner_batch)])
        step(inner, curriculum(z, c).detach(), c)
    if not config.reset_student:
        step(-1, *next(iter(trainer.real(index))))
    parameters = list(student.parameters())
    theta = torch.cat([p.detach().flatten() for p in parameters])
    return theta, torch.cat([sgd.state[p]["momentum_buffer"].flatten() for p in parameters])


@pytest.mark.parametrize("carry", [False, True])
def test_the_student_goes_on_by_sgd_on_the_curriculum_and_on_real_images(carry: bool) -> None:
    trainer = InDouble(carry_momentum=carry)
    v = None
    for index in range(3):
        wanted = by_hand(copy.deepcopy(trainer.student), trainer, index, v if carry else None)
        trainer.step(index)
        assert_close({"theta": trainer._flat.vector(), "v": trainer._v}, dict(zip(("theta", "v"), wanted, strict=True)))
        v = trainer._v


def test_a_student_that_is_reset_begins_afresh_whatever_was_before() -> None:
    trainer = InDouble(reset_student=True)
    begun = [trainer._fresh_student(index) for index in range(2)]
    assert not torch.equal(begun[0].head.weight, begun[1].head.weight)
    trainer.step(0)
    with torch.no_grad():
        for parameter in trainer.student.parameters():
            parameter += 1
    wanted, _ = by_hand(begun[1], trainer, 1, None)
    trainer.step(1)
    assert_close({"theta": trainer._flat.vector()}, {"theta": wanted})


def test_z_is_learned_or_as_it_was_drawn_or_new_in_every_outer_step() -> None:
    drawn = InDouble().curriculum.z
    assert (after(1)["z"] != drawn).any()
    assert torch.equal(after(1, z="fixed")["z"], drawn)
    random = InDouble(z="random")
    assert random.curriculum.z.shape == (0, 4, 4)
    asked = [next(random._asked(index, step, [range(4)]))[0] for index, step in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert torch.equal(asked[0], asked[3])
    assert not torch.equal(asked[0], asked[1])
    assert not torch.equal(asked[0], asked[2])


def test_rates_and_momenta_move_only_where_they_are_adaptive() -> None:
    start, moved, kept = InDouble().curriculum.state_dict(), after(1), after(1, adaptive=False)
    for name in ("log_rates", "log_momenta"):
        assert torch.equal(kept[name], start[name])
        assert (moved[name] != start[name]).any()
    assert moved["log_momenta"][0] == start["log_momenta"][0]  # v is zero before the first step


def test_momenta_stay_below_one() -> None:
    trainer = InDouble()
    with torch.no_grad():
        trainer.curriculum.log_momenta.fill_(0.5)
    trainer.step(0)
    assert trainer.curriculum.log_momenta.detach().exp().numpy() == pytest.approx(0.99)


@pytest.mark.parametrize(("size", "edge"), [(16, 4), (28, 7), (32, 8), (64, 16), (128, 16), (224, 14)])
def test_a_teacher_draws_images_of_every_size(size: int, edge: int) -> None:
    with torch.device("meta"):
        teacher = Teacher(Shape(size, 3, ("a", "b")), 8)
        assert teacher(torch.randn(5, 8), torch.randn(5, 2)).shape == (5, 3, size, size)
    assert teacher.edge == edge


def test_a_teacher_draws_no_images_of_other_sizes() -> None:
    with pytest.raises(InputError, match="GMCL makes images whose edge is a multiple of 4 px, not 30 px"):
        Teacher(Shape(30, 1, ("a", "b")), 8)


def test_teacher_and_student_are_of_the_specified_size() -> None:
    shape = Shape(32, 3, ("a", "b", "c", "d"))
    with torch.device("meta"):
        curriculum, student = Curriculum(shape, GMCLConfig()), StudentNetwork(shape)
    layers = [tuple(layer.weight.shape) for layer in curriculum.teacher.modules() if hasattr(layer, "weight")]
    assert layers == [
        (1024, 132), (1024,), (8192, 1024), (8192,), (64, 128, 3, 3), (64,), (3, 64, 3, 3)
    ]  # fmt: skip
    assert curriculum.z.shape == (32, 64, 128)
    convolutions = [layer.weight.shape[:2] for layer in student.modules() if isinstance(layer, nn.Conv2d)]
    assert convolutions == [(64, 3), (128, 64), (128, 128), (256, 128), (256, 256)]


@pytest.mark.parametrize("z", ["learned", "random"])
def test_what_the_student_was_shown_can_be_looked_at(z: str, tmp_path: Path) -> None:
    small("gmcl", steps=1, z=z).fit(two_classes(), run=tmp_path)
    fitted = load(tmp_path / AUGMENTER)
    assert isinstance(fitted, GMCL)
    shown = fitted.curriculum()
    assert len(shown) == 3
    for images, labels in shown:
        assert (images.shape, images.dtype) == ((8, 16, 16, 1), np.uint8)
        assert (labels.count("left"), labels.count("right")) == (4, 4)
    assert (shown[0][0] != shown[1][0]).any()
    np.testing.assert_array_equal(fitted.curriculum()[0][0], shown[0][0])


def test_the_student_is_a_classifier_normalised_by_what_it_sees_of_real_images(tmp_path: Path) -> None:
    augmenter, images = small("gmcl", steps=2), two_classes()
    augmenter.fit(images, run=tmp_path)
    student = Classifier.load(tmp_path / STUDENT)
    assert (student.shape, student.licence) == (Shape.of(images), images.licence)
    chances = student.predict(images.pixels)
    assert chances.shape == (40, 2)
    np.testing.assert_allclose(student.predict(images.pixels[:1]), chances[:1], atol=1e-5)
    trainer = augmenter.trainer(images, unlabelled=None, seed=0, host=Host("cpu"))
    network = student.network
    assert isinstance(network, StudentNetwork)
    convolution, norm = network.stages[:2]
    seen = torch.cat([convolution(shown) for (shown,) in trainer.shown()])
    torch.testing.assert_close(norm.mean, seen.mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(norm.variance, seen.var(dim=(0, 2, 3), unbiased=False), rtol=1e-4, atol=1e-5)


def test_a_sample_is_between_two_different_z_of_its_class(tmp_path: Path) -> None:
    augmenter = small("gmcl", steps=1, z="fixed", inner_steps=1, inner_batch=4, latent=512)
    augmenter.fit(two_classes(), run=tmp_path)
    assert isinstance(augmenter, GMCL)
    network = augmenter._fitted()
    assert isinstance(network, Curriculum)
    known = network.z[network.labels == 1]
    found = augmenter._latents(1, 0, range(20))
    weights = torch.linalg.lstsq(known.T, found.T).solution.T  # (20, 2): of each of the two
    torch.testing.assert_close(weights @ known, found, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(weights.square().sum(dim=1), torch.ones(20))


def test_of_a_class_with_one_z_samples_are_that(tmp_path: Path) -> None:
    augmenter = small("gmcl", steps=1, inner_steps=1, inner_batch=2)
    augmenter.fit(two_classes(), run=tmp_path)
    samples = augmenter.sample(3, "left", seed=0)
    np.testing.assert_array_equal(samples[0], samples[2])


def test_settings_with_which_nothing_can_be_learned_are_refused_first(tmp_path: Path) -> None:
    images = two_classes()
    with pytest.raises(InputError, match=r"inner_batch of 1 in 1 part has one image .*: take 2 or more"):
        small("gmcl", inner_batch=1).fit(images, run=tmp_path / "run")
    with pytest.raises(InputError, match=r"inner_batch of 2 in 2 parts has one image .*: take 4 or more"):
        small("gmcl", inner_batch=2, parts=2).fit(images, run=tmp_path / "run")
    many = LabelledImages(images.pixels, np.arange(40) % 20, tuple("abcdefghijklmnopqrst"))
    with pytest.raises(InputError, match="2 inner steps of 4 images cannot show 20 classes: take more inner_steps"):
        small("gmcl", inner_steps=2, inner_batch=4).fit(many, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()
