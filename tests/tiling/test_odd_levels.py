"""Levels whose downsample is not a whole number: scanners round their sizes down."""

from __future__ import annotations

import numpy as np
import openslide
import pyarrow.parquet as pq
import pytest
import tifffile
from damaged import CELL, jpeg_slide

import tiling.resample
import tiling.slide
import tiling.tile_reading
from tiling import open_slide, tile_archive
from tiling.backends.base import DeclinedError
from tiling.backends.openslide import OpenSlideBackend
from tiling.backends.tiff import TiffBackend
from tiling.plan import plan_slide
from tiling.settings import TileSettings
from tiling.tile_reading import read_tile


def smaller(pixels, factor):
    height, width = (size // factor * factor for size in pixels.shape[:2])
    blocks = pixels[:height, :width].reshape(height // factor, factor, width // factor, factor, 3)
    return blocks.mean((1, 3)).astype(np.uint8)


@pytest.fixture
def odd(tmp_path, stained):
    """A slide of three levels of downsample 1, 2.001 and 4.007."""
    full = stained(2051, 1541)
    (tmp_path / "archive").mkdir()
    return jpeg_slide(tmp_path / "archive" / "odd.svs", [full, smaller(full, 2), smaller(full, 4)])


def pages(path):
    with tifffile.TiffFile(path) as file:
        return [page.asarray() for page in file.pages]


@pytest.fixture
def without_openslide(odd, monkeypatch):
    """The slide opened, after which OpenSlide is not to be asked for pixels."""
    with open_slide(odd) as slide:
        assert slide.backend == "tiff"
        assert [level.downsample % 1 > 0 for level in slide.levels] == [False, True, True]

        def refuse(*_, **__):
            raise AssertionError("asked OpenSlide")

        monkeypatch.setattr(OpenSlideBackend, "read", refuse)
        yield slide


def test_a_region_that_begins_with_any_pixel_of_a_level_has_that_levels_pixels(odd, without_openslide):
    for number, stored in enumerate(pages(odd)):
        downsample = without_openslide.levels[number].downsample
        height, width = stored.shape[:2]
        for left, top in [(0, 0), (1, 1), (width // 2, height // 3), (width // 3, height - 1), (width - 1, 77)]:
            place = {"x": round(left * downsample), "y": round(top * downsample), "level": number}
            region = without_openslide.read(**place, width=min(90, width - left), height=min(70, height - top))
            np.testing.assert_array_equal(region, stored[top : top + 70, left : left + 90])


def test_pixels_are_openslides_where_it_does_not_interpolate(odd):
    with open_slide(odd) as slide, openslide.OpenSlide(odd) as reference:
        for number, (width, height, downsample) in enumerate(slide.levels):
            same = [left for left in range(width - 80) if abs(round(left * downsample) / downsample - left) < 1e-3]
            for left in (same[0], same[len(same) // 2], same[-1]):
                x, size = round(left * downsample), (80, min(60, height))
                expected = np.asarray(reference.read_region((x, 0), number, size))[..., :3]
                given = slide.read(x=x, y=0, width=size[0], height=size[1], level=number)
                np.testing.assert_array_equal(given, expected)


def test_a_real_slides_odd_level_is_read_directly_and_looks_the_same(data):
    path = data / "slides" / "tcga-cr-7395-01a-01-ts1.svs"
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
        downsample = slide.levels[1].downsample
        x, y = round(901 * downsample), round(803 * downsample)
        given = slide.read(x=x, y=y, width=300, height=200, level=1).astype(int)
        expected = np.asarray(reference.read_region((x, y), 1, (300, 200)))[..., :3]
    assert np.abs(given - expected).mean() < 10


def test_patches_that_tell_its_kind_lie_on_its_pixels(without_openslide, monkeypatch):
    monkeypatch.setattr(tiling.slide, "_WHOLE", 0)
    assert not without_openslide.dark_background


@pytest.mark.parametrize("level", [0, 1])
def test_a_level_that_openslide_sees_otherwise_in_its_midst_is_not_served(odd, monkeypatch, level):
    read = OpenSlideBackend.read

    def otherwise(self, **place):
        pixels = read(self, **place).copy()
        if place["level"] == level and place["x"] > 500:
            pixels[9, 9, 1] ^= 8
        return pixels

    monkeypatch.setattr(OpenSlideBackend, "read", otherwise)
    with pytest.raises(DeclinedError, match=rf"has pixels that OpenSlide sees otherwise, at \d+, \d+ of level {level}"):
        TiffBackend.open(odd)


def test_tiles_of_a_level_lie_on_its_pixels_and_their_cells_are_copied(tmp_path, odd):
    settings = {"size": 2 * CELL, "level": 1, "tissue": 0, "materialise": "cells"}
    tiles = tile_archive(tmp_path / "archive", tmp_path / "tiles", **settings)
    assert pq.read_table(tmp_path / "tiles" / "ledger.parquet")["stored"].to_pylist() == ["cells"]
    stored = pages(odd)[1]
    assert len(tiles) == (stored.shape[1] // 256) * (stored.shape[0] // 256)
    for number, tile in enumerate(tiles):
        left, top = round(tile.x / tile.scale), round(tile.y / tile.scale)
        assert (left % 256, top % 256) == (0, 0)
        np.testing.assert_array_equal(tiles.read(number), stored[top : top + 256, left : left + 256])


def test_resampled_tiles_begin_with_a_pixel_of_their_level_within_the_slide(without_openslide):
    plan = plan_slide(without_openslide, TileSettings(size=100, mpp=1.1, tissue=0), name="a", mpp=0.5)
    downsample = without_openslide.levels[1].downsample
    assert (plan.level, plan.grid.scale) == (1, 2.2)
    np.testing.assert_array_equal(plan.grid.x, np.rint(np.rint(plan.grid.x / downsample) * downsample))
    assert plan.grid.x.max() + plan.grid.extent <= without_openslide.dimensions[0]
    assert (np.abs(np.unique(plan.grid.x) - np.arange(9) * 220) <= 3).all()


@pytest.mark.parametrize(("level", "scale"), [(1, 2.9), (2, 4.7)])
def test_bands_of_a_tile_follow_each_other_pixel_by_pixel(without_openslide, monkeypatch, level, scale):
    monkeypatch.setattr(tiling.resample, "_BAND", 1 << 12)
    downsample = without_openslide.levels[level].downsample
    for left in (0, 1, 61, 62):
        place = {"x": round(left * downsample), "y": round(left * downsample), "size": 200}
        with monkeypatch.context() as patch:
            whole = read_tile(without_openslide, **place, level=level, scale=scale)
            patch.setattr(tiling.tile_reading, "_HELD", 0)
            banded = read_tile(without_openslide, **place, level=level, scale=scale)
        np.testing.assert_array_equal(banded, whole)
