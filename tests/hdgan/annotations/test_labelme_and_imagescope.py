import json
import math
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from skimage.draw import polygon2mask

from hdgan.annotations import import_masks, load_masks, read_mask
from hdgan.labels import ClassList, LabelClass
from tiling.errors import InputError

LESIONS = ClassList(tuple(LabelClass(name, (i * 60, 0, 0)) for i, name in enumerate(("gn", "gs", "gm", "gl"))))
NUCLEUS = ClassList((LabelClass("nucleus", (0, 0, 0)),))
AB = ClassList((LabelClass("a", (0, 0, 0)), LabelClass("b", (1, 1, 1))))
SHAPE = (20, 30)


def labelme(path, *shapes, **more):
    path.write_text(json.dumps({"shapes": list(shapes), "imageHeight": 20, "imageWidth": 30} | more))
    return path


def square(label, left, top, right, bottom, kind="polygon"):
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    points = corners if kind == "polygon" else [[left, top], [right, bottom]]
    return {"label": label, "shape_type": kind, "points": points}


def imagescope(path, *layers):
    """Layers of (name, [(attributes, corners)])."""
    root = ElementTree.Element("Annotations")
    for name, regions in layers:
        layer = ElementTree.SubElement(root, "Annotation", Name=name)
        group = ElementTree.SubElement(layer, "Regions")
        for attributes, corners in regions:
            vertices = ElementTree.SubElement(ElementTree.SubElement(group, "Region", attributes), "Vertices")
            for x, y in corners:
                ElementTree.SubElement(vertices, "Vertex", X=str(x), Y=str(y))
    ElementTree.ElementTree(root).write(path)
    return path


def box(left, top, right, bottom):
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


@pytest.mark.slow
def test_every_labelme_file_of_a_data_set_is_read_with_the_areas_of_its_polygons(data):
    files = sorted((data / "glomeruli").glob("*.json"))
    if not files:
        pytest.skip(f"no labelme files at {data / 'glomeruli'}")
    for path in files:
        with Image.open(path.with_suffix(".jpg")) as image:
            shape = image.height, image.width
        labels = read_mask(path, shape=shape, classes=LESIONS)
        expected = np.zeros(shape, bool)
        for one in json.loads(path.read_text())["shapes"]:
            expected |= polygon2mask(shape, np.array(one["points"])[:, ::-1] - 0.5)
        assert ((labels != 255) != expected).mean() < 1e-3
    assert len(files) == 70


def test_every_nucleus_of_an_imagescope_file_is_read(data):
    files = sorted((data / "monuseg").glob("*.xml"))
    if not files:
        pytest.skip(f"no ImageScope files at {data / 'monuseg'}")
    for path in files:
        labels = read_mask(path, shape=(1000, 1000), classes=NUCLEUS)
        expected = np.zeros((1000, 1000), bool)
        for region in ElementTree.parse(path).getroot().iter("Region"):
            corners = [(float(v.get("Y")) - 0.5, float(v.get("X")) - 0.5) for v in region.iter("Vertex")]
            expected |= polygon2mask((1000, 1000), np.array(corners))
        assert ((labels == 0) != expected).mean() < 2e-3
        with pytest.raises(InputError, match="layer 1 has no name to tell its class; name it as one of: gn, gs"):
            read_mask(path, shape=(1000, 1000), classes=LESIONS)


def test_rectangles_and_circles_of_labelme_have_areas_and_later_classes_cover(tmp_path):
    circle = {"label": "B", "shape_type": "circle", "points": [[20, 10], [24, 13]]}
    path = labelme(tmp_path / "x.json", circle, square("a", 2, 3, 20, 9, "rectangle"))
    labels = read_mask(path, shape=SHAPE, classes=AB)
    y, x = np.mgrid[0:20, 0:30] + 0.5
    distance = np.hypot(x - 20, y - 10)
    assert (labels[distance < 4.8] == 1).all()
    assert (labels[(distance > 5.2) & (x > 2) & (x < 20) & (y > 3) & (y < 9)] == 0).all()
    assert (labels == 255).sum() > 300


def test_a_nameless_layer_is_of_the_class_that_is_called_by_its_number_or_its_regions_text(tmp_path):
    layers = ClassList((LabelClass("artery", (0, 0, 0)), LabelClass("layer 1", (1, 1, 1))))
    regions = [({"Text": "Artery"}, box(1, 1, 5, 5)), ({}, box(10, 10, 12, 12)), ({"Type": "4"}, [(1, 1), (9, 9)])]
    labels = read_mask(imagescope(tmp_path / "x.xml", ("", regions)), shape=SHAPE, classes=layers)
    assert [(labels == value).sum() for value in (0, 1)] == [16, 4]
    alone = read_mask(tmp_path / "x.xml", shape=SHAPE, classes=NUCLEUS)
    assert (alone == 0).sum() == 20


