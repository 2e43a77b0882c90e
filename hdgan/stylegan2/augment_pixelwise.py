"""Smooth maps of the colour of each pixel, differentiable twice while keeping only images, none of what is in between.

PyTorch keeps the result of every step of a formula, and of every step of its derivative for R1: a dozen images for the
stain jitter. Here they are computed again, tile by tile, so what is in between is never larger than a tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from hdgan.stylegan2.augment_linear import samples_and_areas, view

Pixelwise = Callable[[Tensor, Tensor], Tensor]
Tensors = tuple[Tensor, ...]


def apply_pixelwise(images: Tensor, samples: Tensor, function: Pixelwise) -> Tensor:
    """Map each pixel of some images, whatever autocast says, in the derivatives too.

    Parameters
    ----------
    images
        (N, C, H, W).
    samples
        (S,) int64 on the CPU: which images of the batch, each once. The others stay as they are.
    function
        Takes pixels (n, C, h, w) of the images (n,), and these; returns (n, C, h, w). Twice differentiable by PyTorch.

    """
    result: Tensor = _Map.apply(images, samples, function)  # type: ignore[no-untyped-call]
    return result


class _Map(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, samples: Tensor, function: Pixelwise) -> Tensor:
        ctx.save_for_backward(images)
        ctx.samples, ctx.function = samples, function
        result = images.clone()
        _tile_by_tile(lambda some, pixels: (function(pixels, some),), samples, [images], [result])
        return result

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (images,) = ctx.saved_tensors
        return _Derivative.apply(gradient, images, ctx.samples, ctx.function), None, None  # type: ignore[no-untyped-call]


class _Derivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, images: Tensor, samples: Tensor, function: Pixelwise) -> Tensor:
        ctx.save_for_backward(gradient, images)
        ctx.samples, ctx.function = samples, function

        def derive(some: Tensor, gradient: Tensor, pixels: Tensor) -> Tensors:
            return torch.autograd.grad(function(pixels.requires_grad_(), some), pixels, gradient)

        result = gradient.clone()
        _tile_by_tile(derive, samples, [gradient, images], [result])
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor, Tensor, None, None]:
        gradient, images = ctx.saved_tensors
        mapped: Pixelwise = ctx.function

        def derive(some: Tensor, second: Tensor, gradient: Tensor, pixels: Tensor) -> Tensors:
            result = mapped(pixels.requires_grad_(), some)
            (first,) = torch.autograd.grad(result, pixels, gradient.requires_grad_(), create_graph=True)
            return torch.autograd.grad(first, [gradient, pixels], second)

        of_gradient, of_images = second.clone(), torch.zeros_like(images)
        _tile_by_tile(derive, ctx.samples, [second, gradient, images], [of_gradient, of_images])
        return of_gradient, of_images, None, None


def _tile_by_tile(
    function: Callable[..., Tensors], samples: Tensor, sources: list[Tensor], results: list[Tensor]
) -> None:
    """Write what `function` makes of each tile of the sources to its place in the results."""
    device = sources[0].device
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for some, area in samples_and_areas(samples, sources[0]):
            index = some.to(device)
            made = function(some, *(view(source.detach(), area).index_select(0, index) for source in sources))
            for result, tile in zip(results, made, strict=True):
                view(result, area).index_copy_(0, index, tile.detach())
