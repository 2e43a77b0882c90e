from __future__ import annotations

import json

import numpy as np
import pytest
from command_line import hdgan
from PIL import Image

from hdgan.annotations import convert_annotations, read_mask
from hdgan.labels import ClassList, LabelClass
from tiling import InputError, open_slide
from tiling.regions import read_regions

CLASSES = ClassList(tuple(LabelClass(name, (10 * i, 50, 90)) for i, name in enumerate(("gn", "gs", "gm", "gl"), 1)))


@pytest.fixture
def glomeruli(data):
    return next(path for path in sorted((data / "glomeruli").glob("*.json")) if path.stat().st_size > 1000)


def test_annotations_of_any_tool_become_geojson_vertex_by_vertex(glomeruli, tmp_path):
    convert_annotations(glomeruli, tmp_path / "a.geojson", classes=CLASSES)
    before, after = read_regions(glomeruli), read_regions(tmp_path / "a.geojson")
    assert [region.names for region in before] == [region.names for region in after]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.polygons[0][0], other.polygons[0][0])
    feature = json.loads((tmp_path / "a.geojson").read_text())["features"][0]
    assert feature["properties"]["classification"]["color"] == list(
        CLASSES.classes[CLASSES.index(before[0].names[0])].colour
    )


def test_a_mask_at_a_level_of_a_slide_is_what_the_regions_cover_there(glomeruli, data, tmp_path):
    picture = glomeruli.with_suffix(".jpg")
    with open_slide(picture) as slide:
        width, height = slide.dimensions
    said = hdgan(
        "annotate", "convert", glomeruli, "--out", tmp_path / "mask.png", "--slide", picture,
        "--classes", _saved(tmp_path), "--study", tmp_path / "study",
    ).stdout  # fmt: skip
    assert said.strip() == str(tmp_path / "mask.png")
    mask = np.asarray(Image.open(tmp_path / "mask.png"))
    np.testing.assert_array_equal(mask, read_mask(glomeruli, shape=(height, width), classes=CLASSES))
    convert_annotations(tmp_path / "mask.png", tmp_path / "back.geojson", classes=CLASSES)
    np.testing.assert_array_equal(read_mask(tmp_path / "back.geojson", shape=mask.shape, classes=CLASSES), mask)


def _saved(folder):
    CLASSES.save(folder / "classes.json")
    return folder / "classes.json"


def test_coarser_levels_have_the_same_regions(data, tmp_path):
    slide = data / "slides" / "boxes.tiff"
    with open_slide(slide) as opened:
        levels = opened.levels
    square = [[[40, 40], [200, 40], [200, 160], [40, 160], [40, 40]]]
    feature = {
        "type": "Feature",
        "geometry": {"type": "Polygon", "coordinates": square},
        "properties": {"classification": {"name": "gs"}},
    }
    (tmp_path / "a.geojson").write_text(json.dumps(feature))
    for level in (0, 2):
        convert_annotations(tmp_path / "a.geojson", tmp_path / "a.png", classes=CLASSES, slide=slide, level=level)
        mask = np.asarray(Image.open(tmp_path / "a.png"))
        assert mask.shape == (levels[level].height, levels[level].width)
        assert (mask == 1).mean() == pytest.approx(160 * 120 / (300 * 250), abs=0.02)


def test_requests_that_make_no_sense_are_one_clear_line(glomeruli, data, tmp_path):
    for out, options, said in (
        ("a.svg", {}, "annotations are written as .geojson, and regions as .png too, not as a.svg"),
        ("a.png", {}, r"say which slide .*json is about \(--slide\)"),
        ("a.png", {"slide": data / "slides" / "boxes.tiff", "level": 9}, "has levels 0 to 3, not 9"),
    ):
        with pytest.raises(InputError, match=said):
            convert_annotations(glomeruli, tmp_path / out, classes=CLASSES, **options)
    with pytest.raises(InputError, match="is the file that is read; give another one to write"):
        convert_annotations(glomeruli, glomeruli, classes=CLASSES)
    assert not list(tmp_path.iterdir())
