from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from hdgan.image_folder import ImageFolder
from hdgan.pictures import write_png
from hdgan.stylegan2.tile_check import FEW, check_tiles
from tiling import TileSet, tile_archive
from tiling.errors import InputError


def test_every_image_that_cannot_be_trained_on_is_told_at_once(tmp_path):
    for index in range(20):
        write_png(tmp_path / f"{index:02}.png", np.zeros((32, 32, 3), np.uint8))
    images = ImageFolder(tmp_path)
    check_tiles(images, range(20), crop=None, resolution=32)
    for index in range(6, 18):
        write_png(tmp_path / f"{index:02}.png", np.zeros((32, 30, 3), np.uint8))
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(tmp_path / "03.png")
    with pytest.raises(InputError) as error:
        check_tiles(images, range(20), crop=None, resolution=32)
    message = str(error.value)
    assert message.startswith("cannot train on 13 of 20 images: 03.png (32 x 32 px, I;16): more than 8 bits a channel")
    assert "; 06.png (30 x 32 px, RGB): is 30 x 32 px, not square" in message
    assert message.endswith("; and 3 more; convert or remove them")
    assert "\n" not in message
    check_tiles(images, [0, 1, 2, 19], crop=None, resolution=32)  # those that are left out may be anything
    with pytest.raises(InputError, match=r"03\.png"):
        check_tiles(images, range(20), crop=30, resolution=16)


def test_few_tiles_and_grey_ones_among_colours_are_told(tmp_path, capsys):
    for index in range(FEW):
        write_png(tmp_path / f"{index}.png", np.zeros((8, 8) if index < 2 else (8, 8, 3), np.uint8))
    images = ImageFolder(tmp_path)
    check_tiles(images, range(FEW), crop=None, resolution=8)
    assert capsys.readouterr().err.splitlines() == [
        "2 of 100 images are grey, and trained on as such; remove them if they are masks"
    ]
    check_tiles(images, [7, 8, 9], crop=None, resolution=8)
    assert capsys.readouterr().err.startswith("3 tiles to train on: from fewer than 100")


def test_slides_that_are_gone_are_told_before_a_training_finds_out(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        write_png(tmp_path / "archive" / f"{name}.png", rng.integers(90, 200, (64, 64, 3), np.uint8))
    tiles = tile_archive(tmp_path / "archive", tmp_path / "tiles", size=32, tissue=0)
    check_tiles(tiles, range(12), crop=None, resolution=32)
    with pytest.raises(InputError, match="each of 12 tiles is 32 px, smaller than the crop of 64 px"):
        check_tiles(tiles, range(12), crop=64, resolution=32)
    (tmp_path / "archive" / "a.png").unlink()
    shutil.copy(tmp_path / "archive" / "c.png", tmp_path / "archive" / "b.png")
    with pytest.raises(
        InputError, match=r"^cannot train on 2 slides: slide a\.png is not .*; slide .*b\.png is not the"
    ):
        check_tiles(TileSet.open(tmp_path / "tiles"), range(12), crop=None, resolution=32)
    held = [index for index, tile in enumerate(tiles) if tile.slide == "c.png"]
    check_tiles(TileSet.open(tmp_path / "tiles"), held, crop=None, resolution=32)
