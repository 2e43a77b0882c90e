"""Operations of StyleGAN2: filtered resampling and the convolutions that double or halve the resolution.

Sources: Karras et al. 2019 (StyleGAN), Karras et al. 2020a ("Analyzing and Improving the Image Quality of StyleGAN",
sections 2 and 4), Karras et al. 2020b ("Training Generative Adversarial Networks with Limited Data").

Everything can be differentiated twice, as R1 and path length need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tiling.errors import InputError
from training.gradients import of_parameters


def resampling_filter() -> Tensor:
    """The (4, 4) filter used for every resampling: outer product of [1, 3, 3, 1], summing to 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / taps.sum().square()


def channels_last(x: Tensor) -> Tensor:
    """The same (N, C, H, W) tensor with its channels side by side in memory; what follows keeps that order.

    The depthwise filters of the resampling run several times faster so, and the convolutions no slower.
    """
    return x.contiguous(memory_format=torch.channels_last)


def computed_in(dtype: torch.dtype, device: torch.device) -> torch.dtype:
    """The type in which a device computes what asks for `dtype`: on a CPU float16 takes twenty times as long."""
    return torch.float32 if dtype == torch.float16 and device.type == "cpu" else dtype


def upfirdn2d(
    x: Tensor,
    filter: Tensor,
    *,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    gain: float = 1.0,
    flip_filter: bool = False,
) -> Tensor:
    """Insert zeros, pad, filter, and keep every `down`-th pixel.

    Differentiable in `x`, any number of times, and keeps nothing for it: the gradient is another call of the same kind.

    Parameters
    ----------
    x
        (N, C, H, W) images.
    filter
        (fh, fw) FIR filter, the same for every channel.
    up
        Every pixel is followed by up - 1 zeros, on both axes.
    padding
        One margin, or (x0, x1, y0, y1), in pixels of the upsampled image; negative margins crop.
    gain
        Multiplies the output.
    flip_filter
        False convolves, True correlates.

    Returns
    -------
    Tensor
        (N, C, H', W') with H' = (H * up + y0 + y1 - fh) // down + 1.
    """
    if up < 1 or down < 1:
        raise InputError(f"up and down are at least 1, not {up} and {down}")
    x0, x1, y0, y1 = [padding] * 4 if isinstance(padding, int) else padding
    taps = ((filter if flip_filter else filter.flip((0, 1))) * gain).detach()
    resampled: Tensor = _Resample.apply(x, taps, _Steps(up, down, (x0, x1), (y0, y1)))  # type: ignore[no-untyped-call]
    return resampled


class _Steps(NamedTuple):
    """What surrounds the correlation with the taps; margins are (before, after)."""

    up: int
    down: int
    x: tuple[int, int]
    y: tuple[int, int]

    def transposed(self, taps: Tensor, shape: torch.Size) -> _Steps:
        """The steps of the transposed map, from the output back to images of this shape; its taps are flipped."""
        fh, fw = taps.shape
        height, width = shape[2:]
        across, along = self._transposed(self.x, width, fw), self._transposed(self.y, height, fh)
        return _Steps(self.down, self.up, across, along)

    def _transposed(self, margins: tuple[int, int], size: int, length: int) -> tuple[int, int]:
        before, after = margins
        small = (size * self.up + before + after - length) // self.down + 1
        return length - 1 - before, size * self.up - small * self.down + before - self.up + 1


class _Resample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, taps: Tensor, steps: _Steps) -> Tensor:
        ctx.taps, ctx.steps, ctx.shape = taps, steps, x.shape
        kernel = channels_last(taps.to(x.dtype).expand(x.shape[1], 1, *taps.shape))
        return _spread(x, kernel, steps) if steps.up > 1 else _gather(x, kernel, steps)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        steps = ctx.steps.transposed(ctx.taps, ctx.shape)
        return _Resample.apply(gradient, ctx.taps.flip((0, 1)), steps), None, None  # type: ignore[no-untyped-call]


