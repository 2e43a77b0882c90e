"""Slides that come, go, change, move and are copied while an archive is tiled again and again."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from damaged import jpeg_slide

import tiling.archive
import tiling.jobs
from tiling import InputError, TileSet, open_slide, tile_archive
from tiling.choices import Missing
from tiling.parts import Parts
from tiling.progress import set_quiet


def content(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def parts(out: Path) -> set[tuple[str, int]]:
    return {(path.name, path.stat().st_mtime_ns) for path in (out / "parts").iterdir()}


def ledger(out: Path) -> dict[str, dict[str, object]]:
    return {row["slide"]: row for row in pq.read_table(out / "ledger.parquet").to_pylist()}


@pytest.fixture
def archive(png, tmp_path):
    for name in "abc":
        png(f"archive/{name}.png", seed=ord(name))
    return tmp_path / "archive"


def test_slides_that_come_change_and_are_renamed_are_taken_up(png, archive, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(archive, out, size=128)
    before = parts(out)
    (archive / "a.png").rename(archive / "e.png")
    png("archive/b.png", width=300, height=300)
    png("archive/sub/d.png")
    tiles = tile_archive(archive, out, size=128)
    assert tiles.slides == ["b.png", "c.png", "e.png", "sub/d.png"]
    assert len(parts(out)) == 2 * 4
    assert len(before & parts(out)) == 2 * 2  # what there is of e.png, as it is called now, and c.png
    assert tiles.table().equals(tile_archive(archive, tmp_path / "fresh", size=128).table())
    assert sorted(path.name for path in (out / "pictures").rglob("*.jpg")) == [
        "b.png.jpg",
        "c.png.jpg",
        "d.png.jpg",
        "e.png.jpg",
    ]


@pytest.mark.parametrize("anonymise", [False, True])
def test_a_second_folder_beside_the_first_leaves_what_was_made_of_that(png, archive, tmp_path, anonymise):
    out = tmp_path / "tiles"
    asked = {"size": 128, "anonymise": anonymise}
    tile_archive(archive, out, **asked)
    before = parts(out)
    png("second/d.png", seed=7)
    tiles = tile_archive([archive, tmp_path / "second"], out, **asked)
    assert before < parts(out)
    assert len(tiles.slides) == 4
    assert anonymise or tiles.slides == ["archive/a.png", "archive/b.png", "archive/c.png", "second/d.png"]
    assert tiles.read(0).shape == (128, 128, 3)


def test_copies_are_tiled_once_and_each_has_its_tiles(archive, tmp_path):
    shutil.copy(archive / "a.png", archive / "copy.png")
    tiles = tile_archive(archive, tmp_path / "tiles", size=128, materialise="pixels")
    assert len(parts(tmp_path / "tiles")) == 2 * 3
    of = {slide: [i for i, tile in enumerate(tiles) if tile.slide == slide] for slide in tiles.slides}
    assert len(of["a.png"]) == len(of["copy.png"]) > 0
    for one, other in zip(of["a.png"], of["copy.png"], strict=True):
        np.testing.assert_array_equal(tiles.read(one), tiles.read(other))


def test_a_copy_that_goes_is_missed_like_any_slide_and_one_that_is_renamed_is_not(archive, tmp_path):
    out = tmp_path / "tiles"
    shutil.copy(archive / "a.png", archive / "copy.png")
    before = tile_archive(archive, out, size=128)
    (archive / "copy.png").rename(archive / "other.png")
    assert tile_archive(archive, out, size=128).slides == ["a.png", "b.png", "c.png", "other.png"]
    (archive / "other.png").unlink()
    with pytest.raises(InputError, match=r"tiles of 1 slide \(other.png\) not among those given"):
        tile_archive(archive, out, size=128)
    assert len(tile_archive(archive, out, size=128, missing="keep")) == len(before)
    assert "cannot be read now, or is not there" in str(ledger(out)["other.png"]["reason"])
    assert not ledger(out)["a.png"]["reason"]
    assert tile_archive(archive, out, size=128, missing="drop").slides == ["a.png", "b.png", "c.png"]


def test_copies_of_a_slide_that_fails_fail_each_with_a_reason_of_its_own(archive, tmp_path):
    for name in ("x.svs", "y.svs"):
        (archive / name).write_bytes(b"no slide")
    tile_archive(archive, tmp_path / "tiles", size=128)
    said = ledger(tmp_path / "tiles")
    assert str(said["x.svs"]["reason"]).startswith("cannot open x.svs as a slide: ")
    assert str(said["y.svs"]["reason"]).startswith("y.svs is a copy of x.svs: cannot open x.svs as a slide: ")


def test_a_name_that_was_mistyped_is_told_before_slides_that_are_missed(archive, tmp_path):
    tile_archive(archive, tmp_path / "tiles", size=128)
    with pytest.raises(InputError, match=r"^no such slide: .*/archive/typo.png; name slides that are there$"):
        tile_archive([archive / "a.png", archive / "typo.png"], tmp_path / "tiles", size=128)


def test_workers_that_cannot_be_are_refused_though_nothing_is_to_be_done(archive, tmp_path):
    tile_archive(archive, tmp_path / "tiles", size=128)
    for wrong, said in (
        ({"memory": "lots"}, r"memory \(--memory\) is an amount of 100MiB or more, .*, not 'lots'"),
        ({"scheduler": "nowhere"}, "a dask scheduler's address is like tcp://HOST:8786, not 'nowhere'"),
        ({"scheduler": "tcp://localhost:1", "memory": "1GiB"}, "is about workers of this machine"),
    ):
        with pytest.raises(InputError, match=said):
            tile_archive(archive, tmp_path / "tiles", size=128, **wrong)


def test_a_pattern_that_finds_no_patient_is_refused_before_a_slide_is_read(archive, tmp_path, monkeypatch):
    def read(*_):
        raise AssertionError("a slide was read")

    monkeypatch.setattr(tiling.jobs, "slide_fingerprint", read)
    said = r"patient \(--patient\) '\^a' finds no patient in 2 file names of 3: b.png, c.png; make it match them too"
    with pytest.raises(InputError, match=said):
        tile_archive(archive, tmp_path / "tiles", size=128, patient="^a")


def test_tiles_of_slides_that_are_missing_are_not_given_up_unasked(archive, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(archive, out, size=128)
    before = content(out)
    said = r"tiles holds tiles of 2 slides \(b.png, c.png\) not among those given; give all slides, .* keep or drop"
    with pytest.raises(InputError, match=said):
        tile_archive(archive / "a.png", out, size=128)
    (archive / "c.png").unlink()
    with pytest.raises(InputError, match=r"tiles of 1 slide \(c.png\) not among those given"):
        tile_archive(archive, out, size=128)
    assert content(out) == before
    with pytest.raises(InputError, match="missing must be refuse, keep, drop, not 'lose'"):
        tile_archive(archive, out, size=128, missing="lose")
    assert tile_archive(archive / "a.png", out, size=128, redo=True).slides == ["a.png"]


@pytest.mark.parametrize("missing", [Missing.KEEP, Missing.DROP])
def test_tiles_of_missing_slides_stay_or_go_as_asked_while_others_come(png, archive, tmp_path, missing):
    out = tmp_path / "tiles"
    before = tile_archive(archive, out, size=128, materialise="pixels")
    pixels = before.read(len(before) - 1)
    assert before[len(before) - 1].slide == "c.png"
    made = parts(out)
    (archive / "c.png").unlink()
    png("archive/b2.png", seed=3)
    tiles = tile_archive(archive, out, size=128, materialise="pixels", missing=missing)
    kept = missing is Missing.KEEP
    assert tiles.slides == ["a.png", "b.png", "b2.png"] + ["c.png"] * kept
    assert len(made & parts(out)) == 2 * (3 if kept else 2)
    assert len(list((out / "pixels.zarr").glob("[0-9a-f]*"))) == len(tiles.slides)
    assert ("c.png" in ledger(out)) == kept
    if kept:
        np.testing.assert_array_equal(tiles.read(len(tiles) - 1), pixels)
        assert tile_archive(archive, out, size=128, materialise="pixels", missing="keep").slides == tiles.slides


def test_tiles_of_a_slide_that_cannot_be_read_now_stay_while_others_come(png, archive, tmp_path, capsys):
    out = tmp_path / "tiles"
    before = tile_archive(archive, out, size=128)
    (archive / "c.png").rename(tmp_path / "c.png")
    (archive / "c.png").symlink_to("/gone/c.png")
    png("archive/d.png", seed=3)
    set_quiet(False)
    tiles = tile_archive(archive, out, size=128)
    assert "1 slide (c.png) cannot be read now, and the tiles that were found before stay" in capsys.readouterr().err
    assert tiles.slides == [*before.slides, "d.png"]
    assert ledger(out)["c.png"]["status"] == "done"
    assert "cannot be read now" in str(ledger(out)["c.png"]["reason"])
    (archive / "c.png").unlink()
    (tmp_path / "c.png").rename(archive / "c.png")
    done = parts(out)
    assert tile_archive(archive, out, size=128).table().equals(tiles.table())
    assert parts(out) == done
    assert not ledger(out)["c.png"]["reason"]


def test_names_are_those_of_the_last_call_and_not_those_of_the_first(png, archive, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(archive, out, size=128)
    (archive / "a.png").rename(archive / "z.png")
    tile_archive(archive, out, size=128)
    (archive / "z.png").unlink()
    png("archive/a.png", seed=5)
    with pytest.raises(InputError, match=r"tiles of 1 slide \(z.png\) not among those given"):
        tile_archive(archive, out, size=128)
    tiles = tile_archive(archive, out, size=128, missing="keep", patient=r"^(.)")
    assert tiles.slides == ["a.png", "b.png", "c.png", "z.png"]
    assert {tile.patient for tile in tiles} == set("abcz")
    (archive / "a.png").unlink()
    assert tile_archive(archive, out, size=128, missing="keep", patient=r"^(.)").slides == tiles.slides


def test_a_slide_that_changed_after_the_root_was_raised_is_the_same_slide(png, archive, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(archive, out, size=128)
    png("second/d.png", seed=7)
    places = [archive, tmp_path / "second"]
    tile_archive(places, out, size=128)
    png("archive/a.png", seed=6)
    tiles = tile_archive(places, out, size=128)
    assert tiles.slides == ["archive/a.png", "archive/b.png", "archive/c.png", "second/d.png"]


def test_tiles_that_are_kept_are_read_from_their_slides_though_only_a_new_folder_is_given(png, archive, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(archive, out, size=128)
    png("second/d.png", seed=7)
    tiles = tile_archive(tmp_path / "second", out, size=128, missing="keep")
    assert tiles.slides == ["archive/a.png", "archive/b.png", "archive/c.png", "second/d.png"]
    assert all(TileSet.open(out).read(i).shape == (128, 128, 3) for i in range(len(tiles)))


def test_a_redo_keeps_nothing_and_loses_nothing_that_is_only_unreadable(archive, tmp_path, capsys):
    out = tmp_path / "tiles"
    tile_archive(archive, out, size=128)
    with pytest.raises(InputError, match=r"redo \(--redo\) tiles all slides anew and cannot keep tiles"):
        tile_archive(archive / "a.png", out, size=128, redo=True, missing="keep")
    (archive / "c.png").unlink()
    (archive / "c.png").symlink_to("/gone/c.png")
    with pytest.raises(InputError, match=r"1 slide \(c.png\) cannot be read now, and a redo would lose the tiles"):
        tile_archive(archive, out, size=128, redo=True)
    set_quiet(False)
    assert tile_archive(archive, out, size=128, redo=True, missing="drop").slides == ["a.png", "b.png"]
    assert "dropped the tiles of 1 slide (c.png)" in capsys.readouterr().err


@pytest.mark.parametrize("anonymise", [False, True])
def test_a_redo_that_goes_on_loses_nothing_that_became_unreadable_meanwhile(
    png, archive, tmp_path, capsys, stopped, anonymise
):
    out, asked = tmp_path / "tiles", {"size": 128, "anonymise": anonymise}
    tile_archive(archive, out, **asked)
    png("second/d.png", seed=7)
    places = [archive, tmp_path / "second"]
    with stopped(Parts, "finish"):
        tile_archive(places, out, **asked, redo=True)
    (archive / "c.png").unlink()
    (archive / "c.png").symlink_to("/gone/c.png")
    for redo in (True, False):
        with pytest.raises(InputError, match=r"1 slide \(.*\) cannot be read now, and a redo would lose the tiles"):
            tile_archive(places, out, **asked, redo=redo)
        with pytest.raises(InputError, match=r"leave out missing \(--missing\) keep, as one has begun"):
            tile_archive(places, out, **asked, redo=redo, missing="keep")
    set_quiet(False)
    assert len(tile_archive(places, out, **asked, missing="drop").slides) == 3
    assert "dropped the tiles of 1 slide (" in capsys.readouterr().err


def test_a_slide_that_came_and_went_while_growth_was_stopped_leaves_nothing(png, archive, tmp_path, stopped):
    out = tmp_path / "tiles"
    before = tile_archive(archive, out, size=128)
    png("archive/d.png", seed=3)
    with stopped(Parts, "finish"):
        tile_archive(archive, out, size=128)
    (archive / "d.png").unlink()
    assert len(parts(out)) == 2 * 4
    assert tile_archive(archive, out, size=128).table().equals(before.table())
    assert len(parts(out)) == 2 * 3
    assert not (out / "under-way").exists()


def test_a_number_for_slides_that_do_not_say_their_resolution_concerns_these_alone(stained, png, tmp_path):
    archive, out = tmp_path / "archive", tmp_path / "tiles"
    archive.mkdir()
    jpeg_slide(archive / "a.svs", [stained(1024, 768)], resolution=(20000, 20000), resolutionunit="CENTIMETER")
    png("archive/b.png")
    tile_archive(archive, out, size=128, mpp=1.0)
    assert ledger(out)["b.png"]["status"] == "failed"
    before = parts(out)
    tile_archive(archive, out, size=128, mpp=1.0, mpp_of=0.5)
    assert ledger(out)["b.png"]["status"] == "done"
    assert {name: row["mpp_from"] for name, row in ledger(out).items()} == {"a.svs": "slide", "b.png": "user"}
    assert before < parts(out)


def test_an_anonymised_set_can_be_read_while_it_grows(png, archive, tmp_path, stopped):
    out = tmp_path / "tiles"
    asked = {"size": 128, "anonymise": True}
    tile_archive(archive, out, **asked)
    png("second/d.png", seed=7)
    with stopped(tiling.archive, "start_workers", after=0):
        tile_archive([archive, tmp_path / "second"], out, **asked)
    tiles = TileSet.open(out)
    assert len(tiles.slides) == 3
    assert tiles.read(0).shape == (128, 128, 3)
    grown = tile_archive([archive, tmp_path / "second"], out, **asked)
    assert all(grown.read(i).shape == (128, 128, 3) for i in range(len(grown)))


def test_a_slide_that_is_replaced_before_it_is_read_is_not_taken_for_the_old_one(stained, tmp_path, monkeypatch):
    archive, out = tmp_path / "archive", tmp_path / "tiles"
    archive.mkdir()
    for i, name in enumerate("ab"):
        jpeg_slide(archive / f"{name}.svs", [stained(1024, 768, i)])
    start = tiling.archive.start_workers

    def swapping(**asked):
        jpeg_slide(archive / "a.svs", [stained(1024, 768, 9)])
        return start(**asked)

    asked = {"size": 256, "materialise": "cells", "workers": 0}
    with monkeypatch.context() as patch:
        patch.setattr(tiling.archive, "start_workers", swapping)
        tile_archive(archive, out, **asked)
    row = ledger(out)["a.svs"]
    assert row["status"] == "failed"
    assert "a.svs changed while it was tiled; run the same command again" in str(row["reason"])
    assert [path.name for path in (out / "pictures").iterdir()] == ["b.svs.jpg"]
    tiles = tile_archive(archive, out, **asked)
    with open_slide(archive / "a.svs") as slide:
        first = slide.read(x=tiles[0].x, y=tiles[0].y, width=256, height=256)
    np.testing.assert_array_equal(tiles.read(0), first)


def test_a_tile_set_stays_whole_while_it_grows_and_after_the_growth_was_stopped(png, archive, tmp_path, stopped):
    out = tmp_path / "tiles"
    before = tile_archive(archive, out, size=128, materialise="pixels")
    for i in range(3):
        png(f"archive/new{i}.png", seed=i)
    with stopped(Parts, "finish", after=2):
        tile_archive(archive, out, size=128, materialise="pixels")
    again = TileSet.open(out)
    assert again.table().equals(before.table())
    assert again.read(0).shape == (128, 128, 3)
    done = parts(out)
    tiles = tile_archive(archive, out, size=128, materialise="pixels")
    assert len(tiles.slides) == 6
    assert done < parts(out)


def test_a_damaged_part_is_made_again(png, archive, tmp_path, capsys):
    out = tmp_path / "tiles"
    before = tile_archive(archive, out, size=128)
    hurt = sorted((out / "parts").glob("*.parquet"))[0]
    hurt.write_bytes(hurt.read_bytes()[:-9])
    png("archive/d.png", seed=3)
    set_quiet(False)
    tiles = tile_archive(archive, out, size=128)
    assert f"{hurt} is damaged" in capsys.readouterr().err
    assert tiles.slides == [*before.slides, "d.png"]


def test_pictures_that_were_not_wanted_are_drawn_when_they_are(archive, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(archive, out, size=128, pictures=False)
    assert not (out / "pictures").exists()
    done = parts(out)
    tile_archive(archive, out, size=128)
    assert done < parts(out)
    tile_archive(archive, tmp_path / "fresh", size=128)
    for path in (tmp_path / "fresh" / "pictures").iterdir():
        assert (out / "pictures" / path.name).read_bytes() == path.read_bytes()
    tile_archive(archive, out, size=128, pictures=False, redo=True)
    assert not list(out.glob("pictures/*"))


def test_a_ledger_that_was_deleted_is_put_together_again(archive, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(archive, out, size=128)
    before, done = (out / "ledger.parquet").read_bytes(), parts(out)
    (out / "ledger.parquet").unlink()
    tile_archive(archive, out, size=128)
    assert (out / "ledger.parquet").read_bytes() == before
    assert parts(out) == done
