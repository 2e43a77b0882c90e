from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import pickle
import resource
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
from tiling.backends.tiff import TiffBackend
from tiling.choices import Materialise
from tiling.damage import DamagedCell
from tiling.grid import make_grid
from tiling.store import (
    STORE_NAMES,
    StoredTiles,
    begin_array,
    count_lacking,
    finish_store,
    is_begun,
    plan_array,
    write_tile,
    write_tiles,
)
from tiling.store.codec import NAME, CellCodec
from tiling.tile_reading import read_tile, salvage_tile

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
    begin_array(store, "0a", plan, fingerprint="f1")
    write_tiles(store, "0a", plan, slide, start=0, stop=len(grid), **options)
    finish_store(store, {"a.svs": "0a"}, kind)
    return plan, StoredTiles.open(folder)


def read(tiles, *, slide="a.svs", fingerprint="f1", x=0, y=0, size=256, level=0, scale=1.0):
    """A tile, by what the manifest would say of it."""
    return tiles.read(slide, fingerprint=fingerprint, x=x, y=y, size=size, level=level, scale=scale)


def check_equal(tiles, slide, grid, level):
    for x, y in zip(grid.x.tolist(), grid.y.tolist(), strict=True):
        place = {"x": x, "y": y, "size": grid.size, "level": level, "scale": grid.scale}
        np.testing.assert_array_equal(read(tiles, **place), read_tile(slide, **place))


def spoilt(path, row, column):
    """The same slide, with zeros in place of a cell of its finest level."""
    with TiffBackend.open(path) as backend:
        place = int(backend.grids[0].offsets[row, column])
    with path.open("r+b") as file:
        file.seek(place)
        file.write(bytes(300))
    return path


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
        ("tcga-cr-7395-01a-01-ts1.svs", 1, "cells"),
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
        tile = read(tiles)
        expected = read_tile(slide, x=0, y=0, size=256, level=0, scale=1.0)
        expected[128:, :128] = slide.background
        np.testing.assert_array_equal(tile, expected)
    assert (zarr.open(tmp_path / "cells.zarr", mode="r")["0a"][0][128:, :128] == 255).all()


