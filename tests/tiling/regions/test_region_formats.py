from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tiling.errors import InputError
from tiling.regions import Region, known_names, read_regions

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


def test_a_geometry_collection_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"feature 1 is a GeometryCollection; expected .*: split it in QuPath$"):
        read(tmp_path, {"type": "GeometryCollection", "geometries": []})


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
    assert (near.names, other.names) == (("a",), ())
    assert near.where.endswith("x.xml, layer 1, region 2")
    assert other.layer.endswith("x.xml, layer 2")


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
        assert known_names(regions) == []


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
