from __future__ import annotations

import json
import re

import numpy as np
import pytest
from command_line import hdgan
from PIL import Image

from hdgan.annotations import convert_annotations, read_mask
from hdgan.labels import ClassList, LabelClass
from tiling import InputError, open_slide
from tiling.regions import Region, read_regions, regions_to_geojson

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


BOXES = "boxes.tiff"  # 300 x 250 px, four levels
SQUARE = np.array([[40.0, 40.0], [200.0, 40.0], [200.0, 160.0], [40.0, 160.0]])


@pytest.fixture
def boxes(data):
    return data / "slides" / BOXES


def square_as(kind, folder):
    """The square of the class gs, as a file of some kind."""
    path = folder / f"a.{kind}"
    if kind == "geojson":
        path.write_text(json.dumps(regions_to_geojson([Region(("gs",), [[SQUARE]], "a")])))
    elif kind == "json":
        shape = {"label": "gs", "shape_type": "rectangle", "points": SQUARE[[0, 2]].tolist()}
        path.write_text(json.dumps({"shapes": [shape], "imageWidth": 300, "imageHeight": 250}))
    elif kind == "xml":
        vertices = "".join(f'<Vertex X="{x}" Y="{y}"/>' for x, y in SQUARE)
        region = f'<Region Id="1"><Vertices>{vertices}</Vertices></Region>'
        path.write_text(f'<Annotations><Annotation Name="gs"><Regions>{region}</Regions></Annotation></Annotations>')
    elif kind == "png":
        mask = np.full((250, 300), 255, np.uint8)
        mask[40:160, 40:200] = 1
        Image.fromarray(mask).save(path)
    elif kind == "masks":
        path.mkdir()
        for x in (40, 120):
            Image.fromarray(np.ones((60, 40), bool)).save(path / f"{BOXES}_gs_(2.00,{x},40,80,120)-mask.png")
        (path / "notes.txt").touch()
    return path


@pytest.mark.parametrize("kind", ["geojson", "json", "xml", "png", "masks"])
def test_every_kind_of_annotations_becomes_every_kind_at_every_level(kind, boxes, tmp_path):
    source = square_as(kind, tmp_path)
    convert_annotations(source, tmp_path / "out.geojson", classes=CLASSES, slide=boxes)
    assert {region.names for region in read_regions(tmp_path / "out.geojson")} == {("gs",)}
    level_0 = read_mask(tmp_path / "out.geojson", shape=(250, 300), classes=CLASSES)
    assert (level_0[40:160, 40:200] == 1).all()
    assert (level_0 != 255).sum() == 120 * 160
    with open_slide(boxes) as slide:
        levels = slide.levels
    for level in (0, 2):
        convert_annotations(source, tmp_path / "out.png", classes=CLASSES, slide=boxes, level=level)
        mask = np.asarray(Image.open(tmp_path / "out.png"))
        width, height, downsample = levels[level]
        y, x = (((np.arange(n) + 0.5) * downsample).astype(int) for n in (height, width))
        np.testing.assert_array_equal(mask, level_0[y[:, None], x])


def test_a_mask_of_another_level_is_told_in_pixels_of_the_slide(boxes, tmp_path):
    with open_slide(boxes) as slide:
        width, height, downsample = slide.levels[1]
    small = np.full((height, width), 255, np.uint8)
    small[20:80, 20:100] = 1
    Image.fromarray(small).save(tmp_path / "a.png")
    convert_annotations(tmp_path / "a.png", tmp_path / "a.geojson", classes=CLASSES, slide=boxes)
    (region,) = read_regions(tmp_path / "a.geojson")
    np.testing.assert_allclose(region.polygons[0][0], np.array([[20, 20], [100, 20], [100, 80], [20, 80]]) * downsample)
    convert_annotations(tmp_path / "a.png", tmp_path / "large.png", classes=CLASSES, slide=boxes)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "large.png"))[::2, ::2], small)


def test_a_mask_is_written_in_another_order_of_classes(tmp_path):
    before = ClassList(tuple(LabelClass(name, (i, 0, 0)) for i, name in enumerate(("GL", "vein", "gs"))))
    before.save(tmp_path / "before.json")
    Image.fromarray(np.array([[0, 2], [255, 0]], np.uint8)).save(tmp_path / "a.png")
    call = ("annotate", "convert", tmp_path / "a.png", "--out", tmp_path / "b.png", "--study", tmp_path / "study")
    call += ("--classes", _saved(tmp_path))
    hdgan(*call, "--from-classes", tmp_path / "before.json")
    assert np.asarray(Image.open(tmp_path / "b.png")).tolist() == [[3, 1], [255, 3]]
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(tmp_path / "a.png")
    said = hdgan(*call, "--from-classes", tmp_path / "before.json", code=2).stderr
    assert "a.png has pixels of the class 'vein', which is none of: gn, gs, gm, gl; list it in the classes.json" in said
    coloured = np.array([[CLASSES.classes[2].colour, (0, 0, 0)]], np.uint8)
    Image.fromarray(coloured).save(tmp_path / "a.png")
    hdgan(*call)
    assert np.asarray(Image.open(tmp_path / "b.png")).tolist() == [[2, 255]]