def test_pixels_are_those_that_zarr_reads_and_damaged_ones_are_told(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        grid = grid_on(slide, 0, 200)
        _, tiles = stored(tmp_path, slide, grid, 0, Materialise.PIXELS)
    array = zarr.open(tmp_path / "pixels.zarr", mode="r")["0a"]
    for i, (x, y) in enumerate(zip(grid.x.tolist(), grid.y.tolist(), strict=True)):
        np.testing.assert_array_equal(read(tiles, x=x, y=y, size=200), array[i])
    shard = tmp_path / "pixels.zarr" / "0a" / "c.0.0.0.0"
    content = shard.read_bytes()
    shard.write_bytes(bytes(100) + content[100:])
    with pytest.raises(InputError, match=r"cannot read .*: a chunk of it cannot be decoded: .*; make the tiles again"):
        read(tiles, size=200)


def test_cells_that_nobody_looked_for_never_become_background(tmp_path):
    with open_slide(spoilt(jpeg_slide(tmp_path / "a.svs"), 1, 0)) as slide:
        grid = grid_on(slide, 0, 256)
        _, tiles = stored(tmp_path / "cells", slide, grid, 0, Materialise.CELLS)
        with pytest.raises(
            InputError, match=r"its cell at row 1 column 0 cannot be decoded \(.*, here or in the slide"
        ):
            read(tiles)
        with pytest.raises(InputError, match=r"at row 1 column 0 of level 0: inspect tiles before they are stored"):
            stored(tmp_path / "pixels", slide, grid, 0, Materialise.PIXELS)
        expected, damaged = salvage_tile(slide, x=0, y=0, size=256, level=0, scale=1.0)
        for kind in Materialise:
            _, tiles = stored(tmp_path / "inspected" / kind, slide, grid, 0, kind, damaged=damaged)
            np.testing.assert_array_equal(read(tiles), expected)


@pytest.mark.parametrize("kind", list(Materialise))
def test_a_disk_that_fills_up_leaves_no_shard_that_is_cut_off(tmp_path, kind):
    before, (_, hard) = signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        grid = grid_on(slide, 0, 256)
        stored(tmp_path, slide, grid, 0, kind)
        shard = next(tmp_path.rglob("c.0.0.0.0"))
        content = shard.read_bytes()
        shard.unlink()
        for room in (len(content) - 1, len(content) - 100, 1000):
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
                with pytest.raises(OSError, match="File too large"):
                    stored(tmp_path, slide, grid, 0, kind)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            assert list(shard.parent.glob("*c.0.0.0.0")) == []
        signal.signal(signal.SIGXFSZ, before)
        stored(tmp_path, slide, grid, 0, kind)
    assert shard.read_bytes() == content


def test_a_slide_that_is_cut_off_while_its_cells_are_copied_is_told(tmp_path):
    path = jpeg_slide(tmp_path / "a.svs")
    with open_slide(path) as slide:
        grid = grid_on(slide, 0, 256)
        os.truncate(path, 10_000)
        with pytest.raises(InputError, match="the slide's file is cut off"):
            stored(tmp_path, slide, grid, 0, Materialise.CELLS)
    with pytest.raises(ValueError, match="is closed"):
        slide.cells(0)


def test_cells_of_an_ome_tiff_are_copied_too(tmp_path, stained):
    pixels = stained(600, 400)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as writer:
        writer.write(pixels, tile=(128, 128), photometric="rgb", compression="jpeg", metadata={"axes": "YXS"})
    with open_slide(tmp_path / "a.ome.tif") as slide:
        assert slide.backend == "ome-tiff"
        grid = grid_on(slide, 0, 256, edge="pad")
        plan, tiles = stored(tmp_path, slide, grid, 0, Materialise.CELLS)
        assert plan.how == "cells"
        check_equal(tiles, slide, grid, 0)


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
        read(tiles, slide="b.svs")
    with pytest.raises(InputError, match=r"cells.zarr has no tile at x=7, y=0 of a.svs"):
        read(tiles, x=7)
    for other in ({"size": 128}, {"level": 1}, {"scale": 2.0}):
        with pytest.raises(InputError, match=r"has no tiles of \d+ px, level \d and scale \d of a.svs"):
            read(tiles, **other)
    with pytest.raises(InputError, match=r"has no tiles of the same file as a.svs"):
        read(tiles, fingerprint="f2")
    shard = tmp_path / "cells.zarr" / "0a" / "c.0.0.0.0"
    content = bytearray(shard.read_bytes())
    content[-5] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*: its index is damaged; make the tiles again with --redo"):
        read(tiles)
    content[-5] ^= 1
    content[50:2000] = bytes(1950)
    shard.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*: its cell at row 0 column 0 cannot .*; make the tiles again"):
        read(tiles)
    shard.unlink()
    with pytest.raises(InputError, match=r"cells.zarr has no tile at x=0, y=0 of a.svs"):
        read(tiles)
    (tmp_path / "cells.zarr" / "zarr.json").unlink()
    with pytest.raises(InputError, match="is only half made: run the same `hdgan tile` again"):
        StoredTiles.open(tmp_path)
    assert StoredTiles.open(tmp_path / "elsewhere") is None


def _read_at(tiles, x):
    return read(tiles, x=x)


@pytest.mark.parametrize("kind", list(Materialise))
def test_a_store_is_read_by_other_processes(tmp_path, kind):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        _, tiles = stored(tmp_path, slide, grid_on(slide, 0, 256), 0, kind)
    expected = read(tiles, x=256)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.starmap(_read_at, [(tiles, 256)] * 4):
            np.testing.assert_array_equal(found, expected)
    again = pickle.loads(pickle.dumps(tiles))
    np.testing.assert_array_equal(read(again, x=256), read(tiles, x=256))


def test_where_the_tiles_of_a_slide_are_is_read_once(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        grid = grid_on(slide, 0, 200, overlap=33)
        _, tiles = stored(tmp_path, slide, grid, 0, Materialise.CELLS)
        read(tiles, size=200)
        (tmp_path / "cells.zarr" / "0a" / "zarr.json").unlink()
        check_equal(tiles, slide, grid, 0)


def test_arrays_that_are_not_named_any_more_and_partial_files_go(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        stored(tmp_path, slide, grid_on(slide, 0, 256), 0, Materialise.CELLS)
    store = tmp_path / "cells.zarr"
    (store / "0b").mkdir()
    (store / "0a" / ".partial-12-c.0.0.0.0").touch()
    finish_store(store, {"a.svs": "0a"}, Materialise.CELLS)
    assert sorted(path.name for path in store.iterdir()) == ["0a", "zarr.json"]
    assert len(list((store / "0a").rglob("*partial*"))) == 0


def test_arrays_that_later_calls_go_on_with_stay(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        stored(tmp_path, slide, grid_on(slide, 0, 256), 0, Materialise.CELLS)
    store = tmp_path / "cells.zarr"
    for key in ("0b", "0c"):
        (store / key).mkdir()
    finish_store(store, {"a.svs": "0a"}, Materialise.CELLS, begun={"0b"})
    assert sorted(path.name for path in store.iterdir()) == ["0a", "0b", "zarr.json"]
    assert list(StoredTiles.open(tmp_path)._arrays) == ["a.svs"]


@pytest.mark.parametrize("kind", list(Materialise))
def test_tiles_that_an_array_lacks_are_counted_by_their_place(tmp_path, kind):
    store = tmp_path / STORE_NAMES[kind]
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        grid = grid_on(slide, 0, 256)
        places = list(zip(grid.x.tolist(), grid.y.tolist(), strict=True))
        plan = plan_array(slide, grid, level=0, kind=kind)
        assert count_lacking(store, "0a", places) == len(places) > 3
        begin_array(store, "0a", plan, fingerprint="f1")
        assert count_lacking(store, "0a", places) == len(places)
        for i in range(1, len(places)):
            write_tile(store, "0a", plan, slide, i)
    assert count_lacking(store, "0a", places) == 1
    assert count_lacking(store, "0a", places[1:]) == 0  # the first was not to be kept
    (store / "0a" / "zarr.json").write_text("{}")
    assert count_lacking(store, "0a", places[1:]) == len(places) - 1


def test_an_array_is_known_by_what_its_metadata_say(tmp_path):
    store = tmp_path / "cells.zarr"
    with (
        open_slide(jpeg_slide(tmp_path / "a.svs")) as slide,
        open_slide(jpeg_slide(tmp_path / "b.svs", cell=64)) as other,
    ):
        grid = grid_on(slide, 0, 256)
        plan, otherwise = (plan_array(each, grid, level=0, kind=Materialise.CELLS) for each in (slide, other))
        assert not is_begun(store, "0a", plan, fingerprint="f1")
        begin_array(store, "0a", plan, fingerprint="f1")
        write_tiles(store, "0a", plan, slide, start=0, stop=1)
        metadata = store / "0a" / "zarr.json"
        metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"must_understand": False}))
        assert is_begun(store, "0a", plan, fingerprint="f1")
        assert not is_begun(store, "0a", plan, fingerprint="f2")
        assert not is_begun(store, "0a", otherwise, fingerprint="f1")
        begin_array(store, "0a", plan, fingerprint="f1")
        assert (store / "0a" / "c.0.0.0.0").exists()
        begin_array(store, "0a", otherwise, fingerprint="f1")
        assert [path.name for path in (store / "0a").iterdir()] == ["zarr.json"]


@pytest.mark.parametrize("kind", list(Materialise))
def test_a_shard_is_on_the_disk_in_full_before_it_has_its_name(tmp_path, monkeypatch, kind):
    synced, sync = {}, os.fsync

    def note(file):
        sync(file)
        partial = Path(f"/proc/self/fd/{file}").resolve()
        name = partial.name.split("-", 2)[-1]
        assert not partial.with_name(name).exists()
        synced[name] = partial.read_bytes()

    monkeypatch.setattr(os, "fsync", note)
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        stored(tmp_path, slide, grid_on(slide, 0, 256), 0, kind)
    shards = list(tmp_path.rglob("c.*.0.0.0"))
    assert len(shards) == 6
    assert all(synced[shard.name] == shard.read_bytes() for shard in shards)


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
        while process.poll() is None and len(list(tmp_path.rglob("c.*.0.0.0"))) < shards:
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


def test_another_program_reads_cells_by_zarr_alone_where_the_package_is_installed(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        stored(tmp_path, slide, grid_on(slide, 0, 256), 0, Materialise.CELLS)
        expected = read_tile(slide, x=0, y=0, size=256, level=0, scale=1.0)
    root = Path(__file__).parents[2]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    installed = tmp_path / "site" / "hdgan-0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: hdgan\nVersion: 0\n")
    points = "".join(f"{name} = {target}\n" for name, target in project["entry-points"]["zarr.codecs"].items())
    (installed / "entry_points.txt").write_text(f"[zarr.codecs]\n{points}")
    code = f"import numpy, zarr; numpy.save({str(tmp_path / 'tile.npy')!r}, zarr.open('cells.zarr', mode='r')['0a'][0])"
    environment = {**os.environ, "PYTHONPATH": f"{installed.parent}{os.pathsep}{root}"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "tile.npy"), expected)


def test_cells_are_never_made_only_copied(tmp_path):
    with open_slide(jpeg_slide(tmp_path / "a.svs")) as slide:
        stored(tmp_path, slide, grid_on(slide, 0, 256), 0, Materialise.CELLS)
    with pytest.raises(TypeError, match="cells of slides are copied and never made"):
        zarr.open(tmp_path / "cells.zarr", mode="r+")["0a"][0] = 0
