"""Half precision where it can be run on a CPU: single operations, slowly."""

from __future__ import annotations

import pytest
import torch

from hdgan.stylegan2.activation import bias_act
from hdgan.stylegan2.ops import modulated_conv2d, resampling_filter


@pytest.mark.parametrize("images", [1, 3])
@pytest.mark.parametrize("up", [False, True])
def test_a_modulated_convolution_in_float16_stays_in_its_range(images: int, up: bool) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.randn(images, 16, 8, 8, generator=draws)
    weight = torch.randn(8, 16, 3, 3, generator=draws).requires_grad_()
    styles = (torch.randn(images, 16, generator=draws) * 1e4).requires_grad_()  # x * styles has no place in float16
    found = {}
    for dtype in (torch.float32, torch.float16):
        y, coefficients = modulated_conv2d(x.to(dtype), weight, styles, up=up, resample_filter=resampling_filter())
        assert y.dtype == dtype
        image = bias_act(y, torch.zeros(8), activation="lrelu", scale=coefficients).float()
        assert image.isfinite().all()
        found[dtype] = (image, *torch.autograd.grad(image.square().sum(), (weight, styles)))
    for half, full in zip(found[torch.float16], found[torch.float32], strict=True):
        assert (half - full).norm() < 3e-3 * full.norm()
