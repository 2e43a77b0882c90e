from __future__ import annotations

import numpy as np
import pytest

from tiling import open_slide
from tiling.grid import Grid, make_grid
from tiling.tissue import TissueMask, find_tissue, has_dark_background


def test_tissue_is_found_where_it_is_and_nowhere_else(stained):
    picture = stained(400, 300)
    truth = (picture != 244).any(axis=-1)
    assert (find_tissue(picture) == truth).mean() > 0.98


def test_an_empty_slide_has_no_tissue_and_a_full_one_no_background():
    noise = np.random.default_rng(0).integers(-2, 3, (200, 200, 3))
    assert not find_tissue((np.array([240, 241, 238]) + noise).astype(np.uint8)).any()
    assert find_tissue((np.array([200, 110, 160]) + 10 * noise).astype(np.uint8)).all()
    assert not find_tissue(np.full((50, 50, 3), 255, np.uint8)).any()
    assert not find_tissue(np.zeros((50, 50, 3), np.uint8)).any()


def test_grey_silver_stain_counts_as_tissue():
    picture = np.full((100, 100, 3), 240, np.uint8)
    picture[30:70, 30:70] = 90
    assert find_tissue(picture)[35:65, 35:65].all()
    assert find_tissue(picture).mean() < 0.2


@pytest.mark.parametrize(
    ("name", "dark", "least", "most"),
    [
        ("cmu-1-small-region.svs", False, 0.3, 0.42),
        ("tcga-cr-7395-01a-01-ts1.svs", False, 0.55, 0.7),
        ("fluorescence-dapi.ndpi", True, 0.25, 0.5),
    ],
)
def test_real_slides_have_the_tissue_that_one_sees(data, name, dark, least, most):
    with open_slide(data / "slides" / name) as slide:
        assert slide.dark_background is dark
        assert least < TissueMask.of(slide).mask.mean() < most


def test_biopsy_photographs_of_every_stain_are_mostly_tissue(data):
    for path in sorted((data / "glomeruli").glob("*.jpg"))[::15]:
        with open_slide(path) as slide:
            assert not slide.dark_background
            assert TissueMask.of(slide, max_size=512).mask.mean() > 0.45, path.name


def test_dense_dark_nuclei_are_not_taken_for_fluorescence(data):
    with open_slide(data / "classification" / "LYM-AATTSRNN.tif") as slide:
        assert not slide.dark_background
    assert not has_dark_background(np.empty((0, 3), np.uint8))


def test_fractions_are_the_mean_of_the_mask_under_each_tile():
    mask = np.random.default_rng(0).random((30, 40)) > 0.5
    tissue = TissueMask(mask, width=400, height=300)
    assert tissue.downsample == 10
    grid = make_grid(400, 300, size=50)
    expected = [mask[y // 10 : y // 10 + 5, x // 10 : x // 10 + 5].mean() for x, y in zip(grid.x, grid.y, strict=True)]
    np.testing.assert_allclose(tissue.fraction(grid), expected, atol=1e-12)


def test_fractions_are_exact_for_tiles_between_mask_pixels_and_beyond_the_edge():
    mask = np.random.default_rng(1).random((30, 40)) > 0.5
    fine = mask.repeat(10, axis=0).repeat(10, axis=1)
    grid = Grid(np.array([3, 117, 377]), np.array([7, 255, -11]), size=37)
    padded = np.pad(fine, 50)
    expected = [padded[y + 50 : y + 87, x + 50 : x + 87].mean() for x, y in zip(grid.x, grid.y, strict=True)]
    np.testing.assert_allclose(TissueMask(mask, 400, 300).fraction(grid), expected, atol=1e-12)
