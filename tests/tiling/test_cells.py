from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from tiling import InputError, open_slide
from tiling.backends import tiff
from tiling.backends.base import BackendError, DeclinedError
from tiling.backends.openslide import OpenSlideBackend
from tiling.backends.tiff import TiffBackend
from tiling.files import state_of

CELL = 128


def written(path, pixels, *, photometric="ycbcr", cell=CELL, **options):
    """A TIFF of JPEG cells."""
    compression = {"compression": "jpeg", "compressionargs": {"level": 90}}
    tifffile.imwrite(path, pixels, tile=(cell, cell), photometric=photometric, **(compression | options))
    return path


def test_every_pixel_is_openslides_at_every_place_and_level(pyramid):
    path, _ = pyramid
    draws = np.random.default_rng(0)
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
        assert slide.backend == "tiff"
        for level, (width, height, downsample) in enumerate(slide.levels):
            for _ in range(8):
                w, h = (int(draws.integers(1, size)) for size in (width, height))
                x, y = (int(draws.integers(0, size * downsample)) for size in (width, height))
                expected = np.asarray(reference.read_region((x, y), level, (w, h)))
                inside = expected[..., 3] == 255
                given = slide.read(x=x, y=y, width=w, height=h, level=level)
                np.testing.assert_array_equal(given[inside], expected[inside][:, :3])
                assert (given[expected[..., 3] == 0] == 255).all()


@pytest.mark.parametrize("name", ["cmu-1-small-region.svs", "tcga-cr-7395-01a-01-ts1.svs"])
def test_threads_read_openslides_pixels_from_every_level_of_real_slides(data, name):
    draws, path = np.random.default_rng(0), data / "slides" / name
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference, ThreadPoolExecutor(8) as pool:
        assert slide.backend == "tiff"
        places = []
        for level, (width, height, downsample) in enumerate(slide.levels):
            step = next(n for n in range(1, 5000) if abs(n * downsample - round(n * downsample)) < 0.5 / width)
            for _ in range(6):
                x, y = (int(draws.integers(-1, size // step)) * step * downsample for size in (width, height))
                w, h = (int(size) for size in draws.integers(1, 500, 2))
                places.append({"x": round(x), "y": round(y), "width": w, "height": h, "level": level})
        for place, given in zip(places, pool.map(lambda place: slide.read(**place), places), strict=True):
            corner, size = (place["x"], place["y"]), (place["width"], place["height"])
            expected = np.asarray(reference.read_region(corner, place["level"], size))
            inside = expected[..., 3] == 255
            np.testing.assert_array_equal(given[inside], expected[inside][:, :3])


@pytest.mark.parametrize("subsampling", [(2, 2), (2, 1), (1, 1)])
@pytest.mark.parametrize("size", [(640, 512), (601, 333)])
def test_colour_is_subsampled_and_borders_are_cut_as_openslide_does(tmp_path, stained, subsampling, size):
    path = written(tmp_path / "slide.tiff", stained(*size), subsampling=subsampling)
    assert tifffile.TiffFile(path).pages[0].subsampling == subsampling
    with TiffBackend.open(path) as backend, openslide.OpenSlide(path) as reference:
        given = backend.read(x=0, y=0, width=size[0], height=size[1], level=0)
        np.testing.assert_array_equal(given, np.asarray(reference.read_region((0, 0), 0, size))[..., :3])


def test_cells_are_handed_out_as_they_stand_in_the_file(pyramid):
    path, levels = pyramid
    with TiffBackend.open(path) as backend, path.open("rb") as file:
        grid = backend.grids[1]
        assert grid.sizes.shape == (3, 4)
        data = grid.encoded(file.fileno(), (2, 3))
        assert data[:2] == b"\xff\xd8"
        assert data in path.read_bytes()
        np.testing.assert_array_equal(grid.decode(data), levels[1][256:384, 384:512])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"compression": "zlib", "compressionargs": {}}, "is not made of JPEG or JPEG 2000 cells"),
        ({"photometric": "minisblack"}, "has cells of other than three 8-bit colours"),
    ],
)
def test_what_it_cannot_serve_is_left_to_the_next_with_the_reason(tmp_path, stained, options, reason):
    pixels = stained(300, 200)
    if "photometric" in options:
        pixels = pixels[..., 0]
    else:
        options = options | {"photometric": "rgb"}
    path = written(tmp_path / "slide.tiff", pixels, **options)
    with pytest.raises(DeclinedError, match=reason):
        TiffBackend.open(path)
    with open_slide(path) as slide:
        assert slide.backend != "tiff"


