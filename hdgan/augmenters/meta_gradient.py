"""The gradient of what a student is worth with respect to all that it was taught, through every step of its training.

A student makes M steps of SGD with momentum on a curriculum: v' = mu v + g(theta, x), theta' = theta - a v'. Its loss
on real data is then differentiated with respect to the curriculum x and to each step's log a and log mu.
Differentiating through a stored graph (:func:`by_graph`) takes memory for the activations of M steps, and of their
gradients. Going back step by step (:func:`by_adjoint`) takes that of one step, and theta and v of some: of the others
they are computed again.

The adjoint, with bars for gradients of the real loss, one step back:
dlog a = -a <theta-bar, v'>; v-bar <- v-bar - a theta-bar; dlog mu = mu <v-bar, v>; theta-bar <- theta-bar + H v-bar and
x-bar = d<g, v-bar>/dx; v-bar <- mu v-bar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

Batch = tuple[Tensor, Tensor]
"""Images x (n, C, H, W) and classes (n, K) or (n,), as the loss takes them."""


class State(NamedTuple):
    """A student in its training: theta and v, (P,) each."""

    theta: Tensor
    v: Tensor


@dataclass(frozen=True)
class Inner:
    """The training of a student on a curriculum.

    Attributes
    ----------
    loss
        Of parameters (P,) on some images, their mean: twice differentiable, and the same for the same arguments.
    curriculum
        The batch of a step, in parts of equal size: those of this process.
    share
        What a part counts in the whole batch: 1 / the number of parts of all processes.
    total
        Sums a tensor over all processes.
    """

    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    curriculum: Callable[[int], Sequence[Batch]]
    share: float = 1.0
    total: Callable[[Tensor], Tensor] = field(default=lambda tensor: tensor)

    def value_and_gradient(self, theta: Tensor, batch: Sequence[Batch]) -> tuple[Tensor, Tensor]:
        """The loss of a batch, a scalar, and its gradient (P,)."""
        theta = theta.detach().requires_grad_()
        value, gradient = theta.new_zeros(()), torch.zeros_like(theta)
        for x, y in batch:
            loss = self.loss(theta, x, y) * self.share
            gradient += torch.autograd.grad(loss, theta)[0]
            value += loss.detach()
        return self.total(value), self.total(gradient)

    def step(self, state: State, batch: Sequence[Batch], rate: float, momentum: float) -> State:
        """The state after a step."""
        _, gradient = self.value_and_gradient(state.theta, batch)
        v = momentum * state.v + gradient
        return State(state.theta - rate * v, v)


@dataclass(frozen=True)
class MetaGradient:
    """What a training was worth, and the gradient of that.

    Attributes
    ----------
    end
        The student after all steps.
    loss
        On the real batch, a scalar.
    of_theta
        The gradient of that loss with respect to the student's parameters at the end, (P,).
    of_log_rates, of_log_momenta
        With respect to the settings of each step, (M,).
    """

    end: State
    loss: Tensor
    of_theta: Tensor
    of_log_rates: Tensor
    of_log_momenta: Tensor


Push = Callable[[int, Sequence[Tensor]], None]
"""Takes the gradient of the loss with respect to the images of a step, part by part."""


def by_adjoint(
    inner: Inner,
    begin: State,
    log_rates: Tensor,
    log_momenta: Tensor,
    real: Sequence[Batch],
    push: Push,
    *,
    keep: int | None = None,
    through: int | None = None,
) -> MetaGradient:
    """The meta-gradient, step by step back from the end.

    Parameters
    ----------
    inner
        How the student is trained.
    begin
        Where it begins.
    log_rates, log_momenta
        (M,): of each step.
    real
        The real batch, in this process's parts.
    push
        Called for each step, the last one first. Its gradients are of this process's images only.
    keep
        States that are kept at a time, about: the others are computed again, all at most once, and so are the batches
        of the curriculum, as many at a time as there are steps from a kept state to the next. None: the square root
        of M, with which the memory for states grows with the root. M keeps all, and computes no state again.
    through
        Steps that gradients go back through; those before get none. None: all.
    """
    count = len(log_rates)
    rates, momenta = log_rates.exp().tolist(), log_momenta.exp().tolist()
    first = 0 if through is None else max(count - through, 0)
    stride = max(math.ceil((count - first) / (keep or math.isqrt(max(count - first - 1, 0)) + 1)), 1)
    kept: dict[int, State] = {}
    state = begin
    for index in range(count):
        if index >= first and (index - first) % stride == 0:
            kept[index] = state
        state = inner.step(state, inner.curriculum(index), rates[index], momenta[index])
    loss, of_theta = inner.value_and_gradient(state.theta, real)
    theta_bar, v_bar = of_theta.clone(), torch.zeros_like(of_theta)
    of_log_rates, of_log_momenta = torch.zeros_like(log_rates), torch.zeros_like(log_momenta)
    for start in sorted(kept, reverse=True):
        between = [kept.pop(start)]
        batches = [inner.curriculum(index) for index in range(start, min(start + stride, count))]
        for index, batch in enumerate(batches[:-1], start):
            between.append(inner.step(between[-1], batch, rates[index], momenta[index]))
        for index in range(start + len(between) - 1, start - 1, -1):
            theta, v = between.pop()
            rate, momentum = rates[index], momenta[index]
            v_bar = v_bar - rate * theta_bar
            gradient, product, of_images = _products(inner, theta, batches.pop(), v_bar)
            of_log_rates[index] = -rate * (theta_bar @ (momentum * v + gradient))
            of_log_momenta[index] = momentum * (v_bar @ v)
            push(index, of_images)
            theta_bar = theta_bar + product
            v_bar = momentum * v_bar
    return MetaGradient(state, loss, of_theta, of_log_rates, of_log_momenta)


def _products(
    inner: Inner, theta: Tensor, batch: Sequence[Batch], v_bar: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """The gradient g of a batch's loss, (P,); and that of <g, v-bar> by theta, (P,), and by the images of each part."""
    theta = theta.detach().requires_grad_()
    gradient, product, of_images = torch.zeros_like(theta), torch.zeros_like(theta), []
    for x, y in batch:
        x = x.detach().requires_grad_()
        loss = inner.loss(theta, x, y) * inner.share
        (g,) = torch.autograd.grad(loss, theta, create_graph=True)
        of_theta, of_x = torch.autograd.grad(g @ v_bar, (theta, x))
        gradient += g.detach()
        product += of_theta
        of_images.append(of_x)
    return inner.total(gradient), inner.total(product), of_images


