from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tiling.errors import InputError
from tiling.progress import set_quiet
from tiling.regions import Region, known_names, read_drawn, read_regions

SQUARE = [[0, 0], [8, 0], [8, 8], [0, 8], [0, 0]]
HOLE = [[2, 2], [4, 2], [4, 4], [2, 4], [2, 2]]


def read(tmp_path: Path, geometry: dict[str, Any] | None = None, **properties: Any) -> Region:
    path = tmp_path / "slide.geojson"
    geometry = geometry or {"type": "Polygon", "coordinates": [SQUARE]}
    path.write_text(json.dumps({"type": "Feature", "geometry": geometry, "properties": properties}))
    return read_regions(path)[0]


@pytest.mark.parametrize(
    ("properties", "names"),
    [
        ({"classification": {"name": "Glomerulus", "color": [1, 2, 3]}}, ("Glomerulus",)),
        ({"classification": "Glomerulus"}, ("Glomerulus",)),
        ({"classification": {"name": "Artery: Sclerotic"}}, ("Artery: Sclerotic", "Sclerotic", "Artery")),
        ({"classification": {"names": ["Artery", "Sclerotic"]}}, ("Artery: Sclerotic", "Sclerotic", "Artery")),
        ({"classification": {"names": ["Artery"]}, "name": "the large one"}, ("Artery",)),
        ({"objectType": "annotation", "name": "Glomerulus"}, ("Glomerulus",)),
        ({"objectType": "annotation"}, ()),
    ],
)
def test_a_qupath_object_is_called_by_its_classification_else_by_its_own_name(
    tmp_path: Path, properties: dict[str, Any], names: tuple[str, ...]
) -> None:
    assert read(tmp_path, **properties).names == names


def test_a_qupath_cell_is_its_outline_without_its_nucleus_and_measurements(tmp_path: Path) -> None:
    path = tmp_path / "cells.geojson"
    cell = {
        "type": "Feature",
        "id": "6a1f",
        "geometry": {"type": "Polygon", "coordinates": [SQUARE, HOLE]},
        "nucleusGeometry": {"type": "Polygon", "coordinates": [HOLE]},
        "properties": {"objectType": "cell", "classification": {"name": "T"}, "measurements": {"Area": 5.0}},
    }
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [cell]}))
    (region,) = read_regions(path)
    assert [ring.tolist() for ring in region.polygons[0]] == [SQUARE[:-1], HOLE[:-1]]


def test_a_multipolygon_is_one_region_of_several_polygons(tmp_path: Path) -> None:
    far = [[x + 100, y] for x, y in SQUARE]
    region = read(tmp_path, {"type": "MultiPolygon", "coordinates": [[SQUARE, HOLE], [far]]})
    assert [len(polygon) for polygon in region.polygons] == [2, 1]
    assert region.polygons[1][0].tolist() == far[:-1]


