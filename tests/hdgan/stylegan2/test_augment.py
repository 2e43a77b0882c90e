"""The augmentation pipe: the reference's numbers, draws, derivatives, the histology set, and bad input."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from hdgan.stylegan2.augment import PRESETS, AugmentPipe, AugmentSet
from hdgan.stylegan2.augment_colour import apply_stain
from hdgan.stylegan2.augment_corruption import FILTER_BANK
from hdgan.stylegan2.augment_draws import DRAWS_PER_SAMPLE, Draws
from hdgan.stylegan2.augment_geometry import SYM6, draw_affine
from tiling.errors import InputError

TRANSFORMS = (
    *("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac"),
    *("brightness", "contrast", "lumaflip", "hue", "saturation", "imgfilter", "cutout"),
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise_images(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(shape, generator=seeded(99), dtype=dtype) * 2 - 1


def only(transform: str) -> AugmentPipe:
    return AugmentPipe({transform: 1.0})


def assert_equals_reference(golden: Path, pipe: AugmentPipe, source: str, expected: str) -> None:
    with np.load(golden / "augment.npz") as arrays:
        images, wanted = torch.from_numpy(arrays[source]), torch.from_numpy(arrays[expected])
    result = pipe(images, p=1, percentile=float(expected.rsplit("/", 1)[1]))
    assert (result - wanted).norm() <= 1e-4 * wanted.norm()


@pytest.mark.parametrize("percentile", ["0.1", "0.5", "0.8"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_each_transform_gives_the_numbers_of_the_reference(golden: Path, transform: str, percentile: str) -> None:
    assert_equals_reference(golden, only(transform), "image", f"{transform}/{percentile}")


@pytest.mark.parametrize("percentile", ["0.1", "0.5", "0.8"])
def test_all_transforms_together_give_the_numbers_of_the_reference(golden: Path, percentile: str) -> None:
    assert_equals_reference(golden, AugmentPipe("bgc"), "image", f"bgc/{percentile}")


@pytest.mark.parametrize("shape", ["grey", "48x64"])
def test_grey_and_oblong_images_give_the_numbers_of_the_reference(golden: Path, shape: str) -> None:
    assert_equals_reference(golden, AugmentPipe("bgc"), f"image_{shape}", f"bgc_{shape}/0.8")


@pytest.mark.parametrize("band", range(4))
def test_each_frequency_band_gives_the_numbers_of_the_reference(golden: Path, band: int) -> None:
    pipe = AugmentPipe({"imgfilter": 1.0, "imgfilter_bands": tuple(float(band == i) for i in range(4))})
    assert_equals_reference(golden, pipe, "image", f"imgfilter_band{band}/0.8")


def test_the_filter_bank_splits_an_image_without_loss() -> None:
    delta = np.zeros(43)
    delta[21] = 1
    np.testing.assert_allclose(FILTER_BANK.sum(0), delta, atol=1e-15)


def test_the_wavelet_filter_is_orthogonal_to_its_even_shifts() -> None:
    taps = np.array(SYM6)
    products = [taps[shift:] @ taps[: len(taps) - shift] for shift in range(0, 12, 2)]
    np.testing.assert_allclose(products, [1, 0, 0, 0, 0, 0], atol=1e-10)


@pytest.mark.parametrize("preset", PRESETS)
def test_strength_zero_returns_the_images_untouched(preset: str) -> None:
    images = noise_images(2, 3, 16, 16)
    assert AugmentPipe(preset)(images, p=0, generator=seeded()) is images


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("channels", [1, 3])
def test_every_preset_changes_images_and_keeps_their_shape_and_type(preset: str, channels: int) -> None:
    images = noise_images(6, channels, 24, 32)
    result = AugmentPipe(preset)(images, p=1, generator=seeded())
    assert result.shape == images.shape
    assert result.dtype == images.dtype
    assert result.isfinite().all()
    assert not torch.equal(result, images)


def test_a_sample_for_which_nothing_was_drawn_is_left_bit_for_bit() -> None:
    images = noise_images(200, 3, 8, 8)
    result = AugmentPipe("bgcfnc")(images, p=0.05, generator=seeded())
    untouched = (result == images).flatten(1).all(1).float().mean()
    # 16 gates and two halves of a rotation; three of the transforms drawn do nothing half or a quarter of the time.
    assert 0.3 < untouched < 0.6


@pytest.mark.parametrize(
    ("transform", "share"),
    [
        *((name, 1) for name in ("brightness", "hue", "cutout", "noise", "scale", "rotate", "stain")),
        *(("xflip", 0.5), ("lumaflip", 0.5), ("rotate90", 0.75)),
    ],
)
def test_a_transform_is_applied_with_probability_p_times_its_multiplier(transform: str, share: float) -> None:
    images = noise_images(1000, 3, 8, 8)
    result = AugmentPipe({transform: 0.5})(images, p=0.6, generator=seeded(3))
    changed = (result != images).flatten(1).any(1).float().mean()
    assert changed == pytest.approx(0.3 * share, abs=0.045)


def test_normal_draws_have_unit_variance() -> None:
    draws = Draws(20_000, strength=1, generator=seeded(), percentile=None)
    normal = draws.normal()
    assert normal.mean().abs() < 0.03
    assert normal.std() == pytest.approx(1, abs=0.03)


def test_equal_seeds_give_equal_images_and_other_seeds_give_others() -> None:
    images, pipe = noise_images(4, 3, 16, 16), AugmentPipe("bgcfnc")
    first = pipe(images, p=0.8, generator=seeded(1))
    assert torch.equal(first, pipe(images, p=0.8, generator=seeded(1)))
    assert not torch.equal(first, pipe(images, p=0.8, generator=seeded(2)))


def test_a_batch_in_parts_is_augmented_as_in_one_go() -> None:
    images, pipe, generator = noise_images(24, 3, 16, 16), AugmentPipe("bgcfnc"), seeded(1)
    whole = pipe(images, p=0.8, generator=seeded(1))
    parts = [pipe(part, p=0.8, generator=generator) for part in images.split([5, 1, 18])]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=1e-4)


def test_a_sample_with_its_own_generator_does_not_depend_on_the_rest_of_the_batch() -> None:
    images, pipe = noise_images(4, 3, 16, 16), AugmentPipe("bgcfnc")
    batch = pipe(images, p=0.8, generator=[seeded(i) for i in range(4)])
    alone = [pipe(images[i : i + 1], p=0.8, generator=[seeded(i)]) for i in range(4)]
    torch.testing.assert_close(torch.cat(alone), batch, rtol=0, atol=1e-4)


@pytest.mark.parametrize("preset", ["blit", "bgcfnc", "histology"])
def test_every_sample_takes_the_same_count_of_numbers(preset: str) -> None:
    generator, counted = seeded(), seeded()
    AugmentPipe(preset)(noise_images(3, 3, 8, 8), p=0.5, generator=generator)
    torch.rand(3 * DRAWS_PER_SAMPLE, generator=counted, dtype=torch.float64)
    assert torch.equal(generator.get_state(), counted.get_state())


def test_large_draws_far_outside_the_image_show_reflections_and_stay_finite() -> None:
    images = noise_images(64, 3, 8, 12)
    result = AugmentPipe("geom")(images, p=1, generator=seeded(5))
    assert result.isfinite().all()
    assert result.abs().max() < 3


def test_content_turns_anticlockwise_by_the_drawn_matrix() -> None:
    draws = Draws(1, strength=1, generator=None, percentile=0.75)
    affine = draw_affine(draws, AugmentSet(rotate=1.0), width=9, height=9)
    right = torch.tensor([1.0, 0, 1], dtype=torch.float64)
    up_on_screen = torch.tensor([0.0, -1, 1], dtype=torch.float64)
    torch.testing.assert_close(affine[0] @ right, up_on_screen)


@pytest.mark.parametrize("preset", ["bgcfnc", "histology"])
def test_the_pipe_differentiates_twice(preset: str) -> None:
    images = noise_images(2, 3, 6, 5, dtype=torch.float64).requires_grad_()
    pipe = AugmentPipe(preset)

    def augment(x: Tensor) -> Tensor:
        return pipe(x, p=1, generator=seeded(2))

    assert torch.autograd.gradcheck(augment, (images,), fast_mode=True)
    assert torch.autograd.gradgradcheck(augment, (images,), fast_mode=True)


def test_a_gradient_penalty_reaches_the_discriminator_through_the_pipe() -> None:
    images = noise_images(4, 3, 16, 16).requires_grad_()
    discriminator = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Softplus(), torch.nn.Conv2d(4, 1, 3))
    logits = discriminator(AugmentPipe("histology")(images, p=1, generator=seeded()))
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    gradient.square().sum().backward()
    weight = discriminator[0].weight
    assert isinstance(weight, Tensor)
    assert weight.grad is not None
    assert weight.grad.norm() > 0


def test_autocast_changes_neither_images_nor_gradients_of_the_geometry() -> None:
    images = noise_images(2, 3, 16, 16).requires_grad_()
    plain = AugmentPipe("bg")(images, p=1, generator=seeded())
    (plain_gradient,) = torch.autograd.grad(plain.square().sum(), images)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = AugmentPipe("bg")(images, p=1, generator=seeded())
        (gradient,) = torch.autograd.grad(result.square().sum(), images)
    assert torch.equal(result, plain)
    torch.testing.assert_close(gradient, plain_gradient)


def test_bfloat16_images_are_computed_in_float32_and_come_back_as_bfloat16() -> None:
    images = noise_images(2, 3, 16, 16).bfloat16()
    result = AugmentPipe("bgc")(images, p=1, generator=seeded())
    precise = AugmentPipe("bgc")(images.float(), p=1, generator=seeded())
    assert torch.equal(result, precise.bfloat16())


def test_strength_may_be_a_tensor() -> None:
    images = noise_images(4, 3, 16, 16)
    result = AugmentPipe("bgc")(images, p=torch.tensor(0.5), generator=seeded())
    assert torch.equal(result, AugmentPipe("bgc")(images, p=0.5, generator=seeded()))


def test_stain_jitter_leaves_white_white() -> None:
    images = torch.ones(100, 3, 4, 4)
    torch.testing.assert_close(only("stain")(images, p=1, generator=seeded()), images, rtol=0, atol=1e-6)


def test_stain_jitter_and_geometry_keep_a_bright_background_bright() -> None:
    pipe = AugmentPipe(replace(PRESETS["histology"], brightness=0.0, contrast=0.0))
    background = torch.full((100, 3, 32, 32), 0.9)
    moved = (pipe(background, p=1, generator=seeded()) - background).abs()
    assert moved.max() < 0.05  # 6 of 255 grey levels


def test_stain_jitter_is_gentle_on_tissue() -> None:
    eosin = torch.tensor([0.8, 0.2, 0.5]).view(1, 3, 1, 1).expand(500, 3, 2, 2)
    moved = (only("stain")(eosin, p=1, generator=seeded()) - eosin).abs()
    assert 0.01 < moved.mean() < 0.1


@pytest.mark.parametrize("channels", [1, 3])
def test_stain_jitter_is_finite_and_smooth_far_outside_the_range(channels: int) -> None:
    values = torch.linspace(-100, 100, 4001).repeat(channels, 1).view(1, channels, 1, -1).requires_grad_()
    jitter = 0.2 * torch.randn((1, 3, 3), generator=seeded(), dtype=torch.float64)
    result = apply_stain(values, jitter)
    (gradient,) = torch.autograd.grad(result.square().sum(), values, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), values)
    for derivative in (result, gradient, second):
        assert derivative.isfinite().all()


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"'bcg'.*blit.*histology"):
        AugmentPipe("bcg")


def test_an_unknown_transform_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="'yflip'"):
        AugmentPipe({"yflip": 1.0})


@pytest.mark.parametrize("multiplier", [-0.1, 1.5, float("nan")])
def test_a_multiplier_out_of_range_is_refused(multiplier: float) -> None:
    with pytest.raises(InputError, match=f"scale is {multiplier}"):
        AugmentSet(scale=multiplier)


def test_a_wrong_count_of_band_multipliers_is_refused() -> None:
    with pytest.raises(InputError, match="2 values"):
        AugmentPipe({"imgfilter": 1.0, "imgfilter_bands": (1.0, 1.0)})


@pytest.mark.parametrize("p", [-0.1, 1.01, 21.0, float("nan")])
def test_a_strength_out_of_range_is_refused(p: float) -> None:
    with pytest.raises(InputError, match=f"p is {p}"):
        AugmentPipe("bgc")(noise_images(1, 3, 8, 8), p=p)


@pytest.mark.parametrize("percentile", [0.0, 1.0, 50.0])
def test_a_percentile_out_of_range_is_refused(percentile: float) -> None:
    with pytest.raises(InputError, match=f"percentile is {percentile}"):
        AugmentPipe("bgc")(noise_images(1, 3, 8, 8), p=1, percentile=percentile)


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 4, 8, 8), (1, 2, 8, 8)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=str(shape[0])):
        AugmentPipe("bgc")(torch.zeros(shape), p=1)


def test_images_of_bytes_are_refused() -> None:
    with pytest.raises(InputError, match="uint8"):
        AugmentPipe("bgc")(torch.zeros(1, 3, 8, 8, dtype=torch.uint8), p=1)


def test_too_few_generators_are_refused() -> None:
    with pytest.raises(InputError, match="1 generators for 2 images"):
        AugmentPipe("bgc")(noise_images(2, 3, 8, 8), p=1, generator=[seeded()])