def test_negative_regions_of_imagescope_are_holes_of_their_own_layer(tmp_path):
    path = imagescope(
        tmp_path / "x.xml",
        ("a", [({"NegativeROA": "1", "Id": "1"}, box(5, 5, 9, 9)), ({"Id": "2"}, box(2, 2, 15, 15))]),
        ("b", [({"Id": "1"}, box(8, 8, 12, 12)), ({"Id": "2", "Type": "2"}, [(20, 2), (28, 8)])]),
        ("not a class, and empty", []),
    )
    labels = read_mask(path, shape=SHAPE, classes=AB)
    assert (labels[5:8, 5:9] == 255).all()
    assert (labels[8:12, 8:12] == 1).all()
    assert labels[2, 2] == labels[14, 14] == 0
    assert labels[5, 24] == 1
    assert labels[2, 20] == 255


def test_both_formats_come_in_with_the_import(tmp_path):
    source = tmp_path / "from the expert"
    source.mkdir()
    labelme(source / "image_0003.json", square("a", 2, 3, 9, 9))
    imagescope(source / "image_0004.xml", ("b", [({}, box(1, 1, 5, 5))]))
    import_masks(source, tmp_path / "annotations", shape=SHAPE, classes=AB, known=range(9))
    masks, _ = load_masks(tmp_path / "annotations")
    assert (masks[3][3:9, 2:9] == 0).all()
    assert (masks[4][1:5, 1:5] == 1).all()


@pytest.mark.parametrize(
    ("shapes", "more", "message"),
    [
        (
            [square("c", 1, 1, 5, 5)],
            {},
            "shape 1 has the unknown class 'c'; the classes are: a, b; rename it, or list it in a classes.json",
        ),
        ([square("a", 1, 1, 5, 5)], {"imageWidth": 31}, "is of an image of 31 x 20 px, and this one has 30 x 20"),
        ([square("a", 40, 1, 50, 5)], {}, "outside the image of 30 x 20 px"),
        ([square("a", 1, 1, 5, 5) | {"shape_type": "mask"}], {}, "is a mask, which is not read; expected a polygon"),
        ([square("a", 1, 1, 5, 5) | {"shape_type": ["line"]}], {}, "is a .'line'., which is not read"),
        ([square("a", 1, 1, 5, 5) | {"shape_type": "circle"}], {}, "is a circle without its two points"),
        ([square("a", 1, 1, 5, 5) | {"points": [[1, 2], [3, 4], [5, math.nan]]}], {}, "numbers must be finite"),
        ([square("a", 1, 1, 5, 5) | {"points": None}], {}, "has a ring that is not a list"),
        ([7], {}, "has no list of shapes"),
    ],
)
def test_what_labelme_would_not_write_is_refused_in_one_line(tmp_path, shapes, more, message):
    with pytest.raises(InputError, match=message):
        read_mask(labelme(tmp_path / "x.json", *shapes, **more), shape=SHAPE, classes=AB)


@pytest.mark.parametrize("suffix", ["json", "xml"])
def test_a_file_that_is_absent_is_named(tmp_path, suffix):
    with pytest.raises(InputError, match=rf"cannot read .*x\.{suffix}: No such file"):
        read_mask(tmp_path / f"x.{suffix}", shape=SHAPE, classes=AB)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<Annotations>", r"is not XML that can be read \(.*\); save it from ImageScope again"),
        ('<?xml version="1.0" encoding="kidney"?><Annotations/>', "is not XML.*unknown encoding"),
        ("<Other/>", "holds 'Other'; expected ImageScope's Annotations"),
        ('<!DOCTYPE a [<!ENTITY e "x">]><Annotations/>', "declares a document type or entities"),
        ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><Annotations/>', "declares a document type or entities"),
    ],
)
def test_xml_that_is_no_annotation_or_declares_entities_is_refused(tmp_path, text, message):
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_mask(tmp_path / "x.xml", shape=SHAPE, classes=AB)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (("c", [({}, box(1, 1, 5, 5))]), "layer 1 has the unknown class 'c'"),
        (
            ("", [({}, box(1, 1, 5, 5))]),
            "layer 1 has no name .* as one of: a, b; or list a class 'Layer 1' in a classes",
        ),
        (("", [({"Text": "c"}, box(1, 1, 5, 5))]), "layer 1 has no name"),
        (("a", [({"Id": "7"}, [(1, 1), (5, "east"), (6, 6)])]), "region 7 has a ring that is not a list"),
        (("a", [({"Id": "7"}, box(40, 1, 50, 5))]), "outside the image of 30 x 20 px"),
    ],
)
def test_what_imagescope_would_not_mean_is_refused_in_one_line(tmp_path, layer, message):
    with pytest.raises(InputError, match=message):
        read_mask(imagescope(tmp_path / "x.xml", layer), shape=SHAPE, classes=AB)
