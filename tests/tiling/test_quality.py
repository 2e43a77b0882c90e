from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import gaussian_filter

from tiling import open_slide
from tiling.quality import blur_score, find_pen

INKS = {"blue": (35, 70, 175), "green": (20, 110, 70), "red": (205, 35, 45), "black": (28, 27, 30)}


def _thumbnail(path, size: int = 1024) -> np.ndarray:
    with open_slide(path) as slide:
        return slide.thumbnail(size)


def _drawn_on(picture: np.ndarray, ink: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A wavy stroke of a felt pen over a picture: a film with streaks, through which a quarter of it shows."""
    height, width = picture.shape[:2]
    line = Image.new("L", (width, height))
    across = np.linspace(0.1, 0.9, 40)
    points = [(x * width, height * (0.5 + 0.2 * np.sin(7 * x))) for x in across]
    thickness = max(width, height) * 0.04
    for x, y in points:
        ImageDraw.Draw(line).circle((x, y), thickness / 2, fill=255)
    ImageDraw.Draw(line).line(points, fill=255, width=round(thickness))
    alpha = np.asarray(line.filter(ImageFilter.GaussianBlur(1.5)))[..., None] / 255
    streaks = 1 + 0.05 * np.sin(np.arange(height) / 5)[:, None, None]
    film = np.array(ink) / 255 * np.percentile(picture, 99) * streaks
    covered = film * (0.75 + 0.25 * picture / 255)
    return np.clip(picture * (1 - alpha) + covered * alpha, 0, 255).astype(np.uint8), np.asarray(line) > 0


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    return gaussian_filter(picture.astype(float), (sigma, sigma, 0)).round().astype(np.uint8) if sigma else picture


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize(
    "name", ["slides/cmu-1-small-region.svs", "slides/tcga-cr-7395-01a-01-ts1.svs", "glomeruli/20180029-PAS.jpg"]
)
def test_pen_is_found_on_tissue_and_glass_and_nothing_else_is(data, name, ink):
    picture, pen = _drawn_on(_thumbnail(data / name), INKS[ink])
    found = find_pen(picture)
    assert found.shape == pen.shape
    assert found[pen].mean() > 0.7
    assert found[~pen].mean() < 0.002


def test_stained_tissue_is_not_taken_for_pen(data):
    most = {"PAS-": 0.0, "PASM": 0.06, "Masson": 0.06}  # fibrosis and silver may be smooth over a stroke's width
    for stain, limit in most.items():
        found = [
            find_pen(_thumbnail(path)).mean() for path in sorted((data / "glomeruli").glob(f"*-{stain}*.jpg"))[::9]
        ]
        assert max(found) <= limit, stain
        assert np.median(found) == 0, stain
    haematoxylin_and_eosin = [
        *(data / "monuseg").glob("*.tif"),
        *(data / "classification").glob("*.tif"),
        data / "slides" / "cmu-1-small-region.svs",
        data / "slides" / "tcga-cr-7395-01a-01-ts1.svs",
    ]
    assert len(haematoxylin_and_eosin) > 10
    for path in haematoxylin_and_eosin:
        assert not find_pen(_thumbnail(path)).any(), path.name


def test_pen_is_found_on_thumbnails_of_every_size(stained):
    for width, height in ((300, 200), (1023, 700), (2050, 1301)):
        picture, pen = _drawn_on(stained(width, height), INKS["blue"])
        found = find_pen(picture)
        assert found.shape == (height, width)
        assert found[pen].mean() > 0.7
        assert found[~pen].mean() < 0.01


def test_a_dark_slide_has_no_pen(data):
    picture = np.zeros((200, 300, 3), np.uint8)
    picture[50:100, 50:250] = (20, 40, 200)
    assert not find_pen(picture).any()
    assert not find_pen(_thumbnail(data / "slides" / "fluorescence-dapi.ndpi")).any()
    assert find_pen(picture, dark=False).any()


@pytest.mark.parametrize("name", ["monuseg/TCGA-B0-5710-01Z-00-DX1.tif", "glomeruli/20180009-Masson.jpg"])
def test_blur_grows_with_every_blur_of_a_real_tile(data, name):
    picture = _thumbnail(data / name, 2000)[:768, :768]
    scores = [blur_score(_blurred(picture, sigma)) for sigma in (0, 0.7, 1, 2, 4)]
    assert 0.2 < scores[0] < 0.5
    assert 0.7 < scores[-1] < 1
    assert scores == sorted(scores)
    assert len(set(scores)) == len(scores)


def test_blur_compares_between_sizes_of_tiles(data):
    picture = _thumbnail(data / "monuseg" / "TCGA-B0-5710-01Z-00-DX1.tif")
    whole = blur_score(np.pad(picture, ((0, 1000), (0, 1000), (0, 0)), mode="symmetric"))
    for size in (256, 300, 512, 900):
        assert blur_score(picture[:size, :size]) == pytest.approx(whole, abs=0.03)
    assert blur_score(picture) == blur_score(picture.copy())


def test_glass_has_no_blur_and_does_not_count_beside_tissue(data):
    tissue = _thumbnail(data / "monuseg" / "TCGA-B0-5710-01Z-00-DX1.tif")[:512, :512]
    glass = (240 + np.random.default_rng(0).integers(-2, 3, (512, 512, 3))).astype(np.uint8)
    assert math.isnan(blur_score(glass))
    assert math.isnan(blur_score(tissue[:20, :20]))
    assert blur_score(np.hstack([tissue, glass])) == pytest.approx(blur_score(tissue), abs=0.02)
