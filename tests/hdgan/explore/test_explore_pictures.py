"""Pictures of features and masks."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from hdgan.explore import channel_grid, mask_overlay, pca_rgb
from hdgan.labels import KIDNEY, UNLABELLED
from tiling import InputError


@pytest.fixture
def maps() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(7, 6, 8)).astype(np.float16)


def test_a_grid_holds_each_channel_stretched_over_the_whole_range(maps: np.ndarray) -> None:
    grid = channel_grid(maps, columns=3, gap=2)
    assert grid.shape == (3 * 6 + 2 * 2, 3 * 8 + 2 * 2)
    first = grid[:6, :8]
    assert (first.min(), first.max()) == (0, 255)
    assert (grid[6:8] == 255).all(), "the gap is white"
    assert np.corrcoef(first.ravel(), maps[0].ravel())[0, 1] > 0.99


def test_chosen_channels_come_in_the_order_given(maps: np.ndarray) -> None:
    both = channel_grid(maps, channels=[5, 2], gap=0)
    np.testing.assert_array_equal(both, np.hstack([channel_grid(maps[[5]]), channel_grid(maps[[2]])]))


def test_a_channel_that_never_varies_is_mid_grey() -> None:
    assert (channel_grid(np.full((1, 4, 4), 3.0)) == 128).all()


def test_pixels_that_the_channels_describe_alike_get_one_colour() -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, (16, 16))
    maps = rng.normal(size=(12, 4))[:, labels]
    picture = pca_rgb(maps)
    assert picture.shape == (16, 16, 3)
    colours = [np.unique(picture[labels == k], axis=0) for k in range(4)]
    assert [len(c) for c in colours] == [1, 1, 1, 1]
    assert len(np.unique(np.concatenate(colours), axis=0)) == 4


def test_the_components_are_those_of_a_singular_value_decomposition(maps: np.ndarray) -> None:
    pixels = maps.reshape(7, -1).astype(float)
    standardised = (pixels - pixels.mean(1, keepdims=True)) / pixels.std(1, keepdims=True)
    expected = np.linalg.svd(standardised, full_matrices=False)[2][:3]
    picture = pca_rgb(maps).reshape(-1, 3).T
    for component, channel in zip(expected, picture, strict=True):
        assert abs(np.corrcoef(component, channel)[0, 1]) > 0.99


def test_several_images_share_their_colours(maps: np.ndarray) -> None:
    stack = np.stack([maps, maps[:, ::-1]])
    pictures = pca_rgb(stack)
    np.testing.assert_array_equal(pictures[0], pictures[1][::-1])


def test_an_overlay_blends_labelled_pixels_only() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    mask = np.array([[2, 2], [UNLABELLED, 4]], np.uint8)
    overlay = mask_overlay(image, mask, KIDNEY, opacity=0.5)
    assert overlay[0, 0].tolist() == [81, 102, 150]
    assert overlay[1, 0].tolist() == [100, 100, 100]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: channel_grid(np.zeros((4, 4))), r"\(C, h, w\), not \(4, 4\)"),
        (lambda: channel_grid(np.zeros((2, 4, 4)), channels=[2]), "0 to 1"),
        (lambda: channel_grid(np.zeros((2, 4, 4)), columns=0), "columns >= 1"),
        (lambda: pca_rgb(np.zeros((2, 4, 4))), "at least 3 channels, not 2"),
        (lambda: pca_rgb(np.zeros((3, 0, 4))), "feature maps are"),
        (lambda: mask_overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 5), np.uint8), KIDNEY), "same size"),
        (lambda: mask_overlay(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), KIDNEY, opacity=2), "0 to 1"),
    ],
)
def test_bad_input_is_one_line(make, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_pictures_need_neither_torch_nor_matplotlib() -> None:
    code = (
        "import sys, numpy as np; from hdgan.explore import pca_rgb; pca_rgb(np.random.rand(3, 4, 4)); "
        "sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
