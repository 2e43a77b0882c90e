from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from painted import covered

from tiling.errors import InputError
from tiling.regions import Region, read_regions, regions_to_geojson

TRIANGLE = np.array([[0.1, 0.2], [8.7, 1 / 3], [4.0, 9.9]])
WHOLE = np.array([[20.0, 20.0], [30.0, 20.0], [30.0, 31.0]])


def written_and_read(regions: list[Region], path: Path) -> list[Region]:
    path.write_text(json.dumps(regions_to_geojson(regions)))
    return read_regions(path)


def assert_same(regions: list[Region], expected: list[Region]) -> None:
    assert [region.names for region in regions] == [region.names for region in expected]
    for one, other in zip(regions, expected, strict=True):
        assert [len(polygon) for polygon in one.polygons] == [len(polygon) for polygon in other.polygons]
        for polygon, as_expected in zip(one.polygons, other.polygons, strict=True):
            for ring, expected_ring in zip(polygon, as_expected, strict=True):
                np.testing.assert_array_equal(ring, expected_ring)


def test_regions_equal_themselves_after_a_round_trip_through_geojson(tmp_path: Path) -> None:
    regions = [
        Region(("Glomerulus",), [[TRIANGLE]], "a"),
        Region(("Artery: Sclerotic", "Sclerotic", "Artery"), [[WHOLE, TRIANGLE / 7], [TRIANGLE - 50]], "b"),
        Region((), [[WHOLE]], "c"),
    ]
    once = written_and_read(regions, tmp_path / "once.geojson")
    assert_same(once, regions)
    assert_same(written_and_read(once, tmp_path / "twice.geojson"), regions)


def test_a_drawn_data_set_equals_itself_after_a_round_trip_through_geojson(data: Path, tmp_path: Path) -> None:
    files = [*sorted((data / "glomeruli").glob("*.json")), *sorted((data / "monuseg").glob("*.xml"))]
    if not files:
        pytest.skip(f"no annotations at {data}")
    for path in files:
        regions = read_regions(path)
        assert_same(written_and_read(regions, tmp_path / "slide.geojson"), regions)


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def test_what_is_cut_out_of_a_region_becomes_its_hole_in_geojson(tmp_path: Path) -> None:
    cut = [[box(2, 2, 5, 5)], [box(6, 6, 8, 8)], [box(40, 40, 50, 50)]]
    region = Region(("a",), [[box(0, 0, 10, 10)]], "x.xml, layer 1", cut)
    (read,) = written_and_read([region], tmp_path / "a.geojson")
    assert [ring.tolist() for ring in read.polygons[0]] == [
        box(*corners).tolist() for corners in ((0, 0, 10, 10), (2, 2, 5, 5), (6, 6, 8, 8))
    ]
    places = {"shape": (100, 100), "downsample": 0.5}
    np.testing.assert_array_equal(covered([read], **places), covered([region], **places))


@pytest.mark.parametrize(
    "cut",
    [
        [[box(5, 5, 15, 8)]],
        [[box(-1, -1, 11, 11)]],
        [[box(2, 2, 6, 6)], [box(4, 4, 8, 8)]],
        [[box(3, 3, 4, 4)], [box(2, 2, 6, 6)]],
        [[box(-1, 4, 11, 5)]],
    ],
)
def test_what_is_cut_out_across_an_outline_cannot_be_said_in_geojson(cut: list[list[np.ndarray]]) -> None:
    with pytest.raises(InputError, match=r"layer 1 has a negative region that is not wholly within it, .*write a mask"):
        regions_to_geojson([Region(("a",), [[box(0, 0, 10, 10)]], "x.xml, layer 1", cut)])
