from __future__ import annotations

import numpy as np
import pytest

import tiling.resample
from tiling.resample import area_resample


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (96, 60, 3), dtype=np.uint8)


def resampled(picture: np.ndarray, extent: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
    return area_resample(lambda start, stop: picture[start:stop], extent, size)


@pytest.mark.parametrize("factor", [1, 2, 3, 4, 6])
def test_integer_factors_give_the_rounded_mean_of_every_block(picture, factor):
    h, w = 96 // factor, 60 // factor
    expected = np.rint(picture.reshape(h, factor, w, factor, 3).astype(float).mean((1, 3)))
    np.testing.assert_array_equal(resampled(picture, (96, 60), (h, w)), expected)


def test_fractional_factors_weigh_pixels_by_the_part_covered():
    row = np.array([0, 90, 180], np.uint8)[None, :, None].repeat(3, axis=2)
    assert resampled(row, (1, 3), (1, 2))[0, :, 0].tolist() == [30, 150]
    assert resampled(row, (1, 2.5), (1, 1))[0, 0, 0] == (0 + 90 + 180 / 2) / 2.5


def test_bands_make_no_difference(picture, monkeypatch):
    whole = resampled(picture, (95.3, 59.1), (37, 23))
    monkeypatch.setattr(tiling.resample, "_BAND", 300)
    np.testing.assert_array_equal(resampled(picture, (95.3, 59.1), (37, 23)), whole)


def test_a_constant_picture_stays_constant():
    grey = np.full((50, 70, 3), 201, np.uint8)
    assert (resampled(grey, (49.7, 69.2), (13, 17)) == 201).all()
