"""Operations of StyleGAN2: filtered resampling, equalised layers, modulated convolution.

Sources: Karras et al. 2018 (equalised learning rate), Karras et al. 2019 (StyleGAN), Karras et al. 2020a
("Analyzing and Improving the Image Quality of StyleGAN", sections 2 and 4), Karras et al. 2020b ("Training
Generative Adversarial Networks with Limited Data").

Everything is made of PyTorch operations that can be differentiated twice, as R1 and path length need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tiling.errors import InputError

Activation = Literal["linear", "lrelu"]
LEAKY_SLOPE = 0.2
_ACTIVATION_GAIN = {"linear": 1.0, "lrelu": math.sqrt(2)}


def resampling_filter() -> Tensor:
    """The (4, 4) filter used for every resampling: outer product of [1, 3, 3, 1], summing to 1."""
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    return torch.outer(taps, taps) / taps.sum().square()


def channels_last(x: Tensor) -> Tensor:
    """The same (N, C, H, W) tensor with its channels side by side in memory; what follows keeps that order.

    The depthwise filters of the resampling run several times faster so, and the convolutions no slower.
    """
    return x.contiguous(memory_format=torch.channels_last)


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
    n, channels, height, width = x.shape
    if up > 1:
        x = F.pad(x.reshape(n, channels, height, 1, width, 1), (0, up - 1, 0, 0, 0, up - 1))
        x = x.reshape(n, channels, height * up, width * up)
    if x0 or x1 or y0 or y1:
        x = F.pad(x, (x0, x1, y0, y1))
    kernel = (filter if flip_filter else filter.flip((0, 1))) * gain
    kernel = channels_last(kernel.to(x.dtype).expand(channels, 1, *filter.shape))
    return F.conv2d(x, kernel, stride=down, groups=channels)


def upsample2d(x: Tensor, filter: Tensor) -> Tensor:
    """Double an image: (N, C, H, W) -> (N, C, 2H, 2W)."""
    return upfirdn2d(x, filter, up=2, padding=(2, 1, 2, 1), gain=4)


def downsample2d(x: Tensor, filter: Tensor) -> Tensor:
    """Halve an image: (N, C, H, W) -> (N, C, H/2, W/2)."""
    return upfirdn2d(x, filter, down=2, padding=(1, 1, 1, 1))


def conv2d_up(x: Tensor, weight: Tensor, filter: Tensor) -> Tensor:
    """Convolve and double the resolution: transposed convolution with stride 2, then the filter.

    `weight` is (O, I, k, k) with k of 3 or 1; the output is (N, O, 2H, 2W).
    """
    x = F.conv_transpose2d(x, weight.transpose(0, 1), stride=2)
    # a 3x3 kernel leaves 2H + 1 pixels, a 1x1 kernel 2H - 1
    return upfirdn2d(x, filter, padding=1 if weight.shape[-1] == 3 else 2, gain=4)


def conv2d_down(x: Tensor, weight: Tensor, filter: Tensor) -> Tensor:
    """Filter, convolve and halve the resolution. `weight` is (O, I, k, k) with k of 3 or 1."""
    if weight.shape[-1] == 1:  # filtering before the 1x1 lets it run on a quarter of the pixels
        return F.conv2d(downsample2d(x, filter), weight)
    return F.conv2d(upfirdn2d(x, filter, padding=2), weight, stride=2)


def bias_act(
    x: Tensor, bias: Tensor, *, activation: Activation, gain: float = 1.0, clamp: float | None = None
) -> Tensor:
    """Add the bias along axis 1, activate, scale by the activation's gain times `gain`, clamp at +-clamp * gain."""
    x = x + bias.to(x.dtype).reshape([1, -1] + [1] * (x.ndim - 2))
    if activation == "lrelu":
        x = F.leaky_relu(x, LEAKY_SLOPE)
    scale = _ACTIVATION_GAIN[activation] * gain
    if scale != 1:
        x = x * scale
    if clamp is not None:
        x = x.clamp(-clamp * gain, clamp * gain)
    return x


def normalise_second_moment(x: Tensor) -> Tensor:
    """Scale each row of (N, D) to a mean square of 1."""
    return x * (x.square().mean(dim=1, keepdim=True) + 1e-8).rsqrt()


class FullyConnected(nn.Module):
    """Equalised linear layer, (N, in) -> (N, out), with optional leaky ReLU.

    The weight is stored at unit variance over `lr_multiplier`; its gain is lr_multiplier / sqrt(in).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        activation: Activation = "linear",
        lr_multiplier: float = 1.0,
        bias_start: float = 0.0,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = nn.Parameter(torch.full((out_features,), float(bias_start)))
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) -> (N, out)."""
        x = x @ (self.weight * self.weight_gain).t()
        return bias_act(x, self.bias * self.bias_gain, activation=self.activation)


class Convolution(nn.Module):
    """Equalised convolution with bias, activation and clamp, optionally doubling or halving the resolution."""

    resample_filter: Tensor

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        bias: bool = True,
        activation: Activation = "linear",
        up: bool = False,
        down: bool = False,
        clamp: float | None = None,
    ) -> None:
        super().__init__()
        self.activation: Activation = activation
        self.up, self.down, self.clamp = up, down, clamp
        self.weight = nn.Parameter(torch.randn(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out_channels)) if bias else None
        self.weight_gain = 1 / math.sqrt(in_channels * kernel**2)
        self.register_buffer("resample_filter", resampling_filter())

    def forward(self, x: Tensor, *, gain: float = 1.0) -> Tensor:
        """(N, in, H, W) -> (N, out, H, W), or double or half of H and W."""
        weight = (self.weight * self.weight_gain).to(x.dtype)
        if self.up:
            x = conv2d_up(x, weight, self.resample_filter)
        elif self.down:
            x = conv2d_down(x, weight, self.resample_filter)
        else:
            x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        if self.bias is None:
            return x * gain
        return bias_act(x, self.bias, activation=self.activation, gain=gain, clamp=self.clamp)


def modulated_conv2d(
    x: Tensor,
    weight: Tensor,
    styles: Tensor,
    *,
    demodulate: bool = True,
    up: bool = False,
    resample_filter: Tensor | None = None,
) -> Tensor:
    """Convolve each sample with its own weights (Karras et al. 2020a, section 2.2, equations 1 to 3).

    Scaling the input channels by the styles and the output channels by the demodulation coefficients is the
    same as scaling the weights, and needs no weights per sample.

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
    """
    dtype = x.dtype
    if demodulate:
        if dtype == torch.float16:  # keep sums of products inside the range of float16; demodulation undoes it
            weight = weight / (math.sqrt(weight[0].numel()) * weight.abs().amax(dim=(1, 2, 3), keepdim=True))
            styles = styles / styles.abs().amax(dim=1, keepdim=True)
        energy = weight.square().sum(dim=(2, 3))
        coefficients = (styles.square() @ energy.t() + 1e-8).rsqrt()
    x = x * styles.to(dtype)[:, :, None, None]
    weight = weight.to(dtype)
    if up:
        if resample_filter is None:
            raise InputError("modulated_conv2d needs resample_filter when up is true")
        x = conv2d_up(x, weight, resample_filter)
    else:
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
    if demodulate:
        x = x * coefficients.to(dtype)[:, :, None, None]
    return x
