from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from painted import covered
from skimage.measure import points_in_poly

from tiling.errors import InputError
from tiling.regions import Region, paint_region, read_regions, region_mask


def star(x: float, y: float, radius: float, seed: int) -> np.ndarray:
    generator = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 17, endpoint=False)
    lengths = radius * generator.uniform(0.4, 1, 17)
    return np.stack([x + lengths * np.cos(angles), y + lengths * np.sin(angles)], axis=1)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


@pytest.mark.parametrize("downsample", [1.0, 2.0, 4.0003, 0.5])
def test_a_pixel_of_any_level_is_of_a_region_if_its_centre_is(downsample: float) -> None:
    outline, hole = star(300, 200, 150, 0), star(300, 200, 40, 1)
    region = Region(("a",), [[outline, hole]], "a")
    got = covered([region], shape=(50, 70), x=260.5, y=170, downsample=downsample)
    y, x = np.mgrid[:50, :70] + 0.5
    centres = np.stack([260.5 + x.ravel() * downsample, 170 + y.ravel() * downsample], axis=1)
    inside = points_in_poly(centres, outline) & ~points_in_poly(centres, hole)
    np.testing.assert_array_equal(got.ravel(), inside)
    assert 0 < inside.mean() < 1


def test_windows_are_parts_of_the_whole_and_regions_elsewhere_leave_them_free(data: Path) -> None:
    files = sorted((data / "monuseg").glob("*.xml"))
    if not files:
        pytest.skip(f"no ImageScope files at {data / 'monuseg'}")
    regions = read_regions(files[0])
    whole = covered(regions, shape=(1000, 1000))
    for x, y in ((0, 0), (310, 777)):
        window = covered(regions, shape=(200, 300), x=x, y=y)
        np.testing.assert_array_equal(window, whole[y : y + 200, x : x + 300])
    assert not covered(regions, shape=(64, 64), x=5000, y=5000).any()


def test_what_is_cut_out_of_a_region_stays_as_it_was() -> None:
    region = Region(("a",), [[box(0, 0, 60, 60)], [box(50, 50, 90, 90)]], "a", [[box(40, 40, 70, 70)]])
    labels = np.full((50, 50), 7, np.uint8)
    paint_region(labels, region, 3, x=10, y=10, downsample=2)
    expected = np.full((50, 50), 7, np.uint8)
    expected[:25, :25] = expected[20:40, 20:40] = 3
    expected[15:30, 15:30] = 7
    np.testing.assert_array_equal(labels, expected)


def test_a_region_of_more_pixels_than_are_decided_on_at_once_is_painted_without_a_seam() -> None:
    corners = star(3000, 1500, 3400, 2)
    got = covered([Region(("a",), [[corners]], "a")], shape=(3000, 6000))
    generator = np.random.default_rng(0)
    y, x = generator.integers(0, 3000, 4000), generator.integers(0, 6000, 4000)
    np.testing.assert_array_equal(got[y, x], points_in_poly(np.stack([x + 0.5, y + 0.5], axis=1), corners))


def test_a_mask_of_regions_has_the_proportions_of_the_slide() -> None:
    region = Region((), [[box(1000, 0, 5000, 1500)]], "a")
    mask = region_mask([region], width=4001, height=3000, max_size=400)
    assert mask.shape == (300, 400)
    assert mask.dtype == bool
    assert mask[:150, 100:].all()
    assert mask.sum() == 150 * 300
    assert region_mask([region], width=40, height=30, max_size=400).shape == (30, 40)


def test_a_downsample_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="downsample must be positive, not 0"):
        covered([Region((), [[box(0, 0, 1, 1)]], "a")], shape=(2, 2), downsample=0)
    with pytest.raises(InputError, match="at least 1 px, not 0"):
        region_mask([], width=10, height=10, max_size=0)
