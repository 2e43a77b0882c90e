from __future__ import annotations

import numpy as np
import pytest

from tiling import open_slide
from tiling.tissue import find_tissue, has_dark_background


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
        assert least < find_tissue(slide.thumbnail(1024), dark=dark).mean() < most


def test_biopsy_photographs_of_every_stain_are_mostly_tissue(data):
    for path in sorted((data / "glomeruli").glob("*.jpg"))[::15]:
        with open_slide(path) as slide:
            assert not slide.dark_background
            assert find_tissue(slide.thumbnail(512), dark=False).mean() > 0.45, path.name


def test_dense_dark_nuclei_are_not_taken_for_fluorescence(data):
    with open_slide(data / "classification" / "LYM-AATTSRNN.tif") as slide:
        assert not slide.dark_background
    assert not has_dark_background(np.empty((0, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "glass", "tissue"),
    [
        ("20180029-PAS.jpg", (slice(320, 420), slice(300, 480)), (slice(0, 60), slice(150, 190))),
        ("20180024-Masson.jpg", (slice(20, 100), slice(280, 480)), (slice(140, 200), slice(190, 300))),
    ],
)
def test_the_tint_of_the_lamp_is_not_taken_for_tissue(data, name, glass, tissue):
    with open_slide(data / "glomeruli" / name) as slide:
        found = find_tissue(slide.thumbnail(512), dark=False)
    assert found[glass].mean() < 0.05
    assert found[tissue].mean() > 0.8


def test_tinted_glass_alone_is_empty_and_pale_pink_tissue_alone_is_full():
    noise = np.random.default_rng(0).integers(-2, 3, (200, 200, 3))
    assert not find_tissue((np.array([215, 225, 240]) + noise).astype(np.uint8)).any()
    assert find_tissue((np.array([235, 195, 215]) + noise).astype(np.uint8)).all()
