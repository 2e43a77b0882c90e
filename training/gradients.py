"""Gradients of gradients in bounded memory and time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

Tensors = tuple[Tensor | None, ...]

# Seen by the threads of the autograd engine, too, which run the backward passes of a GPU: a plain global.
_of_parameters = True


def of_inputs_only() -> AbstractContextManager[None]:
    """Inside, backward passes leave out the gradients of parameters, where the operations can.

    For penalties on the gradient of an input. PyTorch's own operations see which gradients are asked for, those written
    in Python see only which could be.
    """
    return _setting(False)


@contextmanager
def _setting(of_parameters: bool) -> Iterator[None]:
    global _of_parameters
    before, _of_parameters = _of_parameters, of_parameters
    try:
        yield
    finally:
        _of_parameters = before


def of_parameters() -> bool:
    """Whether a backward pass written in Python is to compute the gradients of parameters."""
    return _of_parameters


def recomputed(module: nn.Module, *inputs: Tensor | None) -> Tensors:
    """Call `module`, keeping its inputs alone, and compute it again wherever a gradient needs what is inside.

    Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost", for penalties on gradients, too: the backward
    pass keeps its inputs alone, like the forward pass, and is itself computed again when it is differentiated. The
    checkpoints of PyTorch keep everything in that case.

    Parameters
    ----------
    module
        Deterministic; returns a tuple of tensors or None. Draw random numbers before, and give them as inputs.
    inputs
        Its positional arguments. Tensors that the module reads otherwise, its parameters apart, get no gradient.
    """
    named = dict(module.named_parameters())
    names, parameters = list(named), list(named.values())

    def run(tensors: Sequence[Tensor | None]) -> Tensors:
        given, own = tensors[: len(inputs)], tensors[len(inputs) :]
        outputs: Tensors = functional_call(module, dict(zip(names, own, strict=True)), tuple(given))  # type: ignore[arg-type]
        return outputs

    outputs: Tensors = _Run.apply(run, len(inputs), *inputs, *parameters)  # type: ignore[no-untyped-call]
    return outputs


_Function = Callable[[Sequence[Tensor | None]], Tensors]


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: _Function, inputs: int, *tensors: Tensor | None) -> Tensors:
        ctx.save_for_backward(*tensors)
        ctx.run, ctx.inputs = run, inputs
        ctx.set_materialize_grads(False)
        return run(tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Tensors:
        wanted = list(ctx.needs_input_grad[2:])
        if not _of_parameters:
            wanted[ctx.inputs :] = [False] * (len(wanted) - ctx.inputs)
        found = _Gradient.apply(ctx.run, wanted, len(gradients), *gradients, *ctx.saved_tensors)  # type: ignore[no-untyped-call]
        return None, None, *found


class _Gradient(torch.autograd.Function):
    """The backward pass of :class:`_Run`: gradients of the outputs, and the tensors, to gradients of the tensors."""

    @staticmethod
    def forward(ctx: Any, run: _Function, wanted: list[bool], count: int, *tensors: Tensor | None) -> Tensors:
        ctx.save_for_backward(*tensors)
        ctx.run, ctx.wanted, ctx.count, ctx.of_parameters = run, wanted, count, _of_parameters
        ctx.set_materialize_grads(False)
        leaves = [*tensors[:count], *_leaves(tensors[count:], wanted)]
        return _differentiate(run, leaves, count, wanted, create_graph=False)

    @staticmethod
    def backward(ctx: Any, *seconds: Tensor | None) -> Tensors:
        count, needed = ctx.count, ctx.needs_input_grad[3:]
        of_either = [a or b for a, b in zip(needed, [False] * count + ctx.wanted, strict=True)]
        leaves = _leaves(ctx.saved_tensors, of_either)
        with _setting(ctx.of_parameters):
            firsts = _differentiate(ctx.run, leaves, count, ctx.wanted, create_graph=True)
        pairs = [(f, s) for f, s in zip(firsts, seconds, strict=True) if f is not None and s is not None]
        pairs = [(f, s) for f, s in pairs if f.requires_grad]
        sought = [leaf for leaf, asked in zip(leaves, needed, strict=True) if asked and leaf is not None]
        found: Iterator[Tensor | None] = iter(())
        if pairs and sought:
            outputs, gradients = zip(*pairs, strict=True)
            found = iter(torch.autograd.grad(outputs, sought, gradients, allow_unused=True))
        of_leaves = (
            next(found, None) if asked and leaf is not None else None
            for leaf, asked in zip(leaves, needed, strict=True)
        )
        return None, None, None, *of_leaves


def _leaves(tensors: Sequence[Tensor | None], wanted: Sequence[bool]) -> list[Tensor | None]:
    """The same values as the beginning of a new graph."""
    return [
        None if tensor is None else tensor.detach().requires_grad_(asked)
        for tensor, asked in zip(tensors, wanted, strict=True)
    ]


def _differentiate(
    run: _Function, leaves: Sequence[Tensor | None], count: int, wanted: Sequence[bool], *, create_graph: bool
) -> Tensors:
    """Gradients of the wanted tensors among `leaves[count:]`, with those of the outputs in `leaves[:count]`."""
    gradients, tensors = leaves[:count], leaves[count:]
    with torch.enable_grad():
        outputs = run(tensors)
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if o is not None and g is not None]
        pairs = [(o, g) for o, g in pairs if o.requires_grad]  # an output may depend on nothing that is wanted
        sought = [tensor for tensor, asked in zip(tensors, wanted, strict=True) if asked and tensor is not None]
        if not pairs or not sought:
            return (None,) * len(tensors)
        found = iter(
            torch.autograd.grad(
                [o for o, _ in pairs], sought, [g for _, g in pairs], create_graph=create_graph, allow_unused=True
            )
        )
    return tuple(
        next(found) if asked and tensor is not None else None for tensor, asked in zip(tensors, wanted, strict=True)
    )
