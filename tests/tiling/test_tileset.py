from __future__ import annotations

import multiprocessing
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiling import InputError, TileSet, open_slide, tile_archive
from tiling.manifest import table_fingerprint
from tiling.stage import RECORD


def test_tiles_say_where_they_are_and_read_what_the_slide_holds(data, tmp_path):
    path = data / "slides" / "cmu-1-small-region.svs"
    tiles = tile_archive(path, tmp_path / "tiles", size=512, labels={"scanner": "^cmu"})
    assert len(tiles) == tiles.table().num_rows > 3
    with open_slide(path) as slide:
        for index, tile in enumerate(tiles):
            assert (tile.slide, tile.size, tile.level, tile.scale, tile.fold) == (path.name, 512, 0, 1, 0)
            assert (tile.mpp, tile.patient, tile.labels) == (0.499, path.stem, {"scanner": "cmu"})
            assert 0.25 <= tile.tissue <= 1
            pixels = tiles.read(index)
            assert pixels.dtype == np.uint8
            np.testing.assert_array_equal(pixels, slide.read(x=tile.x, y=tile.y, width=512, height=512))
    assert tiles[-1] == tiles[len(tiles) - 1]
    with pytest.raises(IndexError, match="tile 99 of"):
        tiles.read(99)


def test_a_tile_of_twice_the_mpp_is_the_mean_of_2_by_2_pixels(data, tmp_path):
    path = data / "slides" / "cmu-1-small-region.svs"
    tiles = tile_archive(path, tmp_path / "tiles", size=256, mpp=2 * 0.499)
    with open_slide(path) as slide:
        for index, tile in enumerate(tiles):
            full = slide.read(x=tile.x, y=tile.y, width=512, height=512).astype(float)
            np.testing.assert_array_equal(tiles.read(index), np.rint(full.reshape(256, 2, 256, 2, 3).mean((1, 3))))


