import json

import numpy as np
import pytest

from hdgan.annotations import label_map, read_mask, write_geojson
from hdgan.labels import KIDNEY, UNLABELLED, ClassList, LabelClass
from tiling.errors import InputError
from tiling.regions import Region, read_regions, regions_to_geojson

LESIONS = ClassList(tuple(LabelClass(name, (i * 60, 0, 0)) for i, name in enumerate(("gn", "gs", "gm", "gl"))))
SHAPE = (1024, 1360)


def box(left, top, right, bottom):
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


@pytest.fixture
def drawn(data):
    files = sorted((data / "glomeruli").glob("*.json"))[::12]
    if not files:
        pytest.skip(f"no labelme files at {data / 'glomeruli'}")
    return files


def test_a_drawn_label_map_equals_itself_after_a_round_trip_through_geojson(drawn, tmp_path):
    for path in drawn:
        labels = read_mask(path, shape=SHAPE, classes=LESIONS)
        write_geojson(tmp_path / "labels.geojson", labels, LESIONS)
        np.testing.assert_array_equal(read_mask(tmp_path / "labels.geojson", shape=SHAPE, classes=LESIONS), labels)


def test_a_window_of_a_slide_is_what_the_whole_shows_there(drawn, tmp_path):
    for path in drawn:
        whole = read_mask(path, shape=SHAPE, classes=LESIONS)
        window = label_map(path, shape=(300, 400), classes=LESIONS, x=700, y=333)
        np.testing.assert_array_equal(window, whole[333:633, 700:1100])
        # The centre of a pixel of downsample 3 is the centre of the middle one of its 9 pixels.
        coarse = label_map(read_regions(path), shape=(341, 453), classes=LESIONS, downsample=3)
        np.testing.assert_array_equal(coarse, whole[1:1023:3, 1:1359:3])


def test_later_classes_cover_earlier_ones_and_what_is_elsewhere_is_left_out(tmp_path):
    regions = [
        Region(("Artery: Old", "Old", "Artery"), [[box(40, 40, 60, 60)]], "a"),
        Region(("Cortical tubulointerstitium",), [[box(0, 0, 80, 80)]], "b", [[box(0, 0, 50, 80)]]),
        Region(("glomerulus",), [[box(5000, 5000, 6000, 6000)]], "c"),
    ]
    expected = np.full((10, 10), UNLABELLED, np.uint8)
    expected[:8, 5:8] = 1
    expected[4:6, 4:6] = 4
    np.testing.assert_array_equal(label_map(regions, shape=(10, 10), classes=KIDNEY, downsample=10), expected)
    path = tmp_path / "slide.geojson"
    path.write_text(json.dumps(regions_to_geojson([regions[0], regions[2]])))
    assert (label_map(path, shape=(10, 10), classes=KIDNEY, downsample=10) == 4).sum() == 4


def test_a_region_of_no_class_is_refused_by_its_place():
    for region, message in (
        (
            Region(("Vein",), [[box(0, 0, 1, 1)]], "x, shape 1"),
            "^x, shape 1 has the unknown class 'Vein'; the classes are: .*; rename it, or list it",
        ),
        (Region((), [[box(0, 0, 1, 1)]], "x, shape 1"), "^x, shape 1 has no class; set it in the tool .*: whitespace"),
    ):
        with pytest.raises(InputError, match=message):
            label_map([region], shape=(4, 4), classes=KIDNEY)
