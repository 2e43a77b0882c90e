from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from damaged import CELL, CHANGES, jpeg2000_slide, jpeg_slide, spoil

import tiling.resample
import tiling.tile_reading
from tiling import InputError, open_slide
from tiling.backends.openslide import OpenSlideBackend
from tiling.cells import set_threads
from tiling.damage import DamagedCell, damaged_pixels
from tiling.slide import Slide
from tiling.tile_reading import read_tile, salvage_tile

WIDTH, HEIGHT = 640, 512
CELL_1_2 = DamagedCell(level=0, row=1, column=2, x=256, y=128, width=CELL, height=CELL)
WHOLE = {"x": 0, "y": 0, "width": WIDTH, "height": HEIGHT}


def tissue(width=WIDTH, height=HEIGHT):
    """Texture everywhere: what stands for a cell in the file is then long enough to be cut."""
    y, x = np.mgrid[0:height, 0:width]
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 3))
    return np.clip(np.stack([x / 4, y / 4, (x + y) / 8], -1) + noise, 0, 255).astype(np.uint8)


def halved(pixels):
    height, width = pixels.shape[:2]
    return pixels.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3)).astype(np.uint8)


def by_openslide(path):
    return Slide(path, OpenSlideBackend.open(path))


@pytest.fixture
def slide_path(tmp_path):
    return jpeg_slide(tmp_path / "slide.tiff", [tissue(), halved(tissue())])


@pytest.fixture(scope="module", params=["jpeg", "jpeg2000"])
def intact(request, tmp_path_factory):
    """The bytes of a slide of three by two cells, and its pixels."""
    path, pixels = tmp_path_factory.mktemp("intact") / "slide.svs", tissue(3 * CELL, 2 * CELL)
    if request.param == "jpeg":
        jpeg_slide(path, [pixels])
    else:
        jpeg2000_slide(path, pixels)
    with open_slide(path) as slide:
        assert slide.backend == "tiff"
        return path.read_bytes(), slide.read(x=0, y=0, width=3 * CELL, height=2 * CELL)


@pytest.mark.parametrize("change", CHANGES)
def test_a_spoilt_cell_is_named_and_all_around_it_read(tmp_path, intact, change):
    content, pixels = intact
    expected, path = pixels.copy(), tmp_path / "slide.svs"
    expected[CELL:, 2 * CELL :] = 255
    path.write_bytes(content)
    whole = {"x": 0, "y": 0, "width": 3 * CELL, "height": 2 * CELL}
    with open_slide(path) as slide:
        assert slide.salvage(**whole)[1] == ()
    spoil(path, 1, 2, CHANGES[change])
    with open_slide(path) as slide:
        assert slide.backend == "tiff"
        region, damage = slide.salvage(**whole)
        assert damage == (CELL_1_2,)
        np.testing.assert_array_equal(region, expected)
        with pytest.raises(InputError, match="the cell at row 1 column 2 of the file's grid: "):
            slide.read(**whole)
        assert slide.salvage(x=0, y=0, width=256, height=256)[1] == ()


