from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import openslide
import pytest
from PIL import Image

from tiling import InputError, open_slide

SCANS = {
    "cmu-1-small-region.svs": "tiff",
    "tcga-cr-7395-01a-01-ts1.svs": "tiff",  # JPEG 2000
    "fluorescence-dapi.ndpi": "openslide",  # not made of cells
    "small.svs": "tiff",
    "boxes.tiff": "openslide",  # deflated cells
}


@pytest.mark.parametrize(("name", "backend"), SCANS.items())
def test_scanners_files_have_openslides_pixels_and_levels(data, name, backend):
    path = data / "slides" / name
    with open_slide(path) as slide, openslide.OpenSlide(path) as reference:
        assert slide.backend == backend
        assert slide.dimensions == reference.dimensions
        assert [level[:2] for level in slide.levels] == list(reference.level_dimensions)
        assert slide.properties["openslide.vendor"] == reference.properties["openslide.vendor"]
        for level in {0, len(slide.levels) - 1}:
            expected = np.asarray(reference.read_region((3, 5), level, (8, 6)))[..., :3]
            np.testing.assert_array_equal(slide.read(x=3, y=5, width=8, height=6, level=level), expected)


@pytest.mark.parametrize(
    ("name", "mpp", "power", "levels"),
    [
        ("cmu-1-small-region.svs", 0.499, 20, 1),
        ("tcga-cr-7395-01a-01-ts1.svs", None, None, 2),
        ("fluorescence-dapi.ndpi", 0.2281750559, 40, 7),
    ],
)
def test_resolution_and_objective_are_told_where_known(data, name, mpp, power, levels):
    with open_slide(data / "slides" / name) as slide:
        assert slide.mpp == pytest.approx(mpp)
        assert slide.objective_power == power
        assert len(slide.levels) == levels


def test_a_resolution_that_no_microscope_has_is_not_believed(data):
    with open_slide(data / "slides" / "boxes.tiff") as slide:
        assert "openslide.mpp-x" in slide.properties  # 352.8: the TIFF's 72 dpi
        assert slide.mpp is None


@pytest.mark.parametrize(
    ("name", "colour"), [("cmu-1-small-region.svs", (255, 255, 255)), ("fluorescence-dapi.ndpi", (0, 0, 0))]
)
def test_outside_is_white_in_bright_field_and_black_in_fluorescence(data, name, colour):
    with open_slide(data / "slides" / name) as slide:
        w, h = slide.dimensions
        region = slide.read(x=-4, y=h - 4, width=8, height=8)
        assert (region[:, :4] == colour).all()
        assert (region[4:] == colour).all()
        np.testing.assert_array_equal(region[:4, 4:], slide.read(x=0, y=h - 4, width=4, height=4))
        assert (slide.read(x=w + 100, y=0, width=3, height=2) == colour).all()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken.svs", "cannot open .*broken.svs as a slide: Unsupported or missing image file .openslide.; neither"),
        ("unopenable.tiff", "cannot open .*unopenable.tiff as a slide: Unsupported TIFF compression: 52479"),
        ("absent.svs", "no such slide: .*absent.svs"),
        ("", "is a folder; name one slide in it"),
    ],
)
def test_what_is_no_slide_is_refused_with_every_backends_reason(data, name, message):
    with pytest.raises(InputError, match=message) as caught:
        open_slide(data / "slides" / name)
    assert "\n" not in str(caught.value)


def test_an_unreadable_region_is_an_error_that_says_where_each_time(data):
    with open_slide(data / "slides" / "unreadable.svs") as slide:
        for _ in range(2):
            with pytest.raises(InputError, match=r"cannot read 4 x 4 px at x=1, y=2 of level 0 from .*unreadable.svs"):
                slide.read(x=1, y=2, width=4, height=4)


def spoil_the_first_cell(path):
    content = bytearray(path.read_bytes())
    start = content.index(b"\xff\xd8\xff")  # its JPEG stream
    content[start : start + 40] = b"\0" * 40
    path.write_bytes(content)


