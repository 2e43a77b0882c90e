"""Everything that follows a convolution, as one operation that keeps only its output.

Karras et al. 2020a, section 2: scale by the demodulation coefficients, add noise and bias, leaky ReLU, clamp. Done one
by one, these keep four maps of a layer for the backward pass and cross the memory five times. The output alone tells
all: its sign is the input's, what lies at the clamp was clamped, and from it the input can be had back; in half
precision to its rounding, which the gradient of the coefficients sees where a bias is far larger than its channel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

Activation = Literal["linear", "lrelu"]
LEAKY_SLOPE = 0.2
_GAIN = {"linear": 1.0, "lrelu": math.sqrt(2)}
_BLOCK_BYTES = 2**19  # of a map, worked on at a time on the CPU: fits its second-level cache with what is made of it


class _Shape(NamedTuple):
    """The numbers of an activation: z -> clamp(gain * (z if z > 0 else slope * z))."""

    slope: float
    gain: float
    clamp: float | None


def bias_act(
    x: Tensor,
    bias: Tensor,
    *,
    activation: Activation,
    scale: Tensor | None = None,
    noise: Tensor | None = None,
    gain: float = 1.0,
    clamp: float | None = None,
) -> Tensor:
    """Scale, add noise and bias, activate, multiply by the activation's gain times `gain`, clamp at +-clamp * gain.

    Parameters
    ----------
    x
        (N, C) or (N, C, H, W).
    bias
        (C,), added along axis 1.
    activation
        "linear", or "lrelu": leaky ReLU of slope 0.2, with the gain sqrt(2).
    scale
        (N, C), positive: multiplies x. Maps only.
    noise
        (N or 1, 1, H, W), the same for every channel. Maps only.

    Returns
    -------
    Tensor
        The shape and type of x. Differentiable twice in all tensors.
    """
    shape = _Shape(
        slope=LEAKY_SLOPE if activation == "lrelu" else 1.0,
        gain=_GAIN[activation] * gain,
        clamp=None if clamp is None else clamp * gain,
    )
    if x.ndim == 2:
        return _activated(x + bias.to(x.dtype), shape)
    noise = None if noise is None else noise.to(x.dtype)
    activated: Tensor = _BiasAct.apply(x, bias, scale, noise, shape)  # type: ignore[no-untyped-call]
    return activated


def _activated(x: Tensor, shape: _Shape) -> Tensor:
    if shape.slope != 1:
        x = torch.nn.functional.leaky_relu(x, shape.slope)
    if shape.gain != 1:
        x = x * shape.gain
    return x if shape.clamp is None else x.clamp(-shape.clamp, shape.clamp)


class _BiasAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, scale: Tensor | None, noise: Tensor | None, shape: _Shape) -> Tensor:
        blocks = list(_blocks(x))
        if len(blocks) == 1:
            y = _forward(x, bias, scale, noise, shape)
        else:
            y = torch.empty_like(x)
            for here in blocks:
                y[here] = _forward(x[here], bias, _of(scale, here), _of(noise, here), shape)
        ctx.save_for_backward(y, bias, scale, noise)
        ctx.shape = shape
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        y, bias, scale, noise = ctx.saved_tensors
        wanted = _Wanted(*ctx.needs_input_grad[:4])
        blocks = list(_blocks(y))
        if torch.is_grad_enabled() or len(blocks) == 1:  # to be differentiated again: one expression of the whole maps
            parts = _gradients(gradient, y, scale, noise, ctx.shape, wanted)
        else:
            parts = _gradients_in_blocks(blocks, gradient, y, scale, noise, ctx.shape, wanted)
        to_x, sums, products, noise_sums, to_noise = parts
        to_scale = None
        if wanted.scale:
            # sum of d * x, with x had back from y = gain * slope * (scale * x + noise + bias)
            to_scale = (products - bias * sums - (0 if noise is None else noise_sums)) / scale
        if to_noise is not None and len(noise) != len(y):
            to_noise = to_noise.sum(dim=0, keepdim=True)
        return to_x, sums.sum(dim=0) if wanted.bias else None, to_scale, to_noise, None


def _forward(x: Tensor, bias: Tensor, scale: Tensor | None, noise: Tensor | None, shape: _Shape) -> Tensor:
    bias = bias.to(x.dtype)[:, None, None]
    x = x + bias if scale is None else torch.addcmul(bias, x, scale.to(x.dtype)[:, :, None, None])
    if noise is not None:
        x += noise
    return _activated(x, shape)


class _Wanted(NamedTuple):
    x: bool
    bias: bool
    scale: bool
    noise: bool


_Parts = tuple[Tensor | None, Any, Any, Any, Tensor | None]


def _gradients(
    gradient: Tensor, y: Tensor, scale: Tensor | None, noise: Tensor | None, shape: _Shape, wanted: _Wanted
) -> _Parts:
    """What the gradients are made of, with d the gradient at scale * x + noise + bias.

    Of x (N, C, H, W); the (N, C) sums over pixels of d, of d * (scale * x + noise + bias), and of d * noise; of the
    noise (N, 1, H, W). None, or 0 for sums, where not wanted.
    """
    if shape.clamp is not None:
        gradient = torch.ops.aten.hardtanh_backward(gradient, y, -shape.clamp, shape.clamp)
    # d times its input is the gradient times the output: leaky ReLU is proportional on each side of zero
    sums_in = torch.promote_types(y.dtype, torch.float32)  # they are subtracted from each other
    products = (gradient * y).sum(dim=(2, 3), dtype=sums_in) if wanted.scale else 0
    if shape.slope != 1:
        gradient = torch.ops.aten.leaky_relu_backward(gradient, y, shape.slope, True)
    d = gradient * shape.gain if shape.gain != 1 else gradient
    sums = d.sum(dim=(2, 3), dtype=sums_in) if wanted.bias or wanted.scale else 0
    noise_sums = (d * noise).sum(dim=(2, 3), dtype=sums_in) if wanted.scale and noise is not None else 0
    to_noise = d.sum(dim=1, keepdim=True) if wanted.noise else None
    to_x = None
    if wanted.x:
        to_x = d if scale is None else d * scale.to(d.dtype)[:, :, None, None]
    return to_x, sums, products, noise_sums, to_noise


def _gradients_in_blocks(
    blocks: Sequence[_Block],
    gradient: Tensor,
    y: Tensor,
    scale: Tensor | None,
    noise: Tensor | None,
    shape: _Shape,
    wanted: _Wanted,
) -> _Parts:
    """The same as :func:`_gradients`, a block at a time."""
    to_x = torch.empty_like(y) if wanted.x else None
    sums_in = torch.promote_types(y.dtype, torch.float32)
    sums, products, noise_sums = (y.new_zeros(y.shape[:2], dtype=sums_in) for _ in range(3))
    to_noise = y.new_empty((len(y), 1, *y.shape[2:])) if wanted.noise else None
    for here in blocks:
        parts = _gradients(gradient[here], y[here], _of(scale, here), _of(noise, here), shape, wanted)
        if to_x is not None and parts[0] is not None:
            to_x[here] = parts[0]
        for total, part in zip((sums, products, noise_sums), parts[1:4], strict=True):
            total[here[0]] += part
        if to_noise is not None and parts[4] is not None:
            to_noise[here] = parts[4]
    return to_x, sums, products, noise_sums, to_noise


_Block = tuple[slice, slice, slice]


def _blocks(x: Tensor) -> Iterator[_Block]:
    """Parts of (N, C, H, W) that lie together in memory: some samples, or some rows of one."""
    count, channels, height, width = x.shape
    row = channels * width * x.element_size()
    if x.device.type != "cpu" or count * height * row <= _BLOCK_BYTES:
        yield slice(None), slice(None), slice(None)
        return
    samples = max(1, _BLOCK_BYTES // (row * height))
    rows = height if samples > 1 else max(1, _BLOCK_BYTES // row)
    for n in range(0, count, samples):
        for top in range(0, height, rows):
            yield slice(n, n + samples), slice(None), slice(top, top + rows)


def _of(other: Tensor | None, here: _Block) -> Tensor | None:
    """The part of a scale (N, C) or of noise (N or 1, 1, H, W) that belongs to a block."""
    if other is None:
        return None
    if other.ndim == 2:
        return other[here[0]]
    return other[here if len(other) > 1 else (slice(None), slice(None), here[2])]
