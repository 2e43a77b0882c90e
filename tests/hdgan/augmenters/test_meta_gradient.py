"""The gradient through a student's training, by the adjoint and by the graph."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from hdgan.augmenters.meta_gradient import Batch, Inner, MetaGradient, State, by_adjoint, by_graph

WIDTH, CLASSES, INPUTS = 5, 3, 4


def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Of a network with a batch norm, whose statistics are the batch's."""
    first, second = theta.split([INPUTS * WIDTH, WIDTH * CLASSES])
    hidden = x.flatten(1) @ first.view(INPUTS, WIDTH)
    hidden = (hidden - hidden.mean(dim=0)) / (hidden.var(dim=0, unbiased=False) + 1e-3).sqrt()
    return cross_entropy(torch.tanh(hidden) @ second.view(WIDTH, CLASSES), y)


class Case:
    def __init__(self, steps: int, parts: int = 1) -> None:
        draws = torch.Generator().manual_seed(steps)
        count = INPUTS * WIDTH + WIDTH * CLASSES

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=draws, dtype=torch.float64)

        def batch() -> list[tuple[Tensor, Tensor]]:
            return [(normal(6, INPUTS), torch.randint(CLASSES, (6,), generator=draws)) for _ in range(parts)]

        batches = [batch() for _ in range(steps)]
        self.inner = Inner(loss, batches.__getitem__, share=1 / parts)
        self.begin = State(normal(count), 0.1 * normal(count))
        self.settings = (0.3 * normal(steps) - 1, 0.3 * normal(steps) - 1)
        self.real = batch()

    def run(self, how, **settings) -> tuple[MetaGradient, dict[int, list[Tensor]]]:
        images: dict[int, list[Tensor]] = {}
        found = how(self.inner, self.begin, *self.settings, self.real, images.__setitem__, **settings)
        return found, images


def flat(result: tuple[MetaGradient, dict[int, list[Tensor]]]) -> Tensor:
    found, images = result
    of_images = [part.flatten() for step in sorted(images) for part in images[step]]
    parts = [*found.end, found.loss[None], found.of_theta, found.of_log_rates, found.of_log_momenta, *of_images]
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("keep", [None, 1, 3, 100])
@pytest.mark.parametrize("steps", [1, 4, 10])
def test_the_adjoint_equals_the_graph(steps: int, keep: int | None, parts: int) -> None:
    case = Case(steps, parts)
    wanted = flat(case.run(by_graph))
    torch.testing.assert_close(flat(case.run(by_adjoint, keep=keep)), wanted, rtol=1e-10, atol=1e-12)


def test_truncated_it_is_that_of_the_last_steps_alone() -> None:
    case = Case(7)
    (whole, of_images), (found, images) = case.run(by_adjoint), case.run(by_adjoint, through=3)
    assert sorted(images) == [4, 5, 6]
    for step in images:
        torch.testing.assert_close(images[step], of_images[step], rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(found.of_log_rates[4:], whole.of_log_rates[4:])
    assert (found.of_log_rates[:4] == 0).all()
    assert torch.equal(found.end.theta, whole.end.theta)


@pytest.mark.parametrize("steps", [1, 2, 9, 16, 33])
def test_few_states_are_held_and_each_step_is_computed_again_once_at_most(steps: int) -> None:
    case, done, alive, most = Case(steps), list[int](), weakref.WeakSet[Tensor](), 0

    class Watched(Inner):
        def step(self, state: State, batch: Sequence[Batch], rate: float, momentum: float) -> State:
            nonlocal most
            done.append(id(batch))
            found = super().step(state, batch, rate, momentum)
            alive.add(found.v)
            most = max(most, len(alive))
            return found

    case.inner = Watched(case.inner.loss, case.inner.curriculum)
    case.run(by_adjoint)
    assert max(map(done.count, done)) <= 2
    assert most <= 2 * steps**0.5 + 3