def _gather(x: Tensor, kernel: Tensor, steps: _Steps) -> Tensor:
    """Pad, correlate, keep every `down`-th pixel."""
    across, along = steps.x, steps.y
    if across[0] == across[1] >= 0 and along[0] == along[1] >= 0:  # the convolution pads without making a copy
        return F.conv2d(x, kernel, stride=steps.down, padding=(along[0], across[0]), groups=x.shape[1])
    return F.conv2d(F.pad(x, (*across, *along)), kernel, stride=steps.down, groups=x.shape[1])


def _spread(x: Tensor, kernel: Tensor, steps: _Steps) -> Tensor:
    """Insert zeros, pad, correlate, keep every `down`-th pixel: no zero is ever multiplied.

    A transposed convolution is that with margins of the kernel's size less one, and no zeros after the last pixel.
    """
    fh, fw = kernel.shape[2:]
    lacking = (
        *(margin - fw + 1 + extra for margin, extra in zip(steps.x, (0, steps.up - 1), strict=True)),
        *(margin - fh + 1 + extra for margin, extra in zip(steps.y, (0, steps.up - 1), strict=True)),
    )
    across, along = (max(0, -max(lacking[i : i + 2])) for i in (0, 2))
    spread = F.conv_transpose2d(x, kernel.flip((2, 3)), stride=steps.up, padding=(along, across), groups=x.shape[1])
    left = (lacking[0] + across, lacking[1] + across, lacking[2] + along, lacking[3] + along)
    spread = F.pad(spread, left) if any(left) else spread
    return spread[:, :, :: steps.down, :: steps.down] if steps.down > 1 else spread


def upsample2d(x: Tensor, filter: Tensor) -> Tensor:
    """Double an image: (N, C, H, W) -> (N, C, 2H, 2W)."""
    return upfirdn2d(x, filter, up=2, padding=(2, 1, 2, 1), gain=4)


def downsample2d(x: Tensor, filter: Tensor) -> Tensor:
    """Halve an image: (N, C, H, W) -> (N, C, H/2, W/2)."""
    return upfirdn2d(x, filter, down=2, padding=1)


def convolve(
    x: Tensor,
    weight: Tensor,
    *,
    gain: float = 1.0,
    scales: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    transposed: bool = False,
) -> Tensor:
    """Convolve by `gain` times the weight, each sample's input channels scaled first; computes in the type of x.

    Keeps x, weight and scales for the backward pass, and neither the product of weight and gain nor the scaled input.

    Parameters
    ----------
    x
        (N, I, H, W).
    weight
        (O, I, k, k).
    scales
        (N, I).
    transposed
        A transposed convolution: with stride 2 it leaves 2 (H - 1) + k rows.
    """
    steps = _ConvolutionSteps(gain, stride, padding, transposed)
    convolved: Tensor = _Convolution.apply(x, scales, weight, steps)  # type: ignore[no-untyped-call]
    return convolved


class _ConvolutionSteps(NamedTuple):
    gain: float
    stride: int
    padding: int
    transposed: bool

    def kernel(self, weight: Tensor, dtype: torch.dtype) -> Tensor:
        """As PyTorch takes it: (I, O, k, k) where transposed."""
        kernel = (weight * self.gain if self.gain != 1 else weight).to(dtype)
        return kernel.transpose(0, 1) if self.transposed else kernel


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scales: Tensor | None, weight: Tensor, steps: _ConvolutionSteps) -> Tensor:
        ctx.save_for_backward(x, scales, weight)
        ctx.steps = steps
        if scales is not None:
            x = x * scales.to(x.dtype)[:, :, None, None]
        convolution = F.conv_transpose2d if steps.transposed else F.conv2d
        return convolution(x, steps.kernel(weight, x.dtype), stride=steps.stride, padding=steps.padding)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, scales, weight = ctx.saved_tensors
        steps: _ConvolutionSteps = ctx.steps
        of_x, of_scales, of_weight, _ = ctx.needs_input_grad
        of_weight = of_weight and of_parameters()
        factors = None if scales is None else scales.to(x.dtype)[:, :, None, None]
        scaled = x if factors is None or not of_weight else x * factors
        to_scaled, to_kernel, _ = torch.ops.aten.convolution_backward(
            gradient, scaled, steps.kernel(weight, x.dtype), None, [steps.stride] * 2, [steps.padding] * 2, [1, 1],
            steps.transposed, [0, 0], 1, [of_x or of_scales, of_weight, False],
        )  # fmt: skip
        to_x = to_weight = None
        if of_x:
            to_x = to_scaled if factors is None else to_scaled * factors
        if of_weight:
            to_weight = (to_kernel.transpose(0, 1) if steps.transposed else to_kernel).to(weight.dtype)
            to_weight = to_weight * steps.gain if steps.gain != 1 else to_weight
        to_scales = (to_scaled * x).sum(dim=(2, 3), dtype=scales.dtype) if of_scales else None
        return to_x, to_scales, to_weight, None


