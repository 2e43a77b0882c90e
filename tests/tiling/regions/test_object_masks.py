from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from painted import covered
from PIL import Image

from tiling.errors import InputError
from tiling.regions import ObjectMaskName, read_drawn, read_regions

DISC = np.hypot(*(np.mgrid[:20, :24] - [[[9.5]], [[11.5]]])) < 9


def save(folder: Path, name: str, mask: np.ndarray) -> Path:
    Image.fromarray(mask).save(folder / name)
    return folder / name


@pytest.mark.parametrize(
    ("name", "image", "label"),
    [
        ("image_7.png_Glomerulus_(1.00,8,16,300,260)-mask.png", "image_7.png", "Glomerulus"),
        ("case_12.svs_Artery_old_(1.00,8,16,300,260)-mask.png", "case_12.svs", "Artery_old"),
        ("case_12.v2_b.ome.tif_Artery: Old_(1,00,8,16,300,260)-mask.PNG", "case_12.v2_b.ome.tif", "Artery: Old"),
        ("case_12_Glomerulus_(1.00,8,16,300,260)-mask.png", "case_12", "Glomerulus"),
        ("🔬.svs_Glomerulus_(1.00,8,16,300,260)-mask.png", "🔬.svs", "Glomerulus"),
    ],
)
def test_a_name_tells_image_class_and_place(name: str, image: str, label: str) -> None:
    assert ObjectMaskName.parse(name) == ObjectMaskName(image, label, 1.0, 8, 16, 300, 260)


@pytest.mark.parametrize(
    "name",
    ["image_7.png", "image_7-mask.png", "image_7.png_Glomerulus_(1.00,8,16,300)-mask.png", "_(1.00,0,0,5,5)-mask.png"],
)
def test_other_names_are_those_of_no_object(name: str) -> None:
    assert ObjectMaskName.parse(name) is None


@pytest.mark.parametrize(("x", "y"), [(5, 7), (-6, -3), (30, 22)])
def test_a_mask_is_a_region_at_its_place_also_past_the_border(tmp_path: Path, x: int, y: int) -> None:
    (region,) = read_regions(save(tmp_path, f"a.png_Artery: Old_(1.00,{x},{y},24,20)-mask.png", DISC))
    plane = np.zeros((100, 100), bool)
    plane[40 + y : 60 + y, 40 + x : 64 + x] = DISC
    np.testing.assert_array_equal(covered([region], shape=(40, 50)), plane[40:80, 40:90])
    assert region.names == ("Artery: Old", "Old", "Artery")


def test_a_mask_pixel_of_downsample_two_covers_four_pixels(tmp_path: Path) -> None:
    (region,) = read_regions(save(tmp_path, "a.png_a_(2.00,-3,4,47,40)-mask.png", DISC))
    large = np.kron(DISC, np.ones((2, 2), bool))
    np.testing.assert_array_equal(covered([region], shape=(60, 45))[4:44], large[:, 3:])


def test_a_downsample_that_was_rounded_in_the_name_is_mended_by_the_size_of_the_mask(tmp_path: Path) -> None:
    mask = np.ones((3000, 1), bool)
    (region,) = read_regions(save(tmp_path, "a.png_a_(3.33,0,0,3,10000)-mask.png", mask))
    assert region.polygons[0][0].max() == pytest.approx(10000, abs=4)


@pytest.mark.parametrize("mode", ["1", "L", "P", "I;16", "RGB", "RGBA", "LA"])
def test_whatever_is_not_0_is_inside_in_every_kind_of_png(tmp_path: Path, mode: str) -> None:
    name = tmp_path / "a.png_a_(1.00,0,0,24,20)-mask.png"
    picture = Image.fromarray(np.where(DISC, 255, 0).astype(np.uint8))
    if mode == "I;16":
        Image.fromarray(np.where(DISC, 256, 0).astype(np.uint16)).save(name)
    else:
        (picture if mode == "P" else picture.convert(mode)).save(name)
    np.testing.assert_array_equal(covered(read_regions(name), shape=DISC.shape), DISC)


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("a.png_a_(2.00,0,0,24,20)-mask.png", DISC, "is 24 x 20 px, and by its name it masks 24 x 20 px at a down"),
        ("a.png_a_(0.00,0,0,24,20)-mask.png", DISC, "at a downsample of 0; export it again"),
        ("a.png", DISC, "is of no known kind of file of regions"),
    ],
)
def test_what_qupath_would_not_write_is_refused_in_one_line(
    tmp_path: Path, name: str, mask: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_regions(save(tmp_path, name, mask))


def test_a_mask_that_marks_nothing_is_passed_over(tmp_path: Path) -> None:
    path = save(tmp_path, "a.png_a_(1.00,0,0,24,20)-mask.png", np.zeros((20, 24), bool))
    drawn = read_drawn([path])
    assert (drawn.regions, drawn.without_area) == ([], {"empty mask": 1})


def test_a_broken_mask_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png_a_(1.00,0,0,24,20)-mask.png"
    path.write_bytes(b"no picture")
    with pytest.raises(InputError, match="is not a readable PNG"):
        read_regions(path)