@pytest.mark.parametrize("size", [64, 256])
def test_a_cell_of_another_size_is_damage(tmp_path, size):
    small, other = jpeg_slide(tmp_path / "s.tiff", [tissue()]), tmp_path / "other.tiff"
    tifffile.imwrite(other, tissue(size, size) // 4, tile=(size, size), photometric="ycbcr", compression="jpeg")
    with tifffile.TiffFile(other) as file:
        start, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    spoil(small, 1, 2, lambda cell: other.read_bytes()[start : start + length][: len(cell)])
    with open_slide(small) as slide:
        assert slide.salvage(**WHOLE)[1] == (CELL_1_2,)


def test_blank_and_grey_cells_are_no_damage(tmp_path):
    for value in (0, 128, 255):
        path = jpeg_slide(tmp_path / f"{value}.tiff", [np.full((256, 256, 3), value, np.uint8)], subsampling=(1, 1))
        with open_slide(path) as slide:
            assert slide.backend == "tiff"
            region, damage = slide.salvage(x=0, y=0, width=256, height=256)
            assert damage == ()
            assert (region == region[0, 0]).all()


def test_bytes_changed_at_random_never_do_more_than_damage_their_cell(tmp_path):
    draws, content = np.random.default_rng(0), jpeg_slide(tmp_path / "s.tiff", [tissue(384, 256)]).read_bytes()

    def change(cell):
        at, length = draws.integers(0, len(cell)), draws.integers(1, 400)
        return cell[:at] + draws.bytes(min(length, len(cell) - at)) + cell[at + length :]

    found = 0
    for _ in range(25):
        (tmp_path / "s.tiff").write_bytes(content)
        spoil(tmp_path / "s.tiff", 1, 2, change)
        with open_slide(tmp_path / "s.tiff") as slide:
            found += len(slide.salvage(x=0, y=0, width=384, height=256)[1])
    assert found > 10


def test_several_threads_and_one_find_the_same(slide_path):
    for row, column in ((0, 0), (1, 2), (3, 4)):
        spoil(slide_path, row, column, bytes.swapcase)
    with open_slide(slide_path) as slide:
        one = slide.salvage(**WHOLE)
        set_threads(3)
        try:
            several = slide.salvage(**WHOLE)
        finally:
            set_threads(1)
    assert [(cell.row, cell.column) for cell in one[1]] == [(0, 0), (1, 2), (3, 4)]
    assert one[1] == several[1]
    np.testing.assert_array_equal(one[0], several[0])
    with pytest.raises(InputError, match="at least 1 thread, not 0"):
        set_threads(0)


def test_openslide_is_read_block_by_block_around_the_same_cells(slide_path):
    for row, column in ((0, 0), (1, 2), (3, 4)):
        spoil(slide_path, row, column, CHANGES["all zeros"])
    spoil(slide_path, 0, 1, CHANGES["all zeros"], level=1)
    places = [
        {**WHOLE, "level": 0},
        {"x": 250, "y": 100, "width": 9, "height": 30, "level": 0},
        {"x": -20, "y": -30, "width": 700, "height": 200, "level": 0},
        {"x": 0, "y": 0, "width": WIDTH // 2, "height": HEIGHT // 2, "level": 1},
        {"x": 300, "y": 100, "width": 400, "height": 100, "level": 1},
    ]
    with open_slide(slide_path) as slide, by_openslide(slide_path) as other:
        assert slide.backend == "tiff"
        for place in places:
            region, damage = slide.salvage(**place)
            region_too, damage_too = other.salvage(**place)
            assert damage
            assert damage_too == damage
            np.testing.assert_array_equal(region_too, region)
        assert damage == (DamagedCell(level=1, row=0, column=1, x=256, y=0, width=256, height=256),)
        # between the pixels of the level, where OpenSlide has to read
        assert slide.salvage(x=301, y=101, width=50, height=50, level=1)[1] == damage


def test_a_slide_of_nothing_but_damage_is_background_and_leaves_no_handle_open(slide_path):
    for row in range(4):
        for column in range(5):
            spoil(slide_path, row, column, CHANGES["all zeros"])
    before = len(list(Path("/proc/self/fd").iterdir()))
    with by_openslide(slide_path) as slide, ThreadPoolExecutor(4) as pool:
        places = [{"x": x, "y": 0, "width": 300, "height": HEIGHT} for x in (0, 100, 200, 300)]
        for region, damage in pool.map(lambda place: slide.salvage(**place), places * 2):
            assert (region == 255).all()
            assert len(damage) in {12, 16}
        assert slide.read(x=0, y=0, width=50, height=50, level=1).shape == (50, 50, 3)
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_file_that_is_gone_is_an_error_and_no_damage(slide_path):
    spoil(slide_path, 0, 0, CHANGES["all zeros"])
    with by_openslide(slide_path) as slide:
        slide_path.unlink()
        with pytest.raises(InputError, match="cannot read 8 x 8 px at x=0, y=0 of level 0 from"):
            slide.salvage(x=0, y=0, width=8, height=8)


def test_real_slides_are_salvaged_too(data, tmp_path):
    with open_slide(data / "slides" / "unreadable.svs") as slide:
        region, damage = slide.salvage(x=0, y=0, width=20, height=16)
        assert (region == slide.background).all()
        assert damage == (DamagedCell(level=0, row=0, column=0, x=0, y=0, width=16, height=16),)
    for name in ("cmu-1-small-region.svs", "tcga-cr-7395-01a-01-ts1.svs"):
        path = tmp_path / name
        path.write_bytes((data / "slides" / name).read_bytes())
        spoil(path, 2, 3, CHANGES["cut in half"])
        with open_slide(path) as slide, open_slide(data / "slides" / name) as intact:
            assert slide.backend == "tiff"
            region, damage = slide.salvage(x=500, y=300, width=700, height=600)
            assert [(cell.row, cell.column) for cell in damage] == [(2, 3)]
            there = ~damaged_pixels(damage, x=500, y=300, size=700, scale=1.0)[:600]
            expected = intact.read(x=500, y=300, width=700, height=600)
            np.testing.assert_array_equal(region[there], expected[there])
            assert (region[~there] == slide.background).all()


def test_a_slide_whose_sampled_regions_are_corrupt_is_still_decoded_directly(tmp_path):
    path = jpeg_slide(tmp_path / "slide.tiff", [tissue(), halved(tissue())[:CELL, :CELL]])
    for change, level in ((CHANGES["zeros at the tail"], 0), (CHANGES["all zeros"], 1)):
        spoil(path, 0, 0, change, level=level)  # of level 1 there is no other cell
    with open_slide(path) as slide:
        assert slide.backend == "tiff"


def test_thumbnails_take_damaged_cells_from_finer_levels(tmp_path):
    levels = [tissue(1024, 1024), halved(tissue(1024, 1024)), halved(halved(tissue(1024, 1024)))]
    path = jpeg_slide(tmp_path / "slide.tiff", levels)
    with open_slide(path) as slide:
        intact = slide.thumbnail(256)
    spoil(path, 1, 0, CHANGES["all zeros"], level=2)
    spoil(path, 2, 0, CHANGES["all zeros"], level=1)
    with open_slide(path) as slide:
        mended = slide.thumbnail(256)
    assert np.abs(mended.astype(int) - intact).mean() < 2  # another JPEG of the same
    np.testing.assert_array_equal(mended[:128], intact[:128])
    spoil(path, 5, 1, CHANGES["all zeros"])
    with open_slide(path) as slide:
        thumbnail, lost = slide.salvage_thumbnail(256)
        assert [(cell.level, cell.row, cell.column) for cell in lost] == [(0, 5, 1)]
        assert (thumbnail[160:192, 32:64] == 255).all()
        assert slide.salvage_thumbnail(1024)[1] == lost


def test_a_slide_of_nothing_but_damage_has_no_thumbnail(data):
    with (
        open_slide(data / "slides" / "unreadable.svs") as slide,
        pytest.raises(InputError, match="cannot read 16 x 16"),
    ):
        slide.thumbnail(100)


@pytest.mark.parametrize(("scale", "level"), [(1.0, 0), (2.0, 1), (1.5, 0), (3.0, 1)])
def test_tiles_are_salvaged_at_their_own_resolution(slide_path, scale, level):
    place = {"x": 100, "y": 60, "size": 150, "level": level, "scale": scale}
    with open_slide(slide_path) as slide:
        expected = read_tile(slide, **place)
        tile, damage = salvage_tile(slide, **place)
        assert damage == ()
        np.testing.assert_array_equal(tile, expected)
    spoil(slide_path, 1, 1, CHANGES["cut in half"], level=level)
    with open_slide(slide_path) as slide:
        tile, damage = salvage_tile(slide, **place)
        assert [(cell.level, cell.row, cell.column) for cell in damage] == [(level, 1, 1)]
        touched = damaged_pixels(damage, x=100, y=60, size=150, scale=scale)
        assert 0 < touched.sum() < touched.size
        np.testing.assert_array_equal(tile[~touched], expected[~touched])
        inside = touched & np.roll(touched, 1, 0) & np.roll(touched, 1, 1) & np.roll(touched, 1, (0, 1))
        assert (np.median(tile[inside], axis=0) == slide.background).all()
        with pytest.raises(InputError, match="row 1 column 1"):
            read_tile(slide, **place)


def test_damaged_pixels_are_those_that_a_cell_touches():
    cell = DamagedCell(level=0, row=1, column=1, x=100, y=100, width=100, height=50)
    touched = damaged_pixels([cell], x=50, y=120, size=40, scale=4.0)
    assert touched.dtype == bool
    assert np.argwhere(touched).min(0).tolist() == [0, 12]  # px 12 covers 98 to 102
    assert np.argwhere(touched).max(0).tolist() == [7, 37]
    assert not damaged_pixels([cell], x=200, y=100, size=10, scale=1.0).any()
    assert not damaged_pixels([], x=0, y=0, size=3, scale=2.5).any()


def test_a_tile_of_more_pixels_than_are_held_is_read_in_bands_to_the_same_pixels(tmp_path, stained, monkeypatch):
    path = jpeg_slide(tmp_path / "a.svs", [stained(1024, 1024)])
    spoil(path, 3, 4, CHANGES["all zeros"])
    monkeypatch.setattr(tiling.resample, "_BAND", 1 << 16)
    with open_slide(path) as slide:
        place = {"x": 0, "y": 0, "size": 100, "level": 0, "scale": 10.0}
        whole = salvage_tile(slide, **place)
        monkeypatch.setattr(tiling.tile_reading, "_HELD", 0)
        banded = salvage_tile(slide, **place)
    np.testing.assert_array_equal(banded[0], whole[0])
    assert banded[1] == whole[1] != ()
