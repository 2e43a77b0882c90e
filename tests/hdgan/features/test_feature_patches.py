import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from hdgan.features.patch import Patch, Window, coverage, cut, gather, interpolation_matrix, native_span, upsample
from tiling.errors import InputError

SIZE = 64
WINDOWS = [(0, 0, 64, 64), (0, 0, 1, 1), (63, 63, 1, 1), (5, 17, 23, 31), (32, 0, 32, 64), (1, 60, 7, 4)]


def native(scale: int, channels: int = 3) -> torch.Tensor:
    return torch.randn(channels, SIZE // scale, SIZE // scale, generator=torch.Generator().manual_seed(scale))


def whole(values: torch.Tensor, scale: int) -> np.ndarray:
    size = (SIZE, SIZE)
    assert values.shape[1] * scale == SIZE
    return interpolate(values[None], size=size, mode="bilinear", align_corners=False)[0].numpy()


@pytest.mark.parametrize("scale", [1, 2, 4, 8, 16])
@pytest.mark.parametrize(("y", "x", "h", "w"), WINDOWS)
def test_an_upsampled_window_equals_that_window_of_the_upsampled_map(scale, y, x, h, w):
    values = native(scale)
    patch = cut(values.numpy(), scale=scale, y=y, x=x, h=h, w=w)
    expected = whole(values, scale)[:, y : y + h, x : x + w]
    np.testing.assert_allclose(upsample(patch, y=y, x=x, h=h, w=w), expected, atol=2e-6)
    rows = interpolation_matrix(y, h, scale=scale, first=patch.y0, size=patch.values.shape[1])
    columns = interpolation_matrix(x, w, scale=scale, first=patch.x0, size=patch.values.shape[2])
    np.testing.assert_allclose(rows @ patch.values @ columns.T, expected, atol=2e-6)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_gathered_pixels_equal_those_of_the_upsampled_map(scale):
    values = native(scale)
    ys, xs = np.random.default_rng(0).integers(0, SIZE, (2, 200))
    patch = cut(values.numpy(), scale=scale, y=0, x=0, h=SIZE, w=SIZE)
    np.testing.assert_allclose(gather(patch, ys, xs), whole(values, scale)[:, ys, xs], atol=2e-6)


def test_a_patch_holds_no_native_pixel_too_many():
    assert native_span(8, 16, 1) == (8, 24)
    assert native_span(8, 16, 2) == (3, 13)
    assert native_span(0, 4, 4) == (-1, 2)
    assert native_span(1, 1, 4) == (-1, 1)
    assert native_span(2, 1, 4) == (0, 2)


def test_patches_of_a_window_tell_which_window_they_are_of():
    for y, x, h, w in WINDOWS:
        patches = {f"{s}": cut(native(s).numpy(), scale=s, y=y, x=x, h=h, w=w) for s in (4, 2, 1)}
        assert coverage(patches) == (y, x, h, w)


def test_a_window_joins_its_layers_in_order():
    y, x, h, w = 5, 17, 23, 31
    patches = {f"{s}": cut(native(s, s).numpy(), scale=s, y=y, x=x, h=h, w=w) for s in (4, 2, 1)}
    upsampled = Window(y, x, np.zeros((h, w, 3), np.uint8), patches).upsampled()
    expected = np.concatenate([whole(native(s, s), s)[:, y : y + h, x : x + w] for s in (4, 2, 1)])
    np.testing.assert_allclose(upsampled, expected, atol=2e-6)


def test_tensors_are_cut_like_arrays():
    values = native(4)
    of_tensor, of_array = (cut(v, scale=4, y=1, x=60, h=7, w=4) for v in (values, values.numpy()))
    np.testing.assert_array_equal(of_tensor.values.numpy(), of_array.values)


def test_what_a_patch_does_not_hold_is_refused():
    patch = Patch(np.zeros((1, 4, 4), np.float32), 0, 0, 2)
    with pytest.raises(InputError, match="native pixels -1 to 1 are needed, and the patch holds 0 to 3"):
        upsample(patch, y=0, x=2, h=2, w=2)
    with pytest.raises(InputError, match="not within the image of 64 x 64"):
        cut(native(2).numpy(), scale=2, y=60, x=0, h=8, w=8)
