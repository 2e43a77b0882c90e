from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tiling import InputError, TileSet, tile_archive
from tiling.stage import NOT_SLIDES, RECORD, completed


def ledger(out: Path) -> dict[str, dict]:
    return {row["slide"]: row for row in pq.read_table(out / "ledger.parquet").to_pylist()}


def test_every_slide_of_a_folder_is_in_the_ledger_and_bad_ones_stop_nothing(data, tmp_path):
    tiles = tile_archive(data / "slides", tmp_path / "tiles", size=256)
    rows = ledger(tmp_path / "tiles")
    assert sorted(rows) == sorted(path.name for path in (data / "slides").iterdir())
    assert {name for name, row in rows.items() if row["status"] == "failed"} == {
        "broken.svs",
        "unopenable.tiff",
        "unreadable.svs",
    }
    assert rows["small.svs"]["status"] == "empty"
    assert rows["small.svs"]["reason"].startswith("image smaller than a tile: 16 x 16 px")
    assert "cannot open broken.svs as a slide" in rows["broken.svs"]["reason"]
    assert tiles.slides == [name for name, row in sorted(rows.items()) if row["status"] == "done"]
    for row in rows.values():
        if row["status"] != "failed":
            assert row["candidates"] == row["tiles"] + row["below_tissue"] + row["over_limit"]
    assert sum(row["tiles"] for row in rows.values()) == len(tiles)
    assert completed(tmp_path / "tiles", made_by="hdgan tile")["summary"]["slides"]["failed"] == 3
    assert str(data) not in str(rows)


def test_photographs_are_folded_by_patient_and_labelled_by_name(data, tmp_path):
    tiles = tile_archive(
        sorted((data / "glomeruli").glob("*.jpg"))[::6],
        tmp_path / "tiles",
        size=512,
        folds=4,
        patient="^([0-9]+|K[0-9]+)-",
        labels={"stain": "-(Masson|PASM|PAS)"},
        limit=1,
    )
    assert len(tiles) == 15
    assert {tile.fold for tile in tiles} == {0, 1, 2, 3}
    assert {tile.labels["stain"] for tile in tiles} == {"Masson", "PASM", "PAS"}
    folds_of: dict[str, set[int]] = {}
    for tile in tiles:
        folds_of.setdefault(tile.patient, set()).add(tile.fold)
    assert all(len(folds) == 1 for folds in folds_of.values())
    assert len(folds_of) < 15


def test_the_same_call_does_nothing_and_another_setting_is_refused(png, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(png(), out, size=128)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    tile_archive(png(), out, size=128)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(InputError, match="was made with size = 128, and now 64 is asked for"):
        tile_archive(png(), out, size=64)
    assert tile_archive(png(), out, size=64, redo=True)[0].size == 64


def content(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_redo_that_gives_no_tile_leaves_the_tiles_there_are(png, save, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(png(), out, size=128)
    before = content(out)
    with pytest.raises(InputError, match="no tissue found"):
        tile_archive(save(tmp_path / "blank.png", np.full((300, 300, 3), 255, np.uint8)), out, size=128, redo=True)
    assert content(out) == before


@pytest.mark.parametrize("failing", [False, True])
def test_an_archive_that_moved_is_found_by_the_same_call_and_its_tiles_stay_the_same_tiles(png, tmp_path, failing):
    out = tmp_path / "tiles"
    png("archive/a.png")
    if failing:
        (tmp_path / "archive" / "broken.svs").write_bytes(b"no slide")
    expected = tile_archive(tmp_path / "archive", out, size=128).read(0)
    made = completed(out, made_by="hdgan tile")["fingerprint"]
    (tmp_path / "archive").rename(tmp_path / "moved")
    tile_archive(tmp_path / "moved", out, size=128)
    assert completed(out, made_by="hdgan tile")["fingerprint"] == made
    np.testing.assert_array_equal(TileSet.open(out).read(0), expected)


def test_resolutions_come_from_a_table_too(png, tmp_path):
    png("archive/a.png")
    png("archive/b.png")
    table = tmp_path / "mpp.csv"
    table.write_text("slide,scanner,mpp\na.png,x,0.5\nb,y,0.25\n")
    tile_archive(tmp_path / "archive", tmp_path / "tiles", size=64, mpp=0.5, mpp_of=table)
    assert {name: row["mpp"] for name, row in ledger(tmp_path / "tiles").items()} == {"a.png": 0.5, "b.png": 0.25}
    for text, said in (
        ("slide,mpp\na,fine\n", r"mpp of a.png in .*mpp.csv is a positive number .*, not fine"),
        ("slide,resolution\na,0.5\n", "no column `mpp`; its columns are: slide, resolution"),
        ("slide,mpp\nc,0.5\n", "no tile in any of 2 slides: a.png does not say its resolution"),
    ):
        table.write_text(text)
        with pytest.raises(InputError, match=said):
            tile_archive(tmp_path / "archive", tmp_path / "tiles", size=64, mpp=0.5, mpp_of=table)


def test_a_killed_run_continues_to_the_result_of_an_undisturbed_one(png, tmp_path):
    for i in range(40):
        png(f"archive/{i:02}.png", width=400, height=300, seed=i)
    code = "import sys, tiling; tiling.tile_archive(sys.argv[1], sys.argv[2], size=128, limit=3)"
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path / "archive", killed], stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(killed.glob("parts/[0-9a-f]*.parquet"))) < 5:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert 5 <= len(list(killed.glob("parts/[0-9a-f]*.parquet"))) < 40
    with pytest.raises(InputError, match="half made"):
        TileSet.open(killed)
    kept = {path: path.stat().st_mtime_ns for path in killed.glob("parts/[0-9a-f]*.parquet")}
    tile_archive(tmp_path / "archive", killed, size=128, limit=3)
    tile_archive(tmp_path / "archive", whole, size=128, limit=3)
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    for name in ("manifest.parquet", "ledger.parquet"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()
    records = [completed(out, made_by="hdgan tile") for out in (killed, whole)]
    assert records[0]["fingerprint"] == records[1]["fingerprint"]
    assert not list(killed.rglob(".partial-*"))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("broken.svs", {}, r"^cannot open broken.svs as a slide: Unsupported"),
        ("unopenable.tiff", {}, r"^cannot open unopenable.tiff as a slide: Unsupported TIFF compression: 52479"),
        ("unreadable.svs", {"size": 16}, r"^cannot read 16 x 16 px .* from unreadable.svs"),
        ("absent.svs", {}, r"^no such slide: .*slides/absent.svs"),
        ("cmu-1-small-region.svs", {}, r"^cmu-.*svs: image smaller than a tile: 2220 x 2967 px, and tiles of 4096 px"),
        ("small.svs", {"size": 16, "tissue": 0.9}, r"^small.svs: no tissue found: of 1 tile none reaches .* 0.9"),
        ("tcga-cr-7395-01a-01-ts1.svs", {"size": 256, "mpp": 1.0}, r"^tcga-.*does not say its resolution.*--mpp-of"),
    ],
)
def test_no_tile_at_all_is_one_line_that_names_the_slide_and_leaves_nothing(data, tmp_path, name, options, message):
    with pytest.raises(InputError, match=message) as caught:
        tile_archive(data / "slides" / name, tmp_path / "tiles", **options)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tiles").exists()