def test_of_a_folder_the_masks_of_the_slide_are_taken(boxes, tmp_path):
    source = square_as("masks", tmp_path)
    other = source / "other.svs_gn_(1.00,0,0,40,60)-mask.png"
    Image.fromarray(np.ones((60, 40), bool)).save(other)
    convert_annotations(source, tmp_path / "a.geojson", classes=CLASSES, slide=boxes)
    assert {region.names for region in read_regions(tmp_path / "a.geojson")} == {("gs",)}
    with pytest.raises(
        InputError, match=r"of objects of 2 images, boxes\.tiff, other\.svs, and says not of which .*--slide"
    ):
        convert_annotations(source, tmp_path / "b.geojson", classes=CLASSES)
    for mask in source.glob(f"{BOXES}*"):
        mask.unlink()
    convert_annotations(
        source, tmp_path / "b.geojson", classes=CLASSES, slide=boxes
    )  # of one image: you answer for that
    other.unlink()
    with pytest.raises(
        InputError, match=r"is a folder without .*, or annotations named after boxes\.tiff; name one file"
    ):
        convert_annotations(source, tmp_path / "c.geojson", classes=CLASSES, slide=boxes)
    square_as("geojson", source).rename(source / "boxes.geojson")
    convert_annotations(source, tmp_path / "c.geojson", classes=CLASSES, slide=boxes)


def test_regions_outside_the_slide_are_told_and_all_of_them_refused(boxes, tmp_path, capfd):
    drawn = [Region(("gs",), [[SQUARE + by]], "a") for by in (1000, 0)]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps(regions_to_geojson(drawn)))
    convert_annotations(path, tmp_path / "a.png", classes=CLASSES, slide=boxes)
    assert re.match(
        r"1 of 2 regions lie outside .*boxes\.tiff \(300 x 250 px\): .*feature 1, \.\.\.", capfd.readouterr().err
    )
    path.write_text(json.dumps(regions_to_geojson(drawn[:1])))
    with pytest.raises(InputError, match=r"all regions of .* lie outside .*; were they drawn on another slide\?"):
        convert_annotations(path, tmp_path / "b.png", classes=CLASSES, slide=boxes)


def test_requests_that_make_no_sense_are_one_clear_line(glomeruli, boxes, tmp_path):
    Image.fromarray(np.zeros((30, 90), np.uint8)).save(tmp_path / "wide.png")
    (tmp_path / "a.csv").touch()
    for source, out, options, said in (
        (glomeruli, "a.svg", {}, "annotations are written as .geojson .* or as .png .*, not as a.svg"),
        (glomeruli, "a.png", {}, r"say which slide .*json is about \(--slide\).*; without a slide, .* .geojson only"),
        (square_as("xml", tmp_path), "a.png", {"slide": boxes, "level": 9}, "has levels 0 to 3, not 9"),
        (tmp_path / "wide.png", "a.png", {"level": 1}, r"level 1 \(--level\) is of a slide \(--slide\)"),
        (glomeruli, "a.geojson", {"slide": boxes, "level": 1}, "geojson is in px of level 0"),
        (glomeruli, "a.geojson", {"slide": boxes}, "is of an image of .* px, and this one has 300 x 250"),
        (glomeruli, "a.geojson", {"from_classes": CLASSES}, "names its classes itself"),
        (tmp_path / "wide.png", "a.png", {"slide": boxes}, "wide.png is 90 x 30 px .*300 x 250 px.* at no scale"),
        (tmp_path / "a.csv", "a.png", {}, "of no known kind of annotation file; known are: .png .*, .geojson"),
        (tmp_path / "absent.xml", "a.png", {}, "no such file or folder: .*absent.xml"),
        (tmp_path, "a.png", {}, "is a folder without QuPath's masks of objects, like .*; name one file of annotations"),
        (glomeruli, "a.geojson", {"slide": tmp_path / "absent.svs"}, "no such slide"),
    ):
        with pytest.raises(InputError, match=said):
            convert_annotations(source, tmp_path / out, classes=CLASSES, **options)
        assert not (tmp_path / out).exists()
    with pytest.raises(InputError, match="is the file that is read; give another one to write"):
        convert_annotations(glomeruli, glomeruli, classes=CLASSES)
