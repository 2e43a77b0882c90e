"""Linear maps of images, differentiable any number of times without keeping anything of the forward pass.

R1 differentiates the gradient of the augmented image. PyTorch's own double backward keeps every intermediate image,
takes several hundred small convolutions for a depthwise one, and for bilinear sampling exists only in recent versions.
But the derivative of a linear map is its transpose, wherever it is taken, and the derivative of the transpose is the
map again: nothing needs remembering, and a single derivative of each operation is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

LinearMap = Callable[[Tensor], Tensor]


def apply_linear(images: Tensor, linear: LinearMap) -> Tensor:
    """Return `linear(images)`, computed in the type of `images` whatever autocast says, in every derivative too.

    `linear` must be linear in the images, differentiable once by PyTorch, and depend on nothing else that needs a
    gradient. The backward pass evaluates it once more, at zero.
    """
    result: Tensor = _Map.apply(images, linear)  # type: ignore[no-untyped-call]
    return result


class _Map(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, linear: LinearMap) -> Tensor:
        ctx.linear, ctx.shape = linear, images.shape
        with torch.autocast(images.device.type, enabled=False):
            return linear(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return _Transpose.apply(gradient, ctx.linear, ctx.shape), None  # type: ignore[no-untyped-call]


class _Transpose(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, linear: LinearMap, shape: torch.Size) -> Tensor:
        ctx.linear = linear
        with torch.enable_grad(), torch.autocast(gradient.device.type, enabled=False):
            anywhere = gradient.new_zeros(shape).requires_grad_()
            return torch.autograd.grad(linear(anywhere), anywhere, gradient)[0]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return apply_linear(gradient, ctx.linear), None, None