def test_one_corrupt_cell_does_not_spoil_the_rest_of_the_slide(pyramid):
    path, _ = pyramid
    with open_slide(path) as slide:
        good = slide.read(x=512, y=512, width=128, height=128)
    spoil_the_first_cell(path)
    with open_slide(path) as slide:
        with pytest.raises(InputError, match="at x=0, y=0 of level 0"):
            slide.read(x=0, y=0, width=16, height=16)
        np.testing.assert_array_equal(slide.read(x=512, y=512, width=128, height=128), good)


def test_a_corrupt_cell_that_one_thread_reads_does_not_disturb_the_others(pyramid):
    path, _ = pyramid
    cells = [(x, y) for y in range(0, 768, 128) for x in range(0, 1024, 128)]
    with open_slide(path) as slide:
        expected = {(x, y): slide.read(x=x, y=y, width=128, height=128) for x, y in cells}
    spoil_the_first_cell(path)

    def is_right(cell):
        x, y = cell
        try:
            return np.array_equal(slide.read(x=x, y=y, width=128, height=128), expected[cell])
        except InputError:
            return None

    with open_slide(path) as slide, ThreadPoolExecutor(8) as pool:
        asked = [cell for other in cells[1:] for cell in (cells[0], other)] * 3
        for cell, right in zip(asked, pool.map(is_right, asked), strict=True):
            assert right is (None if cell == cells[0] else True)


def test_a_pyramid_with_an_emoji_in_its_name_reads_exactly_at_every_level(pyramid):
    path, levels = pyramid
    with open_slide(path) as slide:
        assert slide.mpp == pytest.approx(0.5)
        assert slide.levels == [(1024, 768, 1.0), (512, 384, 2.0), (256, 192, 4.0)]
        for index, pixels in enumerate(levels):
            region = slide.read(x=64, y=128, width=100, height=40, level=index)
            x, y = 64 >> index, 128 >> index
            np.testing.assert_array_equal(region, pixels[y : y + 40, x : x + 100])


def test_pictures_are_slides_of_one_level(data):
    path = data / "glomeruli" / "20171220-PASM.jpg"
    with open_slide(path) as slide:
        assert (slide.backend, slide.dimensions, slide.mpp) == ("image", (1360, 1024), None)
        assert slide.levels == [(1360, 1024, 1.0)]
        expected = np.asarray(Image.open(path).convert("RGB"))[100:150, 200:280]
        np.testing.assert_array_equal(slide.read(x=200, y=100, width=80, height=50), expected)


def test_the_thumbnail_averages_areas_and_is_never_enlarged(pyramid, data):
    path, levels = pyramid
    with open_slide(path) as slide:
        expected = levels[2].reshape(96, 2, 128, 2, 3).astype(float).mean((1, 3))
        np.testing.assert_array_equal(slide.thumbnail(128), np.rint(expected))
        assert slide.thumbnail(300).shape == (225, 300, 3)
        np.testing.assert_array_equal(slide.thumbnail(5000), levels[0])
        assert slide.thumbnail(1).shape == (1, 1, 3)
    with open_slide(data / "slides" / "tcga-cr-7395-01a-01-ts1.svs") as slide:
        assert slide.thumbnail(1000).shape == (803, 1000, 3)


def test_bad_regions_and_a_closed_slide_are_refused(png):
    slide = open_slide(png())
    with pytest.raises(InputError, match="has levels 0 to 0, not 1"):
        slide.read(x=0, y=0, width=1, height=1, level=1)
    with pytest.raises(InputError, match="at least 1 x 1 px, not 0 x 4"):
        slide.read(x=0, y=0, width=0, height=4)
    with pytest.raises(TypeError):
        slide.read(x=0.5, y=0, width=4, height=4)
    slide.close()
    slide.close()
    assert "closed" in repr(slide)
    with pytest.raises(ValueError, match="is closed; read it inside"):
        slide.read(x=0, y=0, width=4, height=4)


@pytest.mark.parametrize("name", list(SCANS)[:3])
def test_label_and_macro_images_are_not_among_the_levels(data, name):
    with open_slide(data / "slides" / name) as slide:
        w, h = slide.dimensions
        for level in slide.levels:
            assert level.width / level.height == pytest.approx(w / h, rel=0.01)
