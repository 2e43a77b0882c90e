from __future__ import annotations

import numpy as np
import pytest

from tiling.errors import InputError
from tiling.grid import Edge, make_grid


def covered(width: int, height: int, **options) -> np.ndarray:
    grid = make_grid(width, height, **options)
    plane = np.zeros((height, width), int)
    for x, y in zip(grid.x, grid.y, strict=True):
        plane[y : y + grid.size, x : x + grid.size] += 1
    return plane


@pytest.mark.parametrize(("width", "height"), [(10, 7), (8, 8), (9, 12), (4, 4), (5, 4)])
@pytest.mark.parametrize("overlap", [0, 1, 3])
@pytest.mark.parametrize("edge", list(Edge))
def test_tiles_cover_what_the_edge_policy_promises(width, height, overlap, edge):
    grid = make_grid(width, height, size=4, overlap=overlap, edge=edge)
    assert len(set(zip(grid.x, grid.y, strict=True))) == len(grid)
    plane = covered(width, height, size=4, overlap=overlap, edge=edge)
    if edge is Edge.WITHIN:
        assert (grid.x + 4 <= width).all()
        assert (grid.y + 4 <= height).all()
        assert (np.diff(np.unique(grid.x)) == 4 - overlap).all()
    else:
        assert (plane > 0).all()
    if edge is Edge.SHIFT:
        assert grid.x.max() == width - 4
        assert grid.y.max() == height - 4
    if edge is Edge.PAD:
        assert grid.x.max() < width
        assert grid.y.max() < height


def test_tiles_go_row_by_row_from_the_upper_left():
    grid = make_grid(8, 8, size=4)
    assert grid.x.tolist() == [0, 4, 0, 4]
    assert grid.y.tolist() == [0, 0, 4, 4]


def test_a_slide_smaller_than_a_tile_gives_one_padded_tile_and_none_otherwise():
    assert len(make_grid(3, 3, size=4, edge="pad")) == 1
    assert len(make_grid(3, 9, size=4, edge="within")) == 0
    assert len(make_grid(3, 9, size=4, edge="shift")) == 0


def test_scale_places_tiles_on_level_0_to_the_nearest_pixel():
    grid = make_grid(100, 100, size=40, scale=2.004)
    assert grid.x.tolist() == [0, 80, 0, 80]
    assert grid.extent == pytest.approx(80.16)


def test_resampled_tiles_begin_with_a_pixel_of_the_level_that_they_are_read_from():
    grid = make_grid(100, 100, size=20, scale=3.3, downsample=2.5)
    pixels = [0, 26, 52, 79, 105]  # 0, 26.4, 52.8, 79.2, 105.6
    assert np.unique(grid.x).tolist() == [round(pixel * 2.5) for pixel in pixels]
    grid = make_grid(100, 100, size=20, scale=2.004, downsample=2.004)
    assert np.unique(grid.x).tolist() == [round(pixel * 2.004) for pixel in (0, 20, 40, 60, 80)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "at least 1 px, not 0"),
        ({"size": 4, "overlap": 4}, "from 0 to 3 px for tiles of 4 px, not 4"),
        ({"size": 4, "overlap": -1}, "not -1"),
        ({"size": 4, "scale": 0.0}, "scale must be positive"),
        ({"size": 4, "edge": "wrap"}, "edge must be pad, within, shift, not 'wrap'"),
    ],
)
def test_impossible_grids_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_grid(10, 10, **options)
