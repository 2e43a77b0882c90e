from __future__ import annotations

import json

import pytest

from tiling import InputError, tile_archive
from tiling.info import describe, describe_archive, describe_tiles
from tiling.parts import Parts


def test_a_slide_is_described_without_what_the_scanner_noted_about_people(data):
    facts = describe(data / "slides" / "cmu-1-small-region.svs")
    assert (facts["width"], facts["height"], facts["mpp"], facts["objective_power"]) == (2220, 2967, 0.499, 20)
    assert (facts["backend"], facts["format"], facts["kind"]) == ("tiff", "aperio", "bright field")
    assert facts["levels"] == [{"width": 2220, "height": 2967, "downsample": 1.0}]
    assert "User" not in json.dumps(facts)


def test_fluorescence_and_pictures_are_described(data, png):
    facts = describe(data / "slides" / "fluorescence-dapi.ndpi")
    assert (facts["kind"], facts["background"], facts["format"]) == ("fluorescence", [0, 0, 0], "hamamatsu")
    assert describe(png())["format"] == "PNG"


def test_what_is_no_slide_is_refused(data):
    with pytest.raises(InputError, match="cannot open"):
        describe(data / "slides" / "broken.svs")


def test_a_folder_of_slides_is_told_by_kinds_with_a_line_for_each_that_would_fail(data, tmp_path, png):
    archive = tmp_path / "archive"
    (archive / "more").mkdir(parents=True)
    names = ["cmu-1-small-region.svs", "fluorescence-dapi.ndpi", "broken.svs"]
    for name in names:
        (archive / "more" / name).symlink_to(data / "slides" / name)
    for name in ("a.png", "b.png"):
        png(f"archive/{name}", width=70, height=50)
    (archive / "notes.txt").write_text("no slide")
    facts = describe_archive(archive)
    assert facts["slides"] == 5
    assert facts["formats"] == {"PNG": 2, "aperio": 1, "hamamatsu": 1}
    assert facts["backends"] == {"image": 2, "tiff": 1, "openslide": 1}
    assert facts["mpp"] == {"unknown": 2, "0.5": 1, "0.23": 1}
    assert facts["objective_power"] == {"unknown": 2, "20": 1, "40": 1}
    assert (facts["width"], facts["height"]) == ({"least": 70, "greatest": 3968}, {"least": 50, "greatest": 4864})
    assert facts["without_mpp"] == ["a.png", "b.png"]
    (line,) = facts["would_fail"]
    assert line.startswith("cannot open more/broken.svs as a slide: ")
    whole = sum((data / "slides" / name).stat().st_size for name in names[:2])
    assert facts["bytes"] == whole + sum((archive / name).stat().st_size for name in ("a.png", "b.png"))
    assert json.dumps(facts)


def test_a_folder_without_slides_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match=r"no slides in .*; looked for \.bif"):
        describe_archive(tmp_path)


def test_a_complete_tile_folder_is_told_with_the_slides_that_failed(png, tmp_path):
    png("archive/a.png")
    (tmp_path / "archive" / "b.svs").write_bytes(b"no slide")
    tile_archive(tmp_path / "archive", tmp_path / "out", size=64)
    facts = describe_tiles(tmp_path / "out")
    assert (facts["status"], facts["slides"]) == ("complete", {"done": 1, "empty": 0, "failed": 1})
    assert facts["failures"].startswith("cannot open b.svs as a slide: ")


def test_a_complete_tile_folder_that_was_to_grow_is_told_as_both(png, tmp_path):
    png("archive/a.png")
    tile_archive(tmp_path / "archive", tmp_path / "out", size=64)
    png("archive/b.png", seed=1)
    png("archive/c.png", seed=2)
    parts = Parts(tmp_path / "out" / "parts")
    (key,) = (path.stem for path in parts.folder.glob("*.parquet"))
    parts.ask([key, "b", "c"], [tmp_path / "archive"])
    parts.fail("b", {"slide": "b.png", "status": "failed", "reason": "b.png has a hole"})
    facts = describe_tiles(tmp_path / "out")
    assert (facts["status"], facts["slides"]) == ("complete", {"done": 1, "empty": 0, "failed": 0})
    assert facts["growing"] == {
        "status": "stopped",
        "slides": {"done": 1, "empty": 0, "failed": 1, "of": 3},
        "failures": "b.png has a hole",
        "given": [str(tmp_path / "archive")],
    }
    tile_archive(tmp_path / "archive", tmp_path / "out", size=64)
    facts = describe_tiles(tmp_path / "out")
    assert facts == {"status": "complete", "slides": {"done": 3, "empty": 0, "failed": 0}}
