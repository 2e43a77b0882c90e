import json

import numpy as np
import pytest

from hdgan.annotations import read_mask, to_geojson, write_geojson
from hdgan.labels import KIDNEY, UNLABELLED
from tiling.errors import InputError


def feature(geometry, **classification):
    return {"type": "Feature", "geometry": geometry, "properties": {"classification": classification}}


def polygon(*rings):
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in rings]}


def box(x0, y0, x1, y1):
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]


def read(tmp_path, content, shape=(20, 30)):
    path = tmp_path / "image_1.geojson"
    path.write_text(json.dumps(content))
    return read_mask(path, shape=shape, classes=KIDNEY)


@pytest.mark.parametrize("seed", range(4))
def test_a_label_map_equals_itself_after_a_round_trip(tmp_path, seed):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 5, (41, 57)).astype(np.uint8)  # noise: every way in which pixels can touch
    if seed % 2:
        labels = np.kron(labels[:14, :14], np.ones((5, 5), np.uint8))
    labels[generator.random(labels.shape) < 0.1] = UNLABELLED
    path = tmp_path / "labels.geojson"
    write_geojson(path, labels, KIDNEY)
    np.testing.assert_array_equal(read_mask(path, shape=labels.shape, classes=KIDNEY), labels)


def test_each_connected_region_is_one_annotation_and_a_ring_has_a_hole():
    labels = np.full((12, 12), UNLABELLED, np.uint8)
    labels[1:8, 1:8] = 2
    labels[3:5, 3:5] = 1
    labels[9:11, 9:11] = 2
    features = to_geojson(labels, KIDNEY)["features"]
    assert [f["properties"]["classification"]["name"] for f in features] == [KIDNEY.names[1], *["glomerulus"] * 2]
    assert [len(f["geometry"]["coordinates"]) for f in features] == [1, 2, 1]
    assert features[1]["geometry"]["coordinates"][0] == [[1, 1], [8, 1], [8, 8], [1, 8], [1, 1]]


def test_pixels_belong_to_the_polygon_that_holds_their_centre(tmp_path):
    triangle = [[0.0, 0.0], [20.3, 0.0], [0.0, 15.7]]
    labels = read(tmp_path, feature(polygon(triangle), name="Artery"))
    y, x = np.mgrid[:20, :30] + 0.5
    np.testing.assert_array_equal(labels == 4, x / 20.3 + y / 15.7 < 1)
    assert set(np.unique(labels)) == {4, UNLABELLED}


def test_polygons_that_share_an_edge_through_pixel_centres_share_no_pixel(tmp_path):
    left = feature(polygon([[2, 2], [10.5, 2], [10.5, 10], [2, 10]]), name="artery")
    right = feature(polygon([[10.5, 2], [15, 2], [15, 10], [10.5, 10]]), name="glomerulus")
    labels = read(tmp_path, [left, right])
    assert (labels[5] == 4).sum() == 8  # columns 2 to 9
    assert (labels[5] == 2).sum() == 5  # columns 10 to 14


def test_later_classes_cover_earlier_ones_whatever_the_order_in_the_file(tmp_path):
    inner, outer = (
        feature(polygon(box(4, 4, 8, 8)), name="artery"),
        feature(polygon(box(0, 0, 20, 20)), name="whitespace"),
    )
    for features in ([inner, outer], [outer, inner]):
        labels = read(tmp_path, {"type": "FeatureCollection", "features": features})
        assert (labels == 4).sum() == 16


def test_holes_multipolygons_and_parts_past_the_image_are_understood(tmp_path):
    ring = [box(-5, -5, 10, 10), box(2, 2, 6, 6)]
    geometry = {"type": "MultiPolygon", "coordinates": [ring, [box(20, 15, 40, 30)]]}
    labels = read(tmp_path, feature(geometry, names=["Artery", "Sclerotic"], color=[1, 2, 3]))
    expected = np.full((20, 30), UNLABELLED, np.uint8)
    expected[:10, :10] = 4
    expected[2:6, 2:6] = UNLABELLED
    expected[15:, 20:] = 4
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (feature(polygon(box(0, 0, 5, 5)), name="Tumour"), "unknown class 'Tumour'.*whitespace.*artery"),
        ({"type": "Feature", "geometry": polygon(box(0, 0, 5, 5)), "properties": {}}, "feature 1 has no class"),
        (feature({"type": "Polygon", "coordinates": [7]}, name="artery"), "not a list of"),
        (feature({"type": "Polygon", "coordinates": [[["a", 0], [1, 1], [2, 0]]]}, name="artery"), "not a list of"),
        (feature({"type": "Polygon", "coordinates": [[[float("nan"), 0], [1, 1], [2, 0]]]}, name="artery"), "finite"),
        (feature(polygon(box(500, 500, 600, 600)), name="artery"), "outside the image of 30 x 20"),
        ({"type": "Topology"}, "holds type 'Topology'"),
        (7, "a JSON int"),
    ],
)
def test_what_cannot_be_painted_is_refused_with_its_reason(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, content)


def test_what_has_no_area_needs_no_class_and_marks_nothing(tmp_path):
    line = {"type": "Feature", "geometry": {"type": "LineString", "coordinates": [[0, 0], [1, 1]]}, "properties": {}}
    labels = read(tmp_path, [line, feature(polygon(box(0, 0, 5, 5)), name="artery")])
    assert (labels == 4).sum() == (labels != UNLABELLED).sum() == 25


def test_a_broken_or_absent_file_is_named(tmp_path):
    path = tmp_path / "image_1.geojson"
    with pytest.raises(InputError, match=r"image_1\.geojson"):
        read_mask(path, shape=(4, 4), classes=KIDNEY)
    for broken in (b'{"type": "FeatureColl', b"\xff\xfe", b"[" * 100_000):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=r"is not JSON that can be read \(.*\); save it from QuPath again"):
            read_mask(path, shape=(4, 4), classes=KIDNEY)


def test_regions_too_small_are_left_out_and_those_around_them_have_no_holes_there(tmp_path):
    labels = np.full((12, 12), 1, np.uint8)
    labels[2:5, 2:5] = 2
    labels[3, 3] = 3  # within what stays
    labels[8, 8] = labels[8, 9] = 4
    labels[:, 11] = 0
    labels[0, 10] = 3  # between two regions
    path = tmp_path / "labels.geojson"
    write_geojson(path, labels, KIDNEY, least=3)
    expected = labels.copy()
    expected[3, 3], expected[8, 8:10], expected[0, 10] = 2, 1, UNLABELLED
    np.testing.assert_array_equal(read_mask(path, shape=labels.shape, classes=KIDNEY), expected)
    write_geojson(path, labels, KIDNEY, least=1)
    np.testing.assert_array_equal(read_mask(path, shape=labels.shape, classes=KIDNEY), labels)
    write_geojson(path, labels, KIDNEY, least=145)
    assert json.loads(path.read_text()) == to_geojson(np.full((2, 2), UNLABELLED, np.uint8), KIDNEY)
