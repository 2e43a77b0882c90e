"""Large images are augmented tile by tile: with the same result and derivatives, and nothing held that is larger."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from hdgan.stylegan2 import augment_linear
from hdgan.stylegan2.augment import AugmentPipe
from hdgan.stylegan2.augment_geometry import apply_affine
from hdgan.stylegan2.augment_linear import Tile, apply_linear

Transform = Callable[[Tensor], Tensor]

WHOLE = 2**30


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=seeded(99), dtype=torch.float64) * 2 - 1


def with_derivatives(transform: Transform, images: Tensor) -> list[Tensor]:
    """The images transformed; the gradient of a loss; the gradients of a penalty on that gradient."""
    images = images.clone().requires_grad_()
    weight = noise_images(*images.shape).flip(2).requires_grad_()
    result = transform(images)
    (gradient,) = torch.autograd.grad((result.square() * weight).sum(), images, create_graph=True)
    return [result, gradient, *torch.autograd.grad(gradient.square().sum(), [images, weight])]


def assert_equal_in_tiles(transform: Transform, images: Tensor, pixels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_linear, "TILE_PIXELS_CPU", WHOLE)
    whole = with_derivatives(transform, images)
    monkeypatch.setattr(augment_linear, "TILE_PIXELS_CPU", pixels)
    # Where `grid_sample` is told to sample is rounded to float32 in neither: the images are float64.
    torch.testing.assert_close(with_derivatives(transform, images), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("preset", ["bgcfnc", "histology"])
@pytest.mark.parametrize("shape", [(2, 3, 31, 31), (1, 1, 17, 40), (2, 3, 48, 13), (1, 3, 2, 60)])
def test_tiles_give_the_whole_image_and_its_derivatives(
    preset: str, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def augment(images: Tensor) -> Tensor:
        return AugmentPipe(preset)(images, p=1, generator=seeded(3))

    assert_equal_in_tiles(augment, noise_images(*shape), 100, monkeypatch)


@pytest.mark.parametrize("degrees", [0, 45, 200])
@pytest.mark.parametrize("scale", [0.3, 1, 4])
@pytest.mark.parametrize("shift", [0.1, 0.9, -1.7, 50])
def test_extreme_draws_give_the_same_in_tiles(
    degrees: float, scale: float, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = noise_images(1, 2, 20, 27)
    angle = torch.tensor(degrees).deg2rad()
    affine = torch.eye(3, dtype=torch.float64)[None]
    affine[0, :2, :2] = scale * torch.tensor([[angle.cos(), angle.sin()], [-angle.sin(), angle.cos()]])
    affine[0, :2, 2] = shift * torch.tensor([27, -20])
    assert_equal_in_tiles(lambda x: apply_affine(x, affine), images, 64, monkeypatch)


def test_an_image_moved_out_of_sight_of_its_reflections_is_zero() -> None:
    affine = torch.eye(3, dtype=torch.float64).repeat(2, 1, 1)
    affine[0, 0, 2] = 300
    images = noise_images(2, 3, 12, 16)
    result = apply_affine(images, affine)
    assert torch.equal(result[0], torch.zeros(3, 12, 16, dtype=torch.float64))
    assert torch.equal(result[1], images[1])


@pytest.mark.parametrize("start", [-16, -8, -5, -1, 0, 3, 6, 9, 20])
@pytest.mark.parametrize("length", [2, 5, 18])
def test_a_tile_shows_reflections_of_the_image_and_zeros_beyond(start: int, length: int) -> None:
    images = noise_images(2, 3, 5, 7)
    mirrored = np.pad(images.numpy(), [(0, 0), (0, 0), (4, 4), (6, 6)], mode="reflect")
    beyond = torch.from_numpy(np.pad(mirrored, [(0, 0), (0, 0), (40, 40), (40, 40)]))
    expected = beyond[1:, :, 44 + start : 44 + start + length, 46 + start : 46 + start + length]
    seen = []

    def look(source: Tensor) -> Tensor:
        seen.append(source)
        return source[:, :, :1, :1]

    area = range(start, start + length)
    apply_linear(images, [Tile(torch.tensor([1]), (range(1), range(1)), (area, area), look)])
    assert torch.equal(seen[0], expected)


class _Largest(TorchDispatchMode):
    """Notes the size of the largest tensor that any operation returns."""

    values = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.values = max(self.values, *(tensor.untyped_storage().nbytes() // tensor.itemsize for tensor in tensors), 0)
        return result


@pytest.mark.parametrize("preset", ["bgcfnc", "histology"])
def test_no_tensor_is_larger_than_the_image_in_any_derivative(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment_linear, "TILE_PIXELS_CPU", 2**10)
    images = noise_images(1, 3, 256, 192)
    with _Largest() as largest:
        with_derivatives(lambda x: AugmentPipe(preset)(x, p=1, generator=seeded(2)), images)
    assert largest.values == images.numel()


@pytest.mark.parametrize(("preset", "kept"), [("bgc", 0), ("histology", 1)])
def test_only_the_image_whose_stain_is_jittered_is_kept_for_the_gradient(preset: str, kept: int) -> None:
    images = noise_images(1, 3, 64, 64).requires_grad_()
    sizes = []

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        AugmentPipe(preset)(images, p=1, generator=seeded(2))
    assert sizes.count(images.numel()) == kept
    assert sum(sizes) < kept * images.numel() + 100
