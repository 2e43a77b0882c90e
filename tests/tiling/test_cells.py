from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openslide
import pytest
import tifffile

from tiling import InputError, open_slide
from tiling.backends.base import DeclinedError
from tiling.backends.tiff import TiffBackend

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
