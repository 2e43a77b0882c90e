from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

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


def test_what_is_cut_out_of_a_region_cannot_be_said_in_geojson() -> None:
    with pytest.raises(InputError, match="layer 1 has parts cut out of it, which GeoJSON cannot say"):
        regions_to_geojson([Region(("a",), [[WHOLE]], "x.xml, layer 1", [[TRIANGLE]])])
