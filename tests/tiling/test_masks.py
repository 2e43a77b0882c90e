from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from tiling import InputError
from tiling.grid import Grid, make_grid
from tiling.masks import SlideMask


@pytest.fixture
def disc() -> np.ndarray:
    y, x = np.mgrid[0:60, 0:80]
    return (x - 40) ** 2 + (y - 30) ** 2 < 500


def test_fractions_are_the_mean_of_the_mask_under_each_tile():
    mask = np.random.default_rng(0).random((30, 40)) > 0.5
    tissue = SlideMask(mask, width=400, height=300)
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
    np.testing.assert_allclose(SlideMask(mask, 400, 300).fraction(grid), expected, atol=1e-12)


def test_a_mask_is_the_same_in_every_kind_of_picture(disc, tmp_path):
    grey = disc.astype(np.uint8)
    blue = np.zeros((*disc.shape, 3), np.uint8)
    blue[disc, 2] = 200
    indexed = Image.fromarray(grey, mode="P")
    indexed.putpalette([255, 255, 255, 200, 0, 0])  # outside is shown white, as QuPath does
    pictures = {
        "bits.png": Image.fromarray(disc),
        "grey.png": Image.fromarray(grey),
        "deep.png": Image.fromarray(disc.astype(np.uint16)),
        "blue.png": Image.fromarray(blue),
        "indexed.png": indexed,
        "layer.png": Image.fromarray(np.dstack([np.full_like(blue, 255), grey * 255])),
        "bits.tif": Image.fromarray(disc),
    }
    for name, picture in pictures.items():
        picture.save(tmp_path / name)
    tifffile.imwrite(tmp_path / "deep.tif", disc.astype(np.uint16) * 7, compression="zlib", tile=(16, 16))
    tifffile.imwrite(tmp_path / "real.tif", disc.astype(np.float32))
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(blue, -1, 0), photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "inverse.tif", (~disc).astype(np.uint8) * 255, photometric="miniswhite")
    for path in sorted(tmp_path.iterdir()):
        mask = SlideMask.from_image(path, width=8000, height=6000)
        assert mask.downsample == 100
        np.testing.assert_array_equal(mask.mask, disc, err_msg=path.name)


def test_a_mask_larger_than_needed_is_thinned_and_keeps_its_fractions(tmp_path):
    half = np.add.outer(np.arange(1500), np.arange(4500)) < 3000
    Image.fromarray(half).save(tmp_path / "large.png")
    mask = SlideMask.from_image(tmp_path / "large.png", width=90000, height=30000)
    assert mask.mask.shape == (1365, 4096)
    assert mask.fraction(make_grid(90000, 30000, size=30000)) == pytest.approx([1, 0.5, 0], abs=1e-3)


def test_a_mask_of_another_shape_than_the_slide_is_refused(disc, tmp_path):
    Image.fromarray(disc).save(tmp_path / "mask.png")
    for width in (7900, 8100):
        SlideMask.from_image(tmp_path / "mask.png", width=width, height=6000)
    for width in (7500, 8500, 6000):
        with pytest.raises(InputError, match=rf"80 x 60 px, and the slide {width} x 6000"):
            SlideMask.from_image(tmp_path / "mask.png", width=width, height=6000)


def test_the_rounding_of_a_small_mask_is_no_other_shape(tmp_path):
    Image.fromarray(np.ones((3, 100), bool)).save(tmp_path / "core.png")
    assert SlideMask.from_image(tmp_path / "core.png", width=100_000, height=3400).mask.all()


def test_a_file_that_is_no_mask_is_refused_by_name(disc, tmp_path):
    Image.fromarray(disc).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.tif").write_bytes(b"II*\0\x08")
    tifffile.imwrite(tmp_path / "odd.tif", disc.astype(np.uint8))
    with tifffile.TiffFile(tmp_path / "odd.tif", mode="r+b") as file:
        file.pages[0].tags["BitsPerSample"].overwrite(77)
    (tmp_path / "text.png").write_text("no picture")
    Image.fromarray(disc.astype(np.uint8)).save(tmp_path / "photo.jpg")
    expected = {
        "cut.png": "cannot read the mask",
        "cut.tif": "cannot read the mask",
        "odd.tif": "cannot read the mask .*77-bit pixels",
        "text.png": "neither PNG nor TIFF",
        "photo.jpg": "neither PNG nor TIFF",
        "absent.png": "no such mask",
        "": "cannot read the mask",
    }
    for name, message in expected.items():
        with pytest.raises(InputError, match=message) as refused:
            SlideMask.from_image(tmp_path / name, width=80, height=60)
        assert str(tmp_path / name) in str(refused.value)
        assert "\n" not in str(refused.value)
