from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdgan.pairs.png_rows import PngRows
from hdgan.pairs.strips import Strip, Tally, banded, image_score


def drawn(size: int, seed: int = 0) -> Strip:
    """A pair with structure and noise."""
    draw = np.random.default_rng(seed)
    waves = np.sin(np.arange(size) / 9)[:, None, None] + np.cos(np.arange(size) / 7)[None, :, None]
    image = (waves * 50 + draw.normal(128, 5, (size, size, 3))).clip(0, 255).astype(np.uint8)
    mask = (waves[:, :, 0] > 0).astype(np.uint8) + (waves[:, :, 0] > 1)
    return Strip(image, mask, draw.exponential(0.1, (size, size)).astype(np.float16))


def cut(pair: Strip, height: int) -> list[Strip]:
    return [pair.rows(y, y + height) for y in range(0, len(pair), height)]


@pytest.mark.parametrize("height", [1, 3, 16, 30, 64, 100])
@pytest.mark.parametrize("given", [1, 7, 64])
def test_strips_are_cut_anew_to_any_height(height: int, given: int) -> None:
    pair = drawn(64)
    bands = list(banded(cut(pair, given), height))
    assert [len(band) for band in bands[:-1]] == [height] * (len(bands) - 1)
    for whole, now in zip(pair.arrays, Strip.joined(bands).arrays, strict=True):
        np.testing.assert_array_equal(now, whole)


@pytest.mark.parametrize("given", [1, 13, 64])
def test_what_is_told_of_a_pair_does_not_depend_on_its_strips(given: int) -> None:
    pair = drawn(64)
    tally = Tally(4, 64, thumbnail=16)
    assert sum(len(strip) for strip in tally.watch(cut(pair, given))) == 64
    assert tally.fractions == tuple((np.bincount(pair.mask.ravel(), minlength=4) / 64**2).tolist())
    exact = np.sort(pair.uncertainty.ravel().astype(np.float64))[-409:].mean()  # a tenth of 4096, rounded down
    assert tally.score == pytest.approx(exact, rel=1e-12)
    assert image_score(pair.uncertainty) == tally.score
    by_area = pair.image.reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert tally.thumbnail is not None
    assert np.abs(tally.thumbnail - by_area).max() <= 0.5


def test_the_score_of_an_image_is_the_mean_of_its_most_uncertain_tenth() -> None:
    values = np.random.default_rng(0).permutation(100).astype(np.float32).reshape(10, 10)
    assert image_score(values) == np.mean(range(90, 100))
    assert image_score(np.full((2, 2), 3, np.float32)) == 3
    assert image_score(np.full((2, 2), -0.0, np.float32)) == 0


@pytest.mark.parametrize("given", [1, 5, 24])
def test_a_png_written_row_by_row_is_what_others_read(given: int, tmp_path: Path) -> None:
    pair, palette = drawn(24), bytes(range(256)) * 3
    for name, rows, of in (("image", pair.image, None), ("mask", pair.mask, palette)):
        with (tmp_path / name).open("wb") as file:
            png = PngRows(file, 24, 24, palette=of)
            for y in range(0, 24, given):
                png.add(rows[y : y + given])
            png.finish()
        with Image.open(tmp_path / name) as picture:
            assert (picture.mode, picture.size) == ("RGB" if of is None else "P", (24, 24))
            np.testing.assert_array_equal(np.array(picture), rows)
            if of is not None:
                assert picture.palette is not None
                assert picture.palette.tobytes() == palette


def test_a_png_written_row_by_row_is_about_as_small_as_that_of_pillow(tmp_path: Path) -> None:
    image = drawn(256).image
    with (tmp_path / "ours.png").open("wb") as file:
        png = PngRows(file, 256, 256)
        png.add(image)
        png.finish()
    Image.fromarray(image).save(tmp_path / "pillow.png")
    assert (tmp_path / "ours.png").stat().st_size < 1.1 * (tmp_path / "pillow.png").stat().st_size