def test_an_all_white_slide_says_so_at_any_threshold_above_none(tmp_path, save):
    path = save(tmp_path / "white.png", np.full((300, 300, 3), 255, np.uint8))
    with pytest.raises(InputError, match=r"no tissue found: of 9 tiles none reaches tissue fraction 0\.25"):
        tile_archive(path, tmp_path / "tiles", size=100)
    assert len(tile_archive(path, tmp_path / "tiles", size=100, tissue=0)) == 9


def test_several_slides_without_tiles_are_named_in_one_line(data, png, tmp_path):
    bad = [data / "slides" / name for name in ("broken.svs", "unopenable.tiff", "small.svs")]
    with pytest.raises(InputError, match=r"no tile in any of 4 slides: .*broken.*small.* \| and 1 more$") as caught:
        tile_archive([*bad, tmp_path / "gone.svs"], tmp_path / "tiles")
    assert "\n" not in str(caught.value)
    tiles = tile_archive([*bad, tmp_path / "gone.svs", png()], tmp_path / "tiles", size=128)
    assert {Path(slide).name for slide in tiles.slides} == {"slide.png"}


def test_a_resolution_that_the_slide_lacks_can_be_given_later_and_only_named_slides_are_overruled(data, tmp_path):
    names = ["cmu-1-small-region.svs", "tcga-cr-7395-01a-01-ts1.svs"]
    slides, out = [data / "slides" / name for name in names], tmp_path / "tiles"
    assert tile_archive(slides, out, size=256, mpp=1.0).slides == names[:1]
    assert tile_archive(slides, out, size=256, mpp=1.0, mpp_of=0.5).slides == names
    rows = ledger(out)
    assert [rows[name]["mpp"] for name in names] == [0.499, 0.5]
    tile_archive(slides, out, size=256, mpp=1.0, mpp_of={names[0]: 0.25, names[1]: 0.5})
    assert [row["mpp"] for row in ledger(out).values()] == [0.25, 0.5]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mpp_of": {"other.svs": 0.5}}, "mpp_of names 'other.svs', which is no slide of 1"),
        ({"mpp_of": -1.0}, "mpp_of every slide is a positive number"),
        ({"folds": 0}, "at least 1 fold"),
        ({"patient": "^case"}, "finds no patient in 1 file name of 1: slide.png"),
        ({"labels": {"x": "."}}, "a label cannot be called 'x'"),
        ({"tissue": 2.0}, "tissue is a fraction"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(png, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        tile_archive(png(), tmp_path / "tiles", size=128, **options)
    assert not (tmp_path / "tiles").exists()


def test_the_output_never_covers_or_feeds_the_slides(png, tmp_path):
    path = png("archive/a.png")
    with pytest.raises(InputError, match="lies in the output folder"):
        tile_archive(path, path.parent, size=128, redo=True)
    assert path.exists()
    out = path.parent / "study"
    tile_archive(path.parent, out, size=128)
    shutil.copy(path, out / "picture.png")
    assert tile_archive(path.parent, out, size=128).slides == ["a.png"]


def test_hidden_files_and_other_files_of_a_folder_are_no_slides(png, tmp_path):
    png("archive/a.png")
    png("archive/.cache/b.png")
    (tmp_path / "archive" / "notes.txt").write_text("x")
    assert tile_archive(tmp_path / "archive", tmp_path / "tiles", size=128).slides == ["a.png"]
    os.mkdir(tmp_path / "empty")  # noqa: PTH102
    with pytest.raises(InputError, match=r"no slides in .*empty; looked for .*\.svs"):
        tile_archive(tmp_path / "empty", tmp_path / "other")
    with pytest.raises(InputError, match="no slides given"):
        tile_archive([], tmp_path / "other")


def test_what_a_study_within_the_archive_made_is_no_slide(png, tmp_path):
    png("archive/a.png")
    study = tmp_path / "archive" / "kidney"
    tile_archive(tmp_path / "archive", study / "tiles", size=128)
    png("archive/kidney/annotations/masks/label_0000.png")
    png("archive/named/picture.png")
    (tmp_path / "archive" / "named" / "study.toml").touch()
    png("archive/stage/images/image_0000.png")
    (tmp_path / "archive" / "stage" / RECORD).write_text("{}")
    for out in (study / "tiles", tmp_path / "elsewhere"):
        assert tile_archive(tmp_path / "archive", out, size=128).slides == ["a.png"]
    assert tile_archive(study / "annotations", tmp_path / "asked", size=128).slides == ["masks/label_0000.png"]


def test_slides_within_a_study_are_tiled_without_what_was_made_of_them(png, tmp_path):
    study = tmp_path / "study"
    png("study/slides/a.png")
    png("study/annotations/masks/label_0000.png")
    png("study/latents/images/image_0000.png")
    (study / "annotations" / NOT_SLIDES).touch()
    (study / "latents" / RECORD).write_text("{}")
    for _ in range(2):
        assert tile_archive(study, study / "tiles", size=128).slides == ["slides/a.png"]


def test_the_same_call_finds_the_same_slides_whether_the_study_was_there_before_or_not(png, tmp_path):
    png("archive/a.png")
    png("archive/study/picture.png")
    study = tmp_path / "archive" / "study"
    for _ in range(2):
        assert tile_archive(tmp_path / "archive", study / "tiles", size=128).slides == ["a.png"]
    assert tile_archive(study, study / "tiles", size=128, redo=True).slides == ["picture.png"]


def test_a_folder_that_holds_only_what_stages_made_has_no_slides(png, tmp_path):
    png("study/latents/images/image_0000.png")
    (tmp_path / "study" / "latents" / RECORD).write_text("{}")
    with pytest.raises(
        InputError, match=r"no slides in .*study; looked for .*, but not in what studies and stages made"
    ):
        tile_archive(tmp_path / "study", tmp_path / "study" / "tiles", size=128)


def test_a_slide_that_failed_is_tried_again_and_the_others_are_not(png, tmp_path):
    out = tmp_path / "tiles"
    (tmp_path / "archive").mkdir()
    png("archive/a.png")
    # Nothing in the file itself tells that it can be read again once the folder with its pixels is back.
    (tmp_path / "archive" / "b.mrxs").write_bytes(b"")
    assert tile_archive(tmp_path / "archive", out, size=128).slides == ["a.png"]
    kept = {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()}
    made = completed(out, made_by="hdgan tile")
    assert made["summary"]["slides"]["failed"] == 1
    tile_archive(tmp_path / "archive", out, size=128)
    again = completed(out, made_by="hdgan tile")
    assert again["fingerprint"] == made["fingerprint"]
    assert again["seconds"] > made["seconds"]
    assert {path: path.stat().st_mtime_ns for path in (out / "parts").iterdir()} == kept


def test_settings_that_gave_no_tile_can_be_corrected(png, tmp_path):
    out = tmp_path / "tiles"
    png("archive/a.png")
    with pytest.raises(InputError, match="image smaller than a tile"):
        tile_archive(tmp_path / "archive", out, size=4096)
    assert tile_archive(tmp_path / "archive", out, size=128).slides == ["a.png"]


def test_a_table_of_labels_is_part_of_what_the_tiles_were_made_from(png, tmp_path):
    path, table = png(), tmp_path / "cases.csv"
    table.write_text("slide,diagnosis\nslide,lupus\n")
    assert tile_archive(path, tmp_path / "tiles", size=128, labels=table)[0].labels == {"diagnosis": "lupus"}
    assert RECORD in {p.name for p in (tmp_path / "tiles").iterdir()}
    table.write_text("slide,diagnosis\nslide,IgA\n")
    made = completed(tmp_path / "tiles", made_by="hdgan tile")["fingerprint"]
    assert tile_archive(path, tmp_path / "tiles", size=128, labels=table)[0].labels == {"diagnosis": "IgA"}
    assert completed(tmp_path / "tiles", made_by="hdgan tile")["fingerprint"] != made
