from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from painted import covered
from skimage.measure import points_in_poly

from tiling.grid import Grid, make_grid
from tiling.regions import Polygon, Region, outline, read_regions, touching

Point = tuple[int, int]


def region(*rings: np.ndarray, name: str = "a", cut: list[Polygon] | None = None) -> Region:
    return Region((name,), [[np.asarray(ring, np.float64) for ring in rings]], "a", cut or [])


def box(left: float, top: float, right: float, bottom: float) -> np.ndarray:
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float64)


def segments_meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Of whole numbers, exactly: each segment's ends lie on both sides of the other, or on it."""

    def side(p: Point, q: Point, r: Point) -> int:
        return int(np.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0])))

    sides = side(a, b, c), side(a, b, d), side(c, d, a), side(c, d, b)
    boxes = all(max(min(a[i], b[i]), min(c[i], d[i])) <= min(max(a[i], b[i]), max(c[i], d[i])) for i in (0, 1))
    return boxes and sides[0] * sides[1] <= 0 and sides[2] * sides[3] <= 0


def meets(x: int, y: int, size: int, ring: list[Point]) -> bool:
    """Whether a square and a polygon share a point, by what one would draw on paper."""
    corners = [(x, y), (x + size, y), (x + size, y + size), (x, y + size)]
    crossing = any(
        segments_meet(a, b, c, d) for a, b in pairwise([*ring, ring[0]]) for c, d in pairwise([*corners, corners[0]])
    )
    within = any(x <= px <= x + size and y <= py <= y + size for px, py in ring)
    return crossing or within or bool(points_in_poly([corners[0]], ring)[0])


@pytest.mark.parametrize("seed", range(6))
def test_tiles_that_touch_a_polygon_are_those_that_geometry_on_paper_finds(seed: int) -> None:
    generator = np.random.default_rng(seed)
    grid = make_grid(60, 60, size=(3, 7)[seed % 2], overlap=seed % 3)
    ring = [(int(x), int(y)) for x, y in generator.integers(-10, 70, (3 + seed, 2))]
    expected = [meets(int(x), int(y), grid.size, ring) for x, y in zip(grid.x, grid.y, strict=True)]
    np.testing.assert_array_equal(touching(grid, [region(np.array(ring))], ["A"]), expected)


def shifted(mask: np.ndarray, by: float) -> list[Polygon]:
    return [[ring + by for ring in polygon] for polygon in outline(mask)]


@pytest.mark.parametrize("seed", range(4))
def test_tiles_in_holes_and_in_what_is_cut_out_do_not_touch(seed: int) -> None:
    generator = np.random.default_rng(seed)
    masks = [np.kron(generator.random((10, 10)) < part, np.ones((4, 4), bool)) for part in (0.7, 0.5)]
    drawn, cut = shifted(masks[0], 0.5), shifted(masks[1], 0.25)
    assert any(len(polygon) > 1 for polygon in drawn)
    grid = make_grid(44, 44, size=2)
    for cuts in ([], cut):
        one = Region(("a",), drawn, "a", cuts)
        quarters = covered([one], shape=(176, 176), downsample=0.25)  # nothing lies across one of these pixels
        expected = [
            quarters[4 * y : 4 * (y + 2), 4 * x : 4 * (x + 2)].any() for x, y in zip(grid.x, grid.y, strict=True)
        ]
        np.testing.assert_array_equal(touching(grid, [one], ["a"]), expected)
        assert 0 < np.mean(expected) < 1


def test_a_tile_around_a_region_within_one_and_at_its_edge_touch_and_one_in_its_hole_does_not() -> None:
    grid = make_grid(50, 10, size=10)
    assert touching(grid, [region(box(13, 3, 14, 4))], ["a"]).tolist() == [False, True, False, False, False]
    assert touching(grid, [region(box(-90, -90, 90, 90))], ["a"]).all()
    assert touching(grid, [region(box(20, 2, 25, 4))], ["a"]).tolist() == [False, True, True, False, False]
    ring = region(box(-90, -90, 90, 90), box(5, -5, 33, 15))
    assert touching(grid, [ring], ["a"]).tolist() == [True, False, False, True, True]


def test_only_regions_of_the_names_asked_for_count_whatever_their_case() -> None:
    grid = make_grid(30, 10, size=10)
    artery = Region(("Artery: Old", "Old", "Artery"), [[box(1, 1, 2, 2)], [box(21, 1, 22, 2)]], "a")
    regions = [artery, region(box(11, 1, 12, 2), name="Vein")]
    assert touching(grid, regions, ["ARTERY"]).tolist() == [True, False, True]
    assert touching(grid, regions, ["vein", "old"]).all()
    assert not touching(grid, regions, ["nerve"]).any()
    assert not touching(grid, regions, []).any()
    assert touching(Grid(np.empty(0, np.int64), np.empty(0, np.int64), 10), regions, ["vein"]).shape == (0,)


def test_tiles_of_a_fractional_extent_are_as_large_as_they_are() -> None:
    grid = Grid(np.array([0, 100]), np.array([0, 0]), 10, 2.55)
    assert touching(grid, [region(box(25.4, 3, 50, 4))], ["a"]).tolist() == [True, False]
    assert touching(grid, [region(box(25.6, 3, 50, 4))], ["a"]).tolist() == [False, False]


def test_ten_thousand_regions_and_a_thousand_tiles_agree_with_a_raster() -> None:
    generator = np.random.default_rng(0)
    corners = generator.integers(0, 31_990, (10_000, 2))
    regions = [region(box(x + 0.5, y + 0.5, x + 6.5, y + 6.5)) for x, y in corners if (x // 1000 + y // 1000) % 3]
    grid = make_grid(32_000, 32_000, size=1000)
    hit = np.zeros((32, 32), bool)
    for x, y in corners[(corners // 1000).sum(axis=1) % 3 > 0]:
        hit[y // 1000 : (y + 6) // 1000 + 1, x // 1000 : (x + 6) // 1000 + 1] = True
    np.testing.assert_array_equal(touching(grid, regions, ["a"]), hit.ravel())


def test_tiles_with_nuclei_of_a_data_set_are_those_that_a_fine_raster_finds(data: Path) -> None:
    files = sorted((data / "monuseg").glob("*.xml"))
    if not files:
        pytest.skip(f"no ImageScope files at {data / 'monuseg'}")
    regions = [Region(("nucleus",), each.polygons, each.where) for each in read_regions(files[0])]
    grid = make_grid(1000, 1000, size=25)
    some = covered(regions, shape=(1000, 1000)).reshape(40, 25, 40, 25).any(axis=(1, 3)).ravel()
    touched = touching(grid, regions, ["Nucleus"])
    assert touched[some].all()  # a tile with a pixel in a nucleus touches it
    assert touched[~some].mean() < 0.15  # and few do by less than a pixel's centre
    assert not touched.all()
