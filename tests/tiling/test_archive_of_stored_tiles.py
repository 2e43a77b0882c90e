"""Stored tiles of slides that are stopped, fail, are replaced and put back: a set that is complete has them all."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from damaged import CHANGES, jpeg_slide, spoil

import tiling.job
import tiling.results
from tiling import InputError, TileSet, tile_archive
from tiling.files import remove
from tiling.parts import Parts

ASKED = {"size": 64, "materialise": "pixels", "workers": 0, "retries": 0, "pictures": False}


@pytest.fixture
def archive(png, tmp_path, monkeypatch):
    """A slide that several tasks share, and one that is done by one."""
    monkeypatch.setattr(tiling.job, "_PIXELS_PER_TASK", 8 * 64 * 64)
    png("archive/large.png", seed=1)
    png("archive/small.png", width=200, height=200, seed=2)
    return tmp_path / "archive"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "tiles"


def row_of(out: Path, slide: str) -> dict[str, object]:
    (row,) = [row for row in pq.read_table(out / "ledger.parquet").to_pylist() if row["slide"] == slide]
    return row


def check_whole(tiles: TileSet, archive: Path, tmp_path: Path) -> None:
    """The set is that of an undisturbed run, and every tile is stored."""
    plain = tile_archive(archive, tmp_path / "plain", size=64, workers=0, pictures=False)
    assert tiles.table().equals(plain.table())
    for i in range(len(plain)):
        np.testing.assert_array_equal(tiles.read(i), plain.read(i))


@pytest.fixture
def after_three_stretches(archive, out, stopped) -> tuple[Path, Path]:
    """A run that is killed when three stretches are kept: their folder, and the array that they are stored in."""
    with stopped(Parts, "add", after=3):
        tile_archive(archive, out, **ASKED)
    (begun,) = (path for path in (out / "parts").iterdir() if path.is_dir())
    return begun, out / "pixels.zarr" / begun.name


def before_stretch(number: int, happens: Callable[[], object], monkeypatch) -> None:
    """Have something happen before a stretch is read."""
    call, count = tiling.job.Inspection.__call__, itertools.count(1)

    def calling(self):
        if next(count) == number:
            happens()
        return call(self)

    monkeypatch.setattr(tiling.job.Inspection, "__call__", calling)


def test_a_slide_that_is_replaced_during_a_stretch_and_put_back_keeps_its_tiles(
    archive, out, png, tmp_path, monkeypatch
):
    slide, other = archive / "large.png", png("other.png", width=700, height=640, seed=1)
    shutil.copy(slide, tmp_path / "kept.png")
    with monkeypatch.context() as patch:
        before_stretch(3, lambda: shutil.copy(other, slide), patch)
        tile_archive(archive, out, **ASKED)
    assert "changed while it was tiled" in str(row_of(out, "large.png")["reason"])
    shutil.copy(tmp_path / "kept.png", slide)
    check_whole(tile_archive(archive, out, **ASKED), archive, tmp_path)


def test_stretches_stay_where_the_metadata_are_worded_otherwise(archive, out, tmp_path, after_three_stretches):
    begun, array = after_three_stretches
    starts = [int(path.stem) for path in begun.glob("[0-9]*.json")]
    shards = [array / f"c.{i}.0.0.0" for start in starts for i in range(start, start + 8)]
    before = [path.stat().st_mtime_ns for path in shards]
    metadata = array / "zarr.json"
    metadata.write_bytes(metadata.read_bytes() + b"\n")  # as another version of zarr might write them
    check_whole(tile_archive(archive, out, **ASKED), archive, tmp_path)
    assert [path.stat().st_mtime_ns for path in shards] == before


@pytest.mark.parametrize("lost", ["array", "metadata", "other"])
def test_a_slide_whose_array_is_another_fails_and_the_next_call_tiles_it_anew(
    archive, out, tmp_path, after_three_stretches, lost
):
    _, array = after_three_stretches
    if lost == "array":
        shutil.rmtree(array)
    elif lost == "metadata":
        (array / "zarr.json").write_bytes(b"{")
    else:
        metadata = (array / "zarr.json").read_text()
        (array / "zarr.json").write_text(metadata.replace('"scale": 1.0', '"scale": 2.0'))
    tile_archive(archive, out, **ASKED)
    row = row_of(out, "large.png")
    assert row["status"] == "failed"
    assert "or its stored tiles did, or this is another version of hdgan; run the same command" in str(row["reason"])
    check_whole(tile_archive(archive, out, **ASKED), archive, tmp_path)


def test_a_slide_that_failed_half_way_goes_on_with_the_tiles_that_it_stored(archive, out, tmp_path, monkeypatch):
    def fail():
        raise InputError("the disk is ill")

    with monkeypatch.context() as patch:
        before_stretch(3, fail, patch)
        tile_archive(archive, out, **ASKED)
    assert row_of(out, "large.png")["reason"] == "the disk is ill"
    (begun,) = (path for path in (out / "parts").iterdir() if path.is_dir())
    first = out / "pixels.zarr" / begun.name / "c.0.0.0.0"
    stored = first.stat().st_mtime_ns
    check_whole(tile_archive(archive, out, **ASKED), archive, tmp_path)
    assert first.stat().st_mtime_ns == stored


def test_stretches_without_a_survey_are_not_counted_on(archive, out, tmp_path, after_three_stretches, stopped):
    begun, array = after_three_stretches
    (begun / "survey.parquet").unlink()
    shutil.rmtree(array)
    with stopped(Parts, "begin"):
        tile_archive(archive, out, **ASKED)
    check_whole(tile_archive(archive, out, **ASKED), archive, tmp_path)


@pytest.mark.parametrize("lost", ["c.2.0.0.0", "zarr.json", ""])
def test_no_set_is_complete_that_lacks_a_stored_tile_and_the_same_command_mends_it(
    archive, out, tmp_path, monkeypatch, lost
):
    finish = Parts.finish

    def losing(self, key, part):
        finish(self, key, part)
        if part.row["slide"] == "large.png":
            remove(out / "pixels.zarr" / key / lost)

    with monkeypatch.context() as patch:
        patch.setattr(Parts, "finish", losing)
        with pytest.raises(InputError, match=r"lacks .* stored, of 1 slide: large.png; run the same command again"):
            tile_archive(archive, out, **ASKED)
    with pytest.raises(InputError):
        TileSet.open(out)
    (small,) = (out / "parts").iterdir()
    made = small.stat().st_mtime_ns
    check_whole(tile_archive(archive, out, **ASKED), archive, tmp_path)
    assert small.stat().st_mtime_ns == made


def test_a_slide_that_goes_and_comes_back_after_a_kill_has_its_tiles(archive, out, tmp_path, stopped):
    tile_archive(archive, out, **ASKED)
    (archive / "large.png").rename(tmp_path / "large.png")
    with stopped(tiling.results, "write_ledger", after=0):
        tile_archive(archive, out, **ASKED, missing="drop")
    (tmp_path / "large.png").rename(archive / "large.png")
    check_whole(tile_archive(archive, out, **ASKED), archive, tmp_path)


def test_nothing_is_left_of_a_slide_that_is_dropped(out, after_three_stretches):
    begun, _ = after_three_stretches
    Parts(out / "parts").drop(begun.name)
    assert not begun.exists()


def test_a_tile_whose_damaged_cells_cover_none_of_its_pixels_is_stored_as_it_stays(tmp_path, out, stained, monkeypatch):
    (tmp_path / "archive").mkdir()
    spoil(jpeg_slide(tmp_path / "archive" / "a.svs", [stained(1024, 768)]), 3, 4, CHANGES["all zeros"])
    monkeypatch.setattr(tiling.job, "damaged_pixels", lambda *_, size, **__: np.zeros((size, size), np.bool_))
    tiles = tile_archive(tmp_path / "archive", out, **ASKED | {"size": 256, "corrupt": "drop"})
    assert row_of(out, "a.svs")["corrupt_cells"]
    for i in range(len(tiles)):
        assert tiles.read(i).shape == (256, 256, 3)
