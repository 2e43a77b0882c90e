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
        write_png(tmp_path / f"{index:02}.png", np.zeros((32, 40 - index % 2, 3), np.uint8))
    Image.fromarray(np.zeros((32, 32), np.uint16)).save(tmp_path / "03.png")
    whole = (tmp_path / "04.png").read_bytes()
    (tmp_path / "04.png").write_bytes(whole[:-12])
    with pytest.raises(InputError) as error:
        check_tiles(images, range(20), crop=None, resolution=32)
    assert str(error.value) == (
        "cannot train on 14 of 20 images: 1 image, more than 8 bits a channel (03.png): convert to 8; "
        "1 image, cut off, as the end of the file is missing (04.png): put whole copies in their place; "
        "12 images, not square (06.png, 07.png, 08.png, and 9 more; 40 x 32 px, 39 x 32 px): "
        "cut squares out with --crop 32, or remove these"
    )
    check_tiles(images, [0, 1, 2, 19], crop=None, resolution=32)  # those that are left out may be anything
    with pytest.raises(InputError, match=r"03\.png"):
        check_tiles(images, range(20), crop=30, resolution=16)


@pytest.mark.parametrize(
    ("size", "crop", "said"),
    [
        ((40, 50), None, r": not square \(0\.png, 1\.png; 50 x 40 px\): cut squares out with --crop 40$"),
        ((40, 50), 48, r": smaller than the crop of 48 px \(.*\): take --crop 40$"),
        ((20, 50), 32, r": smaller than the 32 px that the generator makes \(.*\): take --resolution 16$"),
        ((4, 4), None, r": smaller than the 32 px that the generator makes \(.*; 4 px\): leave such tiles out$"),
    ],
)
def test_sizes_that_do_not_fit_are_told_with_those_that_would(tmp_path, size, crop, said):
    for index in range(2):
        write_png(tmp_path / f"{index}.png", np.zeros((*size, 3), np.uint8))
    with pytest.raises(InputError, match="^cannot train on 2 of 2 images" + said):
        check_tiles(ImageFolder(tmp_path), range(2), crop=crop, resolution=32)


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