def test_of_a_geometry_collection_the_polygons_count(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": SQUARE[:2]}
    polygon = {"type": "Polygon", "coordinates": [SQUARE]}
    region = read(tmp_path, {"type": "GeometryCollection", "geometries": [line, polygon, polygon]})
    assert [polygon[0].tolist() for polygon in region.polygons] == [SQUARE[:-1]] * 2


@pytest.mark.parametrize(
    ("geometry", "message"),
    [
        ({"type": "GeometryCollection", "geometries": [7]}, "is a None; expected a Polygon"),
        ({"type": "GeometryCollection"}, "is a None; expected a Polygon"),
        ({"type": "Circle", "coordinates": [1, 2]}, "is a Circle; expected a Polygon or a MultiPolygon: draw it again"),
        ({"type": "Polygon"}, "is a Polygon without coordinates"),
        ({"type": "MultiPolygon", "coordinates": [7]}, "is a MultiPolygon without rings"),
    ],
)
def test_a_geometry_that_is_none_is_refused_with_what_to_do(
    tmp_path: Path, geometry: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=rf"slide\.geojson, feature 1 {message}"):
        read(tmp_path, geometry)


NOTHING: list[tuple[dict[str, Any] | None, str]] = [
    ({"type": "Point", "coordinates": [1, 2]}, "point"),
    ({"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}, "point"),
    ({"type": "LineString", "coordinates": [[1, 2], [3, 4]]}, "line"),
    ({"type": "MultiLineString", "coordinates": [[[1, 2], [3, 4]]]}, "line"),
    ({"type": "Polygon", "coordinates": [[[1, 2], [3, 4], [1, 2]]]}, "flat polygon"),
    ({"type": "Polygon", "coordinates": [[[1, 2], [3, 4], [7, 8], [1, 2]]]}, "flat polygon"),
    ({"type": "Polygon", "coordinates": [[]]}, "flat polygon"),
    ({"type": "Polygon", "coordinates": []}, "empty shape"),
    ({"type": "GeometryCollection", "geometries": []}, "empty shape"),
    (None, "empty shape"),
]


@pytest.mark.parametrize(("geometry", "kind"), NOTHING)
def test_what_qupath_draws_without_an_area_is_passed_over_and_counted(
    tmp_path: Path, geometry: dict[str, Any] | None, kind: str
) -> None:
    path = tmp_path / "slide.geojson"
    square = {"type": "Polygon", "coordinates": [SQUARE]}
    features = [{"type": "Feature", "geometry": each, "properties": {}} for each in (geometry, square, geometry)]
    path.write_text(json.dumps(features))
    drawn = read_drawn([path])
    assert [region.polygons[0][0].tolist() for region in drawn.regions] == [SQUARE[:-1]]
    assert drawn.without_area == {kind: 2}


def test_parts_and_holes_without_an_area_leave_the_rest_of_a_region(tmp_path: Path) -> None:
    flat = [[1, 1], [2, 2], [1, 1]]
    region = read(tmp_path, {"type": "MultiPolygon", "coordinates": [[SQUARE, flat, HOLE], [flat]]})
    assert [[ring.tolist() for ring in polygon] for polygon in region.polygons] == [[SQUARE[:-1], HOLE[:-1]]]


def test_what_labelme_draws_without_an_area_is_passed_over_and_counted(tmp_path: Path) -> None:
    kinds = {"point": 1, "points": 3, "line": 2, "linestrip": 3, "polygon": 2, "circle": 2, "rectangle": 2}
    shapes = [{"label": "a", "shape_type": kind, "points": [[1, 2]] * n} for kind, n in kinds.items()]
    (tmp_path / "x.json").write_text(json.dumps({"shapes": [*shapes, {"label": "a", "points": SQUARE}]}))
    drawn = read_drawn([tmp_path / "x.json"])
    assert len(drawn.regions) == 1
    assert drawn.without_area == {"point": 2, "line": 2, "flat polygon": 3}


def test_passed_over_shapes_are_told_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    set_quiet(False)
    shapes = [{"label": "a", "shape_type": kind, "points": [[1, 2]]} for kind in ("point", "line", "point")]
    (tmp_path / "x.json").write_text(json.dumps({"shapes": shapes}))
    assert read_regions(tmp_path / "x.json") == []
    expected = f"{tmp_path / 'x.json'}: passed over 3 shapes without an area: 1 line, 2 points\n"
    assert capfd.readouterr().err == expected


def test_a_classification_that_is_no_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"feature 1 has no class \(classification {'names': \[7\]}\); set it in"):
        read(tmp_path, classification={"names": [7]})


def imagescope(path: Path, *layers: tuple[str, list[tuple[str, str, list[list[int]]]]]) -> Path:
    root = ElementTree.Element("Annotations")
    for name, regions in layers:
        group = ElementTree.SubElement(ElementTree.SubElement(root, "Annotation", Name=name), "Regions")
        for identity, negative, corners in regions:
            region = ElementTree.SubElement(group, "Region", Id=identity, NegativeROA=negative)
            vertices = ElementTree.SubElement(region, "Vertices")
            for x, y in corners:
                ElementTree.SubElement(vertices, "Vertex", X=str(x), Y=str(y))
    ElementTree.ElementTree(root).write(path)
    return path


def test_a_negative_region_is_cut_out_of_the_regions_of_its_layer_that_it_reaches(tmp_path: Path) -> None:
    far = [[x + 100, y] for x, y in SQUARE]
    drawn = [("1", "1", HOLE), ("2", "0", SQUARE), ("3", "0", far)]
    near, away, other = read_regions(imagescope(tmp_path / "x.xml", ("a", drawn), ("", [("1", "0", SQUARE)])))
    assert [polygon[0].tolist() for polygon in near.cut] == [HOLE]
    assert (away.cut, other.cut) == ([], [])
    assert (near.names, other.names) == (("a",), ("Layer 2",))
    assert (near.is_named, other.is_named) == (True, False)
    assert near.where.endswith("x.xml, layer 1, region 2")
    assert other.layer.endswith("x.xml, layer 2")


SCANNED = """\
<Annotations MicronsPerPixel="0.25">
  <Annotation Id="3" Name="" LineColor="65280"><Regions><RegionAttributeHeaders/>
    <Region Id="1" Type="4" Text="2 mm"><Vertices><Vertex X="1" Y="1"/><Vertex X="9" Y="9"/></Vertices></Region>
    <Region Id="2" Type="3"><Vertices><Vertex X="1" Y="1"/><Vertex X="9" Y="9"/></Vertices></Region>
    <Region Id="3" Type="0"><Vertices><Vertex X="1" Y="1"/></Vertices></Region>
    <Region Id="4" Type="0" Text=" Glomerulus "><Vertices>
      <Vertex X="0" Y="0"/><Vertex X="8" Y="0"/><Vertex X="8" Y="8"/></Vertices></Region>
    <Region Id="5" Type="1" Text=""><Attributes><Attribute Name="Description" Id="0" Value="Artery"/></Attributes>
      <Vertices><Vertex X="1" Y="2"/><Vertex X="5" Y="7"/></Vertices></Region>
    <Region Id="6" Type="2"><Vertices><Vertex X="0" Y="0"/><Vertex X="4" Y="4"/></Vertices></Region>
    <Region Id="7" Type="0" NegativeROA="1"><Vertices><Vertex X="1" Y="1"/><Vertex X="2" Y="2"/></Vertices></Region>
  </Regions></Annotation>
  <Annotation Id="4" Name="Cortex"><Regions>
    <Region Id="1" Type="0" Text="seen"><Vertices>
      <Vertex X="0" Y="0"/><Vertex X="8" Y="0"/><Vertex X="8" Y="8"/></Vertices></Region>
  </Regions></Annotation>
</Annotations>
"""


def test_regions_of_a_nameless_layer_are_called_by_their_text_or_description_and_by_its_number(tmp_path: Path) -> None:
    (tmp_path / "x.xml").write_text(SCANNED)
    drawn = read_drawn([tmp_path / "x.xml"])
    names = [("Glomerulus", "Layer 3"), ("Artery", "Layer 3"), ("Layer 3",), ("Cortex",)]
    assert [region.names for region in drawn.regions] == names
    assert [region.is_named for region in drawn.regions] == [False, False, False, True]
    assert drawn.without_area == {"ruler": 1, "arrow": 1, "flat polygon": 2}
    assert drawn.regions[0].where.endswith("x.xml, layer 3, region 4")
    assert drawn.regions[1].polygons[0][0].tolist() == [[1, 2], [5, 2], [5, 7], [1, 7]]
    assert len(drawn.regions[2].polygons[0][0]) >= 16


def test_an_xml_file_that_would_swell_to_gigabytes_is_refused_unread(tmp_path: Path) -> None:
    lol = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    text = f'<!DOCTYPE a [<!ENTITY l0 "lol">{lol}]><Annotations><Annotation Name="&l11;"/></Annotations>'
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(InputError, match="declares a document type or entities"):
        read_regions(tmp_path / "x.xml")


def test_every_labelme_file_of_a_data_set_is_read(data: Path) -> None:
    files = sorted((data / "glomeruli").glob("*.json"))
    if not files:
        pytest.skip(f"no labelme files at {data / 'glomeruli'}")
    regions = [region for path in files for region in read_regions(path, shape=(1024, 1360))]
    shapes = [shape for path in files for shape in json.loads(path.read_text())["shapes"]]
    assert [region.names for region in regions] == [(shape["label"],) for shape in shapes]
    for region, shape in zip(regions, shapes, strict=True):
        np.testing.assert_array_equal(region.polygons[0][0], shape["points"])
    assert known_names(regions) == ["gl", "gm", "gn", "gs"]


def test_every_imagescope_file_of_a_data_set_is_read(data: Path) -> None:
    files = sorted((data / "monuseg").glob("*.xml"))
    if not files:
        pytest.skip(f"no ImageScope files at {data / 'monuseg'}")
    for path in files:
        elements = list(ElementTree.parse(path).getroot().iter("Region"))
        regions = read_regions(path)
        assert len(regions) == len(elements) > 300
        assert all(
            len(region.polygons[0][0]) == len(list(element.iter("Vertex")))
            for region, element in zip(regions, elements, strict=True)
        )
        assert known_names(regions) == ["Layer 1"]


def test_a_labelme_file_is_refused_on_a_slide_of_another_size_only_where_the_size_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    shapes = [{"label": "a", "points": SQUARE}, {"points": SQUARE}]
    path.write_text(json.dumps({"shapes": shapes, "imageHeight": 20, "imageWidth": 30}))
    assert [region.names for region in read_regions(path)] == [("a",), ()]
    assert len(read_regions(path, shape=(20, 30))) == 2
    with pytest.raises(InputError, match="is of an image of 30 x 20 px, and this one has 31 x 20"):
        read_regions(path, shape=(20, 31))


def test_a_file_of_another_kind_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mask\.png is of no known kind of file of regions; .*: _CLASS_.*\.xml"):
        read_regions(tmp_path / "mask.png")


def test_known_names_come_once_whatever_their_case() -> None:
    regions = [Region(("Artery: Old", "Old", "Artery"), [], ""), Region(("artery",), [], ""), Region((), [], "")]
    assert [name.casefold() for name in known_names(regions)] == ["artery", "artery: old", "old"]