def test_a_tile_between_two_levels_is_averaged_from_the_finer_one(pyramid, tmp_path):
    path, levels = pyramid
    tiles = tile_archive(path, tmp_path / "tiles", size=64, mpp=1.5)
    tile = tiles[0]
    assert (tile.level, tile.scale, tile.mpp) == (1, pytest.approx(3), 1.5)
    assert tiles.mpp == 1.5
    source = levels[1][tile.y // 2 :, tile.x // 2 :][:96, :96].astype(float)
    thirds = source.repeat(2, axis=0).repeat(2, axis=1).reshape(64, 3, 64, 3, 3).mean((1, 3))
    assert np.abs(tiles.read(0) - thirds).max() <= 0.5


@pytest.mark.parametrize("of", [{}, {"mpp": 2.0}, {"mpp": 1.5}, {"materialise": "cells"}], ids=str)
def test_a_window_of_a_tile_is_cut_out_of_it(pyramid, tmp_path, of):
    tiles = tile_archive(pyramid[0], tmp_path / "tiles", size=160, overlap=57, tissue=0, **of)
    for index in (0, len(tiles) - 1):
        for x, y, size in ((0, 0, 160), (33, 71, 64), (159, 159, 1)):
            expected = tiles.read(index)[y : y + size, x : x + size]
            np.testing.assert_array_equal(tiles.read_window(index, x=x, y=y, size=size), expected)
    with pytest.raises(InputError, match=r"no square of 64 px at x=97, y=0 is within a tile of 160 px"):
        tiles.read_window(0, x=97, y=0, size=64)


def test_a_window_of_a_tile_reads_no_more_than_itself(pyramid, tmp_path, monkeypatch):
    tiles = tile_archive(pyramid[0], tmp_path / "tiles", size=512)
    monkeypatch.setattr(TileSet, "read", lambda *_: pytest.fail("the whole tile was read"))
    assert tiles.read_window(0, x=100, y=50, size=64).shape == (64, 64, 3)


@pytest.mark.parametrize(("mpp_of", "mpp"), [(None, None), (0.5, 0.5), ("slide,mpp\na,0.5\nb,1\n", None)])
def test_tiles_are_of_one_resolution_or_none(png, tmp_path, mpp_of, mpp):
    png("slides/a.png")
    png("slides/b.png")
    if isinstance(mpp_of, str):
        (tmp_path / "mpp.csv").write_text(mpp_of)
        mpp_of = tmp_path / "mpp.csv"
    tiles = tile_archive(tmp_path / "slides", tmp_path / "tiles", size=128, mpp_of=mpp_of, tissue=0, pictures=False)
    assert tiles.mpp == mpp


def test_what_keeps_tiles_from_being_read_is_told_of_every_slide_at_once(png, tmp_path):
    for name in ("a", "b", "c"):
        png(f"archive/{name}.png", seed=ord(name))
    tiles = tile_archive(tmp_path / "archive", tmp_path / "tiles", size=128)
    everything = range(len(tiles))
    assert tiles.problems(everything) == []
    (tmp_path / "archive" / "a.png").unlink()
    shutil.copy(png("other.png", seed=2), tmp_path / "archive" / "c.png")
    tiles = TileSet.open(tmp_path / "tiles")
    missing, another = tiles.problems(everything)
    assert missing.startswith("slide a.png is not in")
    assert "c.png is not the file that was tiled" in another
    assert tiles.problems([i for i in everything if tiles[i].slide == "b.png"]) == []


def test_stored_tiles_that_are_missing_are_counted(png, tmp_path):
    tiles = tile_archive(png(), tmp_path / "tiles", size=128, materialise="pixels")
    next(path for path in sorted((tmp_path / "tiles" / "pixels.zarr").rglob("c.0*"))).unlink()
    (problem,) = TileSet.open(tmp_path / "tiles").problems(range(len(tiles)))
    assert "slide.png: 1 tile missing in" in problem


def test_labels_of_all_tiles_are_read_at_once_and_a_label_that_is_not_there_is_refused(png, tmp_path):
    for name in ("a-HE", "b-PAS", "c"):
        png(f"archive/{name}.png", seed=ord(name[0]))
    tiles = tile_archive(tmp_path / "archive", tmp_path / "tiles", size=128, labels={"stain": "-(HE|PAS)"})
    assert tiles.labels("stain") == [tile.labels.get("stain") for tile in tiles]
    with pytest.raises(InputError, match="no label 'diagnosis'; there are: stain"):
        tiles.labels("diagnosis")


def test_padded_tiles_end_in_the_background_colour(png, tmp_path):
    tiles = tile_archive(png(width=100, height=90), tmp_path / "tiles", size=128, edge="pad")
    pixels = tiles.read(0)
    assert (pixels[90:] == 255).all()
    assert (pixels[:, 100:] == 255).all()
    assert (pixels[45, 50] != 255).any()


def test_a_missing_or_another_slide_is_told_and_a_moved_archive_found(png, tmp_path):
    path = png("archive/a.png", seed=1)
    tile_archive(path.parent, tmp_path / "tiles", size=128)
    expected = TileSet.open(tmp_path / "tiles").read(0)
    path.parent.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"slide a.png is not in .*archive; .* or --root on"):
        TileSet.open(tmp_path / "tiles").read(0)
    np.testing.assert_array_equal(TileSet.open(tmp_path / "tiles", root=tmp_path / "elsewhere").read(0), expected)
    shutil.copy(png("other.png", seed=2), tmp_path / "elsewhere" / "a.png")
    with pytest.raises(InputError, match="is not the file that was tiled"):
        TileSet.open(tmp_path / "tiles", root=tmp_path / "elsewhere").read(0)


def test_what_is_no_finished_tile_set_is_refused(png, tmp_path):
    with pytest.raises(InputError, match=r"no tile set at .*absent: make it with `hdgan tile SLIDES`"):
        TileSet.open(tmp_path / "absent")
    tiles = tile_archive(png(), tmp_path / "tiles", size=128)
    record = tmp_path / "tiles" / RECORD
    record.write_text(record.read_text().replace('"complete"', '"running"'))
    with pytest.raises(InputError, match="only half made"):
        TileSet.open(tmp_path / "tiles")
    assert len(TileSet.open(tiles.path)) == len(tiles)  # a manifest alone is enough
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other.parquet")
    with pytest.raises(InputError, match="is a Parquet file but no tile set"):
        TileSet.open(tmp_path / "other.parquet")
    content = tiles.path.read_bytes()
    tiles.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"manifest.parquet is no tile set"):
        TileSet.open(tiles.path)


