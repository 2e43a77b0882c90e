from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation
from skimage.segmentation import find_boundaries

from tiling import open_slide, tile_archive
from tiling.grid import Grid, make_grid
from tiling.picture import (
    DAMAGE_COLOUR,
    PEN_COLOUR,
    TILE_COLOUR,
    TISSUE_COLOUR,
    draw_tiles,
    overview,
    write_overview,
)
from tiling.tissue import find_tissue


def test_the_picture_frames_every_tile_and_outlines_the_tissue(png, tmp_path):
    path = png(width=600, height=400)
    tiles = tile_archive(path, tmp_path / "tiles", size=100)
    with open_slide(path) as slide:
        picture = draw_tiles(slide, tiles, max_size=300)
        plain = draw_tiles(slide, max_size=300)
    assert picture.shape == (200, 300, 3)
    for tile in tiles:
        assert (picture[tile.y // 2, tile.x // 2 + 10] == TILE_COLOUR).all()
        assert (picture[tile.y // 2 + 10, tile.x // 2] == TILE_COLOUR).all()
    assert not (plain == TILE_COLOUR).all(axis=-1).any()
    assert (plain == TISSUE_COLOUR).all(axis=-1).sum() > 300


def test_tiles_that_stick_out_of_the_slide_are_framed_at_its_edge(png, tmp_path):
    path = png(width=120, height=100)
    tiles = tile_archive(path, tmp_path / "tiles", size=256, edge="pad", tissue=0)
    with open_slide(path) as slide:
        picture = draw_tiles(slide, tiles)
    assert (picture[-1] == TILE_COLOUR).all()
    assert (picture[:, -1] == TILE_COLOUR).all()


@dataclass(frozen=True)
class Cell:
    x: int
    y: int
    width: int
    height: int


def test_the_overview_shows_tissue_tiles_pen_and_damage(stained):
    thumbnail = stained(300, 200)
    plain = thumbnail.copy()
    pen = np.zeros((200, 300), bool)
    pen[20:60, 5:40] = True
    grid = Grid(np.array([1000, 1500]), np.array([800, 800]), size=500)
    picture = overview(
        thumbnail,
        tissue=find_tissue(thumbnail),
        grid=grid,
        width=3000,
        height=2000,
        pen=pen,
        damaged=[Cell(2400, 1000, 256, 256), Cell(2990, 1990, 4, 4)],
    )
    np.testing.assert_array_equal(thumbnail, plain)
    assert (picture[80, 100:200] == TILE_COLOUR).all()
    assert (picture[80:130, [100, 150, 200]] == TILE_COLOUR).all()
    assert (picture[100:125, 240:265] == DAMAGE_COLOUR).all()
    assert (picture[-1, -1] == DAMAGE_COLOUR).all()  # a speck is drawn large enough to see
    hatched = (picture == PEN_COLOUR).all(axis=-1)
    assert hatched[20, 5:40].all()
    assert 0.15 < hatched[21:59, 6:39].mean() < 0.5
    assert not hatched[~pen].any()
    assert (picture == TISSUE_COLOUR).all(axis=-1).sum() > 300


def test_the_overview_takes_masks_of_another_size_than_the_thumbnail(stained):
    thumbnail = stained(300, 200)
    tissue = find_tissue(stained(600, 400))
    none = Grid(np.empty(0, np.int64), np.empty(0, np.int64), size=500)
    picture = overview(thumbnail, tissue=tissue, grid=none, width=3000, height=2000, pen=np.zeros((7, 9), bool))
    outline = (picture == TISSUE_COLOUR).all(axis=-1)
    rim = binary_dilation(find_boundaries(find_tissue(thumbnail)), iterations=2)
    assert 300 < outline.sum() < 2000
    assert rim[outline].all()
    assert not (picture == TILE_COLOUR).all(axis=-1).any()


def test_the_overview_is_written_as_a_jpeg_whose_lines_keep_their_colour(stained, tmp_path):
    thumbnail = stained(300, 200)
    grid = make_grid(3000, 2000, size=500)
    picture = overview(thumbnail, tissue=find_tissue(thumbnail), grid=grid, width=3000, height=2000)
    path = tmp_path / "overviews" / "slide.jpg"
    write_overview(path, picture)
    with Image.open(path) as file:
        assert file.format == "JPEG"
        read = np.asarray(file).astype(int)
    lines = (picture == TILE_COLOUR).all(axis=-1)
    assert np.abs(read - picture)[lines].mean() < 25
    assert [entry.name for entry in path.parent.iterdir()] == ["slide.jpg"]


def test_an_overview_that_compresses_badly_is_written_too(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    write_overview(tmp_path / "noise.jpg", noise)
    with Image.open(tmp_path / "noise.jpg") as file:
        assert np.asarray(file).shape == noise.shape
