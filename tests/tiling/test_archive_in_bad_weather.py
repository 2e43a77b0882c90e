"""Disks that hiccup, names that no table holds, links to nowhere, and calls that were stopped early."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os

import numpy as np
import pyarrow.parquet as pq
import pytest
from damaged import jpeg_slide

import tiling.archive
import tiling.workers
from tiling import InputError, open_slide, tile_archive
from tiling.choices import Materialise
from tiling.grid import Grid
from tiling.parts import Parts
from tiling.store import STORE_NAMES, StoredTiles, begin_array, finish_store, plan_array, write_tiles


def ledger(out):
    return {row["slide"]: row for row in pq.read_table(out / "ledger.parquet").to_pylist()}


def test_a_disk_that_hiccups_makes_no_corrupt_cells(tmp_path, stained, monkeypatch):
    archive, out = tmp_path / "archive", tmp_path / "tiles"
    archive.mkdir()
    jpeg_slide(archive / "a.svs", [stained(1024, 768)])
    read, calls = os.pread, itertools.count()

    def flaky(*arguments):
        if 40 < next(calls) <= 60:
            raise OSError(errno.EIO, "Input/output error")
        return read(*arguments)

    monkeypatch.setattr(os, "pread", flaky)
    monkeypatch.setattr(tiling.workers, "_SECONDS_OF_REST", 0.01)
    with contextlib.suppress(InputError):
        tile_archive(archive, out, size=256, workers=0)
    monkeypatch.setattr(os, "pread", read)
    tile_archive(archive, out, size=256, workers=0)
    assert ledger(out)["a.svs"]["corrupt_cells"] == []


@pytest.mark.parametrize("kind", list(Materialise))
def test_shards_of_other_tiles_are_never_taken_for_these(tmp_path, stained, kind):
    path, store = jpeg_slide(tmp_path / "a.svs", [stained(1024, 768)]), tmp_path / STORE_NAMES[kind]
    with open_slide(path) as slide:
        for x in ([0, 128], [128, 256]):
            plan = plan_array(slide, Grid(np.array(x), np.array([256, 256]), 128), level=0, kind=kind)
            begin_array(store, "0a", plan, fingerprint="f")
            write_tiles(store, "0a", plan, slide, start=0, stop=1 if x[0] == 0 else 2)
        finish_store(store, {"a.svs": "0a"}, kind)
        tile = StoredTiles.open(tmp_path).read("a.svs", fingerprint="f", x=128, y=256, size=128, level=0, scale=1.0)
        np.testing.assert_array_equal(tile, slide.read(x=128, y=256, width=128, height=128))


def test_a_name_that_is_no_utf_8_is_refused_before_any_work(tmp_path, png):
    png("archive/a.png")
    png("b.png").rename(os.fsdecode(os.fsencode(tmp_path / "archive") + b"/caf\xe9.png"))
    with pytest.raises(InputError, match="has a name that is no UTF-8, which no table can hold; rename it"):
        tile_archive(tmp_path / "archive", tmp_path / "tiles", size=128)


def test_links_to_nothing_are_in_the_ledger(tmp_path, png):
    png("archive/a.png")
    (tmp_path / "archive" / "gone.svs").symlink_to("/gone/gone.svs")
    tile_archive(tmp_path / "archive", tmp_path / "tiles", size=128)
    row = ledger(tmp_path / "tiles")["gone.svs"]
    assert (row["status"], row["reason"]) == ("failed", "gone.svs is a link to a file that is not there")


def test_pictures_of_labels_beside_slides_are_no_slides(tmp_path, png):
    for name in ("a", "a_label", "a-macro", "b_label"):
        png(f"archive/{name}.png")
    assert tile_archive(tmp_path / "archive", tmp_path / "tiles", size=128).slides == ["a.png", "b_label.png"]


def test_a_redo_that_was_stopped_goes_on_though_a_slide_came_meanwhile(tmp_path, png, stopped):
    archive, out = tmp_path / "archive", tmp_path / "tiles"
    for i in range(4):
        png(f"archive/{i}.png", seed=i)
    tile_archive(archive, out, size=128)
    with stopped(Parts, "finish", after=3):
        tile_archive(archive, out, size=64, redo=True)
    done = {path: path.stat().st_mtime_ns for path in (out / "parts").glob("*.parquet")}
    png("archive/new.png", seed=9)
    tile_archive(archive, out, size=64, redo=True)
    assert len(done) == 3
    assert all(path.stat().st_mtime_ns == then for path, then in done.items())


def test_a_call_that_was_stopped_before_its_workers_came_goes_on(tmp_path, png, stopped):
    png("archive/p1-a.png")
    asked = {"size": 128, "anonymise": True, "patient": "^(p.)"}
    with stopped(tiling.archive, "start_workers", after=0):
        tile_archive(tmp_path / "archive", tmp_path / "tiles", **asked)
    assert len(tile_archive(tmp_path / "archive", tmp_path / "tiles", **asked))


def test_labels_patients_and_folds_may_change_and_no_slide_is_read_again(tmp_path, png):
    archive, out, table = tmp_path / "archive", tmp_path / "tiles", tmp_path / "labels.csv"
    png("archive/a.png")
    table.write_text("slide,patient,stain\na,Ada,PAS\n")
    tile_archive(archive, out, size=128, labels=table)
    done = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    png("archive/b.png", seed=1)
    table.write_text("slide,patient,stain\na,Ada,PASM\nb,Bo,PAS\n")
    tiles = tile_archive(archive, out, size=128, labels=table, folds=2)
    assert {(tile.patient, tile.labels["stain"]) for tile in tiles} == {("Ada", "PASM"), ("Bo", "PAS")}
    assert {tile.fold for tile in tiles} == {0, 1}
    assert all(path.stat().st_mtime_ns == then for path, then in done.items())