def test_more_slides_than_are_kept_open_can_be_read_from_threads_in_any_order(png, tmp_path):
    for i in range(12):
        png(f"archive/{i}.png", width=200, height=200, seed=i)
    tiles = tile_archive(tmp_path / "archive", tmp_path / "tiles", size=100)
    order = np.random.default_rng(0).permutation(len(tiles)).tolist() * 2
    expected = [tiles.read(i) for i in range(len(tiles))]
    for most in (1, 3):
        tiles = TileSet.open(tmp_path / "tiles", open_slides=most)
        with ThreadPoolExecutor(8) as pool:
            for index, pixels in zip(order, pool.map(tiles.read, order), strict=True):
                np.testing.assert_array_equal(pixels, expected[index])


def test_a_slide_that_was_replaced_since_it_was_last_open_is_told(png, tmp_path):
    first, _ = (png(f"archive/{name}.png", seed=seed) for seed, name in enumerate("ab"))
    tile_archive(tmp_path / "archive", tmp_path / "tiles", size=128)
    tiles = TileSet.open(tmp_path / "tiles", open_slides=1)
    last = len(tiles) - 1
    expected = tiles.read(0)
    tiles.read(last)
    np.testing.assert_array_equal(tiles.read(0), expected)
    tiles.read(last)
    shutil.copy(png("other.png", seed=2), first)
    with pytest.raises(InputError, match="is not the file that was tiled"):
        tiles.read(0)
    with pytest.raises(InputError, match="open_slides is at least 1, not 0"):
        TileSet.open(tmp_path / "tiles", open_slides=0)


def test_what_is_pickled_is_where_the_manifest_is_and_another_one_there_is_refused(png, tmp_path, monkeypatch):
    tiles = tile_archive(png(), tmp_path / "tiles", size=32)
    again = tile_archive(png("two.png", seed=1), tmp_path / "again", size=32, overlap=16)
    assert len(pickle.dumps(tiles)) < len(tiles) + 1000
    assert abs(len(pickle.dumps(tiles)) - len(pickle.dumps(again))) < 100
    monkeypatch.chdir(tmp_path)
    pickled = pickle.dumps(TileSet.open("tiles", root=".", open_slides=3))
    monkeypatch.chdir("/")
    same = pickle.loads(pickled)
    np.testing.assert_array_equal(same.read(1), tiles.read(1))
    assert (list(same), same.root, same.table()) == (list(tiles), tiles.root, tiles.table())
    shutil.copy(again.path, tiles.path)
    with pytest.raises(InputError, match=r"manifest.parquet changed since this tile set was opened: open it again"):
        pickle.loads(pickled)
    tiles.path.unlink()
    with pytest.raises(InputError, match="no tile set at"):
        pickle.loads(pickled)


def test_the_table_is_what_the_manifest_holds_and_its_texts_are_held_once(png, tmp_path):
    folder = png("archive/kidney.png").parent
    png("archive/lung.png")
    tiles = tile_archive(folder, tmp_path / "tiles", size=16, labels={"stain": "^(.)", "organ": "kidney"})
    table, expected = tiles.table(), pq.read_table(tiles.path)
    assert table.schema.equals(expected.schema, check_metadata=True)
    assert table.equals(expected)
    texts = [name for name in table.column_names if table.schema.field(name).type == pa.string()]
    assert set(texts) >= {"slide", "fingerprint", "patient", "stain", "organ"}
    assert 3 * tiles._table.select(texts).nbytes < table.select(texts).nbytes


def test_the_fingerprint_of_a_table_follows_its_values_whatever_file_holds_them(png, tmp_path):
    table = tile_archive(png(), tmp_path / "tiles", size=128).table()
    pq.write_table(table, tmp_path / "again.parquet", compression="none", row_group_size=2)
    again = pq.read_table(tmp_path / "again.parquet")
    assert table_fingerprint(again) == table_fingerprint(table)
    for column, value in (("fold", 1), ("x", 7), ("slide", "other.png")):
        index = table.column_names.index(column)
        values = pa.array([*table[column].to_pylist()[:-1], value], table.schema.field(column).type)
        other = table.set_column(index, column, values)
        assert table_fingerprint(other) != table_fingerprint(table)


def _sum_in_child(tiles, index, queue):
    queue.put((os.getpid(), int(tiles.read(index).sum())))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_tile_set_serves_other_processes(png, tmp_path, method):
    tiles = tile_archive(png(), tmp_path / "tiles", size=128)
    expected = int(tiles.read(0).sum())
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=_sum_in_child, args=(tiles, 0, queue))
    child.start()
    process, found = queue.get(timeout=60)
    child.join()
    assert (process != os.getpid(), found) == (True, expected)
    assert pickle.loads(pickle.dumps(tiles))[0] == tiles[0]
