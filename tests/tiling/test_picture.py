from __future__ import annotations

from tiling import open_slide, tile_archive
from tiling.picture import TILE_COLOUR, TISSUE_COLOUR, draw_tiles


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
