from __future__ import annotations

import importlib
import os
import pickle
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from zarr.registry import register_codec

from tiling import InputError, open_slide
from tiling.choices import Materialise
from tiling.damage import DamagedCell
from tiling.grid import make_grid
from tiling.store import STORE_NAMES, StoredTiles, begin_array, finish_store, plan_array, write_tiles
from tiling.store.codec import NAME, CellCodec
from tiling.tile_reading import read_tile

register_codec(NAME, CellCodec)  # also where the package is imported without being installed


def jpeg_slide(path, width=1000, height=700, *, subsampling=(2, 2), cell=128, seed=0):
    """A tiled JPEG TIFF of two levels, textured, that shares its tables between cells."""
    y, x = np.mgrid[0:height, 0:width]
    texture = np.random.default_rng(seed).integers(-25, 25, (height, width, 3))
    pixels = np.stack([150 + 60 * np.sin(x / 31), 120 + 50 * np.cos(y / 17), 160 + 0 * x], axis=-1) + texture
    pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    with tifffile.TiffWriter(path) as writer:
        for level in range(2):
            writer.write(
                pixels[:: 2**level, :: 2**level],
                tile=(cell, cell),
                photometric="ycbcr" if subsampling != "rgb" else "rgb",
                subsampling=subsampling if subsampling != "rgb" else None,
                compression="jpeg",
                compressionargs={"level": 85},
                subfiletype=1 if level else 0,
                metadata=None,
            )
    return path


def stored(folder: Path, slide, grid, level, kind, **options):
    """Store tiles, and open the store."""
    store = folder / STORE_NAMES[kind]
    plan = plan_array(slide, grid, level=level, kind=kind)
    begin_array(store, "0a", plan, slide_name="a.svs")
    write_tiles(store, "0a", plan, slide, start=0, stop=len(grid), **options)
    finish_store(store, {"a.svs": "0a"}, kind)
    return plan, StoredTiles.open(folder)


def check_equal(tiles, slide, grid, level):
    for x, y in zip(grid.x.tolist(), grid.y.tolist(), strict=True):
        expected = read_tile(slide, x=x, y=y, size=grid.size, level=level, scale=grid.scale)
        np.testing.assert_array_equal(tiles.read("a.svs", x=x, y=y, size=grid.size), expected)


def grid_on(slide, level, size, **options):
    width, height, downsample = slide.levels[level]
    return make_grid(width, height, size=size, scale=downsample, **options)