def by_graph(
    inner: Inner, begin: State, log_rates: Tensor, log_momenta: Tensor, real: Sequence[Batch], push: Push
) -> MetaGradient:
    """The meta-gradient by PyTorch's own differentiation of all steps at once, in one process: what others equal."""
    rates, momenta = (logs.detach().requires_grad_() for logs in (log_rates, log_momenta))
    state = State(begin.theta.detach().requires_grad_(), begin.v)
    images: list[list[Tensor]] = []
    for index in range(len(log_rates)):
        parts = [(x.detach().requires_grad_(), y) for x, y in inner.curriculum(index)]
        images.append([x for x, _ in parts])
        loss = torch.stack([inner.loss(state.theta, x, y) * inner.share for x, y in parts]).sum()
        (gradient,) = torch.autograd.grad(loss, state.theta, create_graph=True)
        v = momenta[index].exp() * state.v + gradient
        state = State(state.theta - rates[index].exp() * v, v)
    real_loss = torch.stack([inner.loss(state.theta, x, y) * inner.share for x, y in real]).sum()
    wanted = [state.theta, rates, momenta, *(x for parts in images for x in parts)]
    of_theta, of_rates, of_momenta, *of_images = torch.autograd.grad(real_loss, wanted)
    found = iter(of_images)
    of_steps = [[next(found) for _ in parts] for parts in images]
    for index in range(len(of_steps) - 1, -1, -1):
        push(index, of_steps[index])
    end = State(state.theta.detach(), state.v.detach())
    return MetaGradient(end, real_loss.detach(), of_theta, of_rates, of_momenta)


class Flattened:
    """The parameters of a module as one vector (P,)."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._shapes = {name: parameter.shape for name, parameter in module.named_parameters()}

    def vector(self) -> Tensor:
        """Their values, a copy."""
        return torch.cat([parameter.detach().flatten() for parameter in self._module.parameters()])

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """The parameters that a vector holds, as views of it."""
        parts = theta.split([shape.numel() for shape in self._shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(self._shapes.items(), parts, strict=True)}

    def call(self, theta: Tensor, *inputs: Tensor) -> Tensor:
        """What the module gives with these parameters in place of its own."""
        outputs: Tensor = functional_call(self._module, self.named(theta), inputs)
        return outputs

    def put(self, theta: Tensor) -> None:
        """Make these the module's own."""
        self._module.load_state_dict(self.named(theta.detach()), strict=False)