def conv2d_up(x: Tensor, weight: Tensor, filter: Tensor, *, gain: float = 1.0, scales: Tensor | None = None) -> Tensor:
    """Convolve and double the resolution: transposed convolution with stride 2, then the filter.

    `weight` is (O, I, k, k) with k of 3 or 1; the output is (N, O, 2H, 2W). `gain` and `scales` as in :func:`convolve`.
    """
    x = convolve(x, weight, gain=gain, scales=scales, stride=2, transposed=True)
    # a 3x3 kernel leaves 2H + 1 pixels, a 1x1 kernel 2H - 1
    return upfirdn2d(x, filter, padding=1 if weight.shape[-1] == 3 else 2, gain=4)


def conv2d_down(x: Tensor, weight: Tensor, filter: Tensor, *, gain: float = 1.0) -> Tensor:
    """Filter, convolve and halve the resolution. `weight` is (O, I, k, k) with k of 3 or 1."""
    if weight.shape[-1] == 1:  # filtering before the 1x1 lets it run on a quarter of the pixels
        return convolve(downsample2d(x, filter), weight, gain=gain)
    return convolve(upfirdn2d(x, filter, padding=2), weight, gain=gain, stride=2)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    up: bool = False,
    resample_filter: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Convolve each sample with its own weights (Karras et al. 2020a, section 2.2, equations 1 to 3).

    Scaling the input channels by the styles and the output channels by the demodulation coefficients is the
    same as scaling the weights, and needs no weights per sample. The coefficients are one matrix product:
    rsqrt(styles^2 @ sum over the kernel of weight^2).

    Parameters
    ----------
    x
        (N, I, H, W), float32 or a half-precision type.
    weight
        (O, I, k, k) float32.
    styles
        (N, I) float32.
    up
        Double the resolution with `resample_filter`.

    Returns
    -------
    Tensor, Tensor or None
        (N, O, H, W) or twice as large, and the (N, O) float32 coefficients that it is still to be multiplied by (see
        :func:`hdgan.stylegan2.activation.bias_act`); None without demodulation.
    """
    coefficients = None
    if demodulate:
        if x.dtype == torch.float16:  # keep sums of products inside the range of float16; demodulation undoes it
            weight = weight / (math.sqrt(weight[0].numel()) * weight.abs().amax(dim=(1, 2, 3), keepdim=True))
            styles = styles / styles.abs().amax(dim=1, keepdim=True)
        energy = weight.square().sum(dim=(2, 3))
        coefficients = (styles.square() @ energy.t() + 1e-8).rsqrt()
    scales: Tensor | None = styles
    if len(x) == 1:  # the weights are fewer than the pixels
        weight, scales = weight * styles[:, :, None, None], None
    if not up:
        return convolve(x, weight, scales=scales, padding=weight.shape[-1] // 2), coefficients
    if resample_filter is None:
        raise InputError("modulated_conv2d needs resample_filter when up is true")
    return conv2d_up(x, weight, resample_filter, scales=scales), coefficients


def normalise_second_moment(x: Tensor) -> Tensor:
    """Scale each row of (N, D) to a mean square of 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()