@pytest.mark.parametrize("subsampling", [(2, 2), (1, 1), "rgb"])
@pytest.mark.parametrize(
    ("level", "size", "options", "how"),
    [
        (0, 256, {}, "cells"),
        (0, 256, {"edge": "pad"}, "cells"),
        (1, 128, {"edge": "pad"}, "cells"),
        (0, 200, {"overlap": 33, "edge": "pad"}, "cells, cropped on reading"),
        (0, 256, {"edge": "shift"}, "cells, cropped on reading"),
    ],
)
def test_cells_are_copied_and_read_back_to_the_same_pixels(tmp_path, subsampling, level, size, options, how):
    with open_slide(jpeg_slide(tmp_path / "a.svs", subsampling=subsampling)) as slide:
        assert slide.backend == "tiff"
        grid = grid_on(slide, level, size, **options)
        plan, tiles = stored(tmp_path, slide, grid, level, Materialise.CELLS)
        assert plan.how == how
        check_equal(tiles, slide, grid, level)
        array = zarr.open(tmp_path / "cells.zarr", mode="r")["0a"]
        for index in (0, len(grid) // 2):
            (x, y), expected = (
                plan.crop[index],
                read_tile(slide, x=int(grid.x[index]), y=int(grid.y[index]), size=size, level=level, scale=grid.scale),
            )
            np.testing.assert_array_equal(array[index][y : y + size, x : x + size], expected)


@pytest.mark.parametrize(
    ("name", "level", "how"),
    [
        ("cmu-1-small-region.svs", 0, "cells, cropped on reading"),
        ("tcga-cr-7395-01a-01-ts1.svs", 0, "cells"),
        ("fluorescence-dapi.ndpi", 1, "pixels"),
        ("boxes.tiff", 0, "pixels"),
    ],
)
def test_real_slides_are_stored_as_they_can_be(data, tmp_path, name, level, how):
    with open_slide(data / "slides" / name) as slide:
        grid = grid_on(slide, level, 512 if name != "boxes.tiff" else 100, edge="pad")
        grid = type(grid)(grid.x[-3:], grid.y[-3:], grid.size, grid.scale)
        plan, tiles = stored(tmp_path, slide, grid, level, Materialise.CELLS)
        assert plan.how == how
        check_equal(tiles, slide, grid, level)


@pytest.mark.parametrize("size", [100, 256])
def test_tiles_are_stored_as_pixels_where_that_is_asked_for_or_they_are_resampled(tmp_path, size):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        grid = make_grid(1000 // 3, 700 // 3, size=size if size == 100 else 64, scale=3.0, edge="pad")
        for kind in Materialise:
            plan, tiles = stored(tmp_path / kind, slide, grid, 0, kind)
            assert plan.how == "pixels"
            check_equal(tiles, slide, grid, 0)
        native = grid_on(slide, 0, size)
        plan, tiles = stored(tmp_path / "native", slide, native, 0, Materialise.PIXELS)
        check_equal(tiles, slide, native, 0)


def test_cells_take_a_fraction_of_the_room_of_pixels(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs", 2048, 2048)) as slide:
        grid = grid_on(slide, 0, 1024)
        size = {}
        for kind in Materialise:
            stored(tmp_path / kind, slide, grid, 0, kind)
            size[kind] = sum(path.stat().st_size for path in (tmp_path / kind).rglob("*") if path.is_file())
    assert 4 * size[Materialise.CELLS] < size[Materialise.PIXELS]


def test_cells_that_are_damaged_are_left_out_and_read_as_background(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        grid = grid_on(slide, 0, 256)
        damaged = DamagedCell(level=0, row=1, column=0, x=0, y=128, width=128, height=128)
        _, tiles = stored(tmp_path, slide, grid, 0, Materialise.CELLS, damaged=[damaged])
        tile = tiles.read("a.svs", x=0, y=0, size=256)
        expected = read_tile(slide, x=0, y=0, size=256, level=0, scale=1.0)
        expected[128:, :128] = slide.background
        np.testing.assert_array_equal(tile, expected)
    assert (zarr.open(tmp_path / "cells.zarr", mode="r")["0a"][0][128:, :128] == 255).all()


def test_a_white_tile_is_stored_too(tmp_path, save):
    with open_slide(save(tmp_path / "a.png", np.full((128, 128, 3), 255, np.uint8))) as slide:
        grid = grid_on(slide, 0, 64)
        _, tiles = stored(tmp_path, slide, grid, 0, Materialise.PIXELS)
        check_equal(tiles, slide, grid, 0)


def test_what_is_not_in_a_store_or_damaged_there_is_one_clear_line(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        _, tiles = stored(tmp_path, slide, grid_on(slide, 0, 256), 0, Materialise.CELLS)
    with pytest.raises(
        InputError, match=r"cells.zarr has no tiles of b.svs, which the manifest lists; make both again"
    ):
        tiles.read("b.svs", x=0, y=0, size=256)
    with pytest.raises(InputError, match=r"cells.zarr has no tile of 256 px at x=7, y=0 of a.svs"):
        tiles.read("a.svs", x=7, y=0, size=256)
    shard = tmp_path / "cells.zarr" / "0a" / "c" / "0" / "0" / "0" / "0"
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*: its index is damaged; make the tiles again with --redo"):
        tiles.read("a.svs", x=0, y=0, size=256)
    content[-5] ^= 1
    content[50:2000] = bytes(1950)
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*; make the tiles again with --redo"):
        tiles.read("a.svs", x=0, y=0, size=256)
    (tmp_path / "cells.zarr" / "zarr.json").unlink()
    with pytest.raises(InputError, match="is only half made: run the same `hdgan tile` again"):
        StoredTiles.open(tmp_path)
    assert StoredTiles.open(tmp_path / "elsewhere") is None


def test_a_store_is_read_by_other_processes(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        _, tiles = stored(tmp_path, slide, grid_on(slide, 0, 256), 0, Materialise.CELLS)
    again = pickle.loads(pickle.dumps(tiles))
    np.testing.assert_array_equal(again.read("a.svs", x=256, y=0, size=256), tiles.read("a.svs", x=256, y=0, size=256))


def test_arrays_that_are_not_named_any_more_and_partial_files_go(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        stored(tmp_path, slide, grid_on(slide, 0, 256), 0, Materialise.CELLS)
    store = tmp_path / "cells.zarr"
    (store / "0b").mkdir()
    (store / "0a" / "c" / "0" / "0" / "0" / ".partial-12-0").touch()
    (store / "0a" / "c" / "0" / "0" / "0" / "0.12.partial").touch()
    finish_store(store, {"a.svs": "0a"}, Materialise.CELLS)
    assert sorted(path.name for path in store.iterdir()) == ["0a", "zarr.json"]
    assert len(list((store / "0a").rglob("*partial*"))) == 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(Materialise))
def test_a_killed_writer_leaves_whole_shards_and_what_it_lacks_is_written_later(tmp_path, kind):
    path = jpeg_slide(tmp_path / "a.svs", 4000, 3000)
    code = f"""
from test_store import *
with open_slide({str(path)!r}) as slide:
    stored(Path({str(tmp_path)!r}), slide, grid_on(slide, 0, 256), 0, Materialise({str(kind)!r}))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    for shards in (1, 40, 90):
        process = subprocess.Popen([sys.executable, "-c", code], env=environment)
        while process.poll() is None and len(list(tmp_path.rglob("c/*/0/0/0"))) < shards:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
    with open_slide(path) as slide:
        grid = grid_on(slide, 0, 256)
        _, tiles = stored(tmp_path, slide, grid, 0, kind)
        check_equal(tiles, slide, grid, 0)
    assert not list(tmp_path.rglob("*partial*"))


def test_zarr_finds_the_codec_by_the_entry_point_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["zarr.codecs"][NAME].partition(":")
    assert getattr(importlib.import_module(module), name) is CellCodec


def test_cells_are_never_made_only_copied(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        stored(tmp_path, slide, grid_on(slide, 0, 256), 0, Materialise.CELLS)
    with pytest.raises(TypeError, match="cells of slides are copied and never made"):
        zarr.open(tmp_path / "cells.zarr", mode="r+")["0a"][0] = 0