def spotted(size, x, y, colour):
    """A white picture with a spot of texture that touches no diagonal."""
    pixels = np.full((size, size, 3), 255, np.uint8)
    texture = np.random.default_rng(0).integers(0, 40, (size // 4, size // 4, 1))
    pixels[y : y + size // 4, x : x + size // 4] = np.array(colour) + texture
    return pixels


def test_a_page_that_has_a_levels_size_and_is_none_is_not_taken_for_it(tmp_path):
    path = tmp_path / "slide.tiff"
    coding = {"tile": (128, 128), "compression": "jpeg", "photometric": "ycbcr", "metadata": None}
    with tifffile.TiffWriter(path) as file:
        file.write(spotted(4096, 3072, 0, (150, 60, 120)), subfiletype=0, **coding)
        file.write(spotted(1024, 0, 768, (0, 0, 200)), subfiletype=0, **coding)
        file.write(spotted(1024, 768, 0, (150, 60, 120)), subfiletype=1, **coding)
    with pytest.raises(DeclinedError, match="has 2 pages of cells for its level of 1024 x 1024 px"):
        TiffBackend.open(path)
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
        given = slide.read(x=0, y=0, width=1024, height=1024, level=1)
        np.testing.assert_array_equal(given, np.asarray(reference.read_region((0, 0), 1, (1024, 1024)))[..., :3])


def test_pixels_are_compared_where_there_are_some(tmp_path, monkeypatch):
    path = written(tmp_path / "slide.tiff", spotted(2048, 1536, 100, (150, 60, 120)))
    TiffBackend.open(path).close()
    read = OpenSlideBackend.read

    def without_spot(self, **place):
        pixels = read(self, **place)
        pixels[:] = read(self, **place | {"x": 0, "y": 0})[0, 0]
        return pixels

    monkeypatch.setattr(tiff, "_alike", set())
    monkeypatch.setattr(OpenSlideBackend, "read", without_spot)
    with pytest.raises(DeclinedError, match=r"sees otherwise, at 1\d{3}, \d+ of level 0"):
        TiffBackend.open(path)


def test_white_that_equals_white_is_no_proof_where_the_rest_cannot_be_compared(tmp_path, monkeypatch):
    path, read = written(tmp_path / "slide.tiff", spotted(2048, 1536, 100, (150, 60, 120))), OpenSlideBackend.read

    def no_spot(self, **place):
        pixels = read(self, **place)
        if np.ptp(pixels, axis=(0, 1)).any():
            raise BackendError("cannot be decoded")
        return pixels

    monkeypatch.setattr(OpenSlideBackend, "read", no_spot)
    with pytest.raises(DeclinedError, match="of which no region can be compared"):
        TiffBackend.open(path)
    white = written(tmp_path / "white.tiff", np.full((1024, 1024, 3), 255, np.uint8))
    TiffBackend.open(white).close()


def test_no_more_files_are_remembered_than_a_process_has_room_for(tmp_path, stained, monkeypatch):
    monkeypatch.setattr(tiff, "_alike", set())
    monkeypatch.setattr(tiff, "_MOST_ALIKE", 2)
    for number in range(5):
        TiffBackend.open(written(tmp_path / f"{number}.tiff", stained(300, 200))).close()
        assert 1 <= len(tiff._alike) <= 2


def test_a_file_that_is_replaced_while_it_is_opened_is_compared_again(tmp_path, stained, monkeypatch):
    path, begin = written(tmp_path / "slide.tiff", stained(300, 200)), TiffBackend.__init__
    monkeypatch.setattr(tiff, "_alike", set())

    def replaced(self, *opened):
        written(tmp_path / "new.tiff", stained(300, 200)).replace(path)
        begin(self, *opened)

    monkeypatch.setattr(TiffBackend, "__init__", replaced)
    TiffBackend.open(path).close()
    assert len(tiff._alike) == 1
    assert state_of(path) not in tiff._alike


def test_a_file_with_missing_cells_is_left_to_openslide(tmp_path, stained):
    path = written(tmp_path / "slide.tiff", stained(300, 200))
    with tifffile.TiffFile(path, mode="r+") as file:
        sizes = file.pages[0].tags["TileByteCounts"]
        sizes.overwrite((0, *sizes.value[1:]))
    with pytest.raises(DeclinedError, match="cells without pixels"):
        TiffBackend.open(path)
    with open_slide(path) as slide:
        assert slide.backend == "openslide"


def test_a_slide_that_nobody_closes_frees_its_file_with_its_last_user(pyramid):
    path, _ = pyramid
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        slide = open_slide(path)
        assert slide.backend == "tiff"
    del slide
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_a_corrupt_cell_is_named_by_row_and_column_and_the_others_are_read(pyramid):
    path, levels = pyramid
    with TiffBackend.open(path) as backend:
        place = int(backend.grids[0].offsets[1, 2])
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(200))
    with open_slide(path) as slide:
        assert slide.backend == "tiff"
        with pytest.raises(InputError, match=r"x=200, y=100 of .*the cell at row 1 column 2 of the file"):
            slide.read(x=200, y=100, width=200, height=200)
        left = slide.read(x=0, y=0, width=256, height=768)
    np.testing.assert_array_equal(left, levels[0][:, :256])
