"""`hdgan evaluate`, `hdgan info` and `--quiet`."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from command_line import hdgan
from PIL import Image
from typer.main import get_command

from hdgan.cli import app
from hdgan.labels import ClassList, LabelClass


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.array([[0, 1], [1, 255]], np.uint8)).save(tmp_path / "masks" / "a.png")
    return tmp_path / "masks"


def test_folders_are_compared_and_the_classes_told(masks: Path, tmp_path: Path) -> None:
    call = ("evaluate", "--truth", masks, "--predicted", masks, "--study", tmp_path / "new")
    ended = hdgan(*call)
    assert "glomerulus" in ended.stdout
    kidney = "classes: whitespace, cortical tubulointerstitium, glomerulus, arteriole, artery\n"
    assert ended.stderr == kidney
    ClassList((LabelClass("plain", (9, 9, 9)), LabelClass("dot", (99, 9, 9)))).save(tmp_path / "classes.json")
    ended = hdgan(*call, "--json", "--classes", tmp_path / "classes.json")
    assert ended.stderr == "classes: plain, dot\n"
    (report,) = json.loads(ended.stdout)["reports"].values()
    assert report["confusion"] == [[1, 0, 0], [0, 2, 0]]
    assert not (tmp_path / "new").exists()


def test_a_folder_that_does_not_exist_is_said_not_to(masks: Path) -> None:
    for truth, predicted in ((masks, "nowhere"), ("nowhere", masks)):
        ended = hdgan("evaluate", "--truth", truth, "--predicted", predicted, code=2)
        assert (ended.stdout, ended.stderr) == ("", "hdgan: no such folder: nowhere\n")


def test_quiet_leaves_out_tables_but_not_json(masks: Path, tmp_path: Path) -> None:
    for call in (("evaluate", "--truth", masks, "--predicted", masks), ("info", masks / "a.png")):
        ended = hdgan(*call, "--quiet")
        assert (ended.stdout, ended.stderr) == ("", "")
        ended = hdgan(*call, "--quiet", "--json")
        assert json.loads(ended.stdout)
        assert ended.stderr == ""


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))
    if path and not getattr(command, "commands", {}):
        yield path, command


def test_every_verb_takes_quiet() -> None:
    verbs = dict(commands(get_command(app)))
    assert {("evaluate",), ("info",), ("annotate", "pick"), ("demo", "report")} <= verbs.keys()
    lacking = [path for path, verb in verbs.items() if not any("--quiet" in option.opts for option in verb.params)]
    assert lacking == []


@pytest.mark.slow
def test_a_quiet_demo_prints_nothing(demo_study: Path) -> None:
    ended = hdgan("demo", "--plan", "quick", "--study", demo_study, "--quiet")
    assert (ended.stdout, ended.stderr) == ("", "")


def test_a_folder_that_ends_in_zarr_is_told_as_a_slide(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.ome.zarr")
    group.create_array("0", data=np.full((3, 30, 40), 200, np.uint8))
    axes = [{"name": "c"}, {"name": "y", "unit": "micrometer"}, {"name": "x", "unit": "micrometer"}]
    scale = [{"type": "scale", "scale": [1, 0.5, 0.5]}]
    multiscale = {"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [multiscale]}
    facts = json.loads(hdgan("info", tmp_path / "a.ome.zarr", "--json").stdout)
    assert (facts["format"], facts["width"], facts["height"], facts["mpp"]) == ("OME-Zarr 0.5", 40, 30, 0.5)


def test_a_folder_of_slides_is_told_and_each_that_would_fail_is_named(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for number in range(25):
        (archive / f"broken-{number:02}[b].svs").write_bytes(b"no slide")
    Image.new("RGB", (70, 50)).save(archive / "a.png")
    told = " ".join(hdgan("info", archive).stdout.split())
    assert told.startswith("slides 26 ")
    assert "cannot open broken-00[b].svs as a slide" in told
    assert "broken-19[b]" in told
    assert "broken-20[b]" not in told
    assert "and 5 more" in told
    assert len(json.loads(hdgan("info", archive, "--json").stdout)["would_fail"]) == 25


def _stop_tiling(archive: Path, study: Path, *options: str) -> None:
    """Kill `hdgan tile` when some slides are done."""
    call = [sys.executable, "-m", "hdgan", "tile", archive, "--size", "128", "--limit", "3", "--study", study, *options]
    process = subprocess.Popen(call, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while process.poll() is None and len(list(study.glob("tiles/parts/[0-9a-f]*.parquet"))) < 5:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_of_a_tiling_that_was_stopped_info_tells_how_far_it_is_and_the_command_that_continues_it(
    tmp_path: Path,
) -> None:
    archive, study = tmp_path / "an archive", tmp_path / "study"
    archive.mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(90, 200, (300, 400, 3), np.uint8)
        Image.fromarray(pixels).save(archive / f"{number:02}.png")
    (archive / "00.svs").write_bytes(b"no slide")
    _stop_tiling(archive, study)
    told = json.loads(hdgan("info", study, "--json").stdout)["tile"]
    assert told["status"] == "stopped"
    assert told["slides"]["of"] == 41
    assert 5 <= told["slides"]["done"] + told["slides"]["failed"] < 41
    assert told["failures"].startswith("cannot open 00.svs as a slide")
    assert told["continue"] == f"hdgan tile '{archive}' --study {study}"
    assert json.loads(hdgan("info", study / "tiles", "--json").stdout) == {"tile": told}
    assert "stopped: slides done " in hdgan("info", study).stdout
    hdgan(*shlex.split(told["continue"])[1:])
    told = json.loads(hdgan("info", study, "--json").stdout)["tile"]
    assert (told["status"], told["slides"]) == ("complete", {"done": 40, "empty": 0, "failed": 1})
    assert "continue" not in told
    assert not (study / "tiles" / "under-way").exists()


def test_of_an_anonymised_tiling_that_was_stopped_no_place_is_told(tmp_path: Path) -> None:
    archive, study = tmp_path / "Doe^John", tmp_path / "study"
    archive.mkdir()
    for number in range(40):
        pixels = np.random.default_rng(number).integers(90, 200, (300, 400, 3), np.uint8)
        Image.fromarray(pixels).save(archive / f"{number:02}.png")
    _stop_tiling(archive, study, "--anonymise")
    told = json.loads(hdgan("info", study, "--json").stdout)["tile"]
    assert told["continue"] == f"hdgan tile SLIDES --study {study}"
    assert "Doe" not in (study / "tiles" / "under-way" / "asked.json").read_text()


def test_folders_of_pairs_are_told_in_a_study_and_elsewhere(demo_study: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(demo_study / "pairs", tmp_path / "elsewhere"))
    told = json.loads(hdgan("info", copy, "--json").stdout)["synthesize"]
    assert told["status"] == "complete"
    assert told["format"] == "zarr"
    assert told["pairs"] == json.loads(hdgan("info", demo_study, "--json").stdout)["synthesize"]["pairs"] > 0
    study = tmp_path / "study"
    shutil.copytree(demo_study, study, ignore=shutil.ignore_patterns("tiles", "expert", "comparison"))
    export = ("export", "--study", study, "--format", "png", "--drop-uncertain", 0.9)
    hdgan(*export)
    exported = json.loads(hdgan("info", study, "--json").stdout)["export"]
    assert exported["status"] == "complete"
    assert "outdated" not in exported
    record = json.loads((study / "classifiers" / "stage.json").read_text())
    (study / "classifiers" / "stage.json").write_text(json.dumps(record | {"fingerprint": "0" * 64}))
    exported = json.loads(hdgan("info", study, "--json").stdout)["export"]
    assert exported["outdated"] == "the classifiers changed since then"
    assert "pairs is out of date: the classifiers changed" in hdgan(*export).stderr


def test_a_folder_of_another_stage_is_answered_with_the_study(demo_study: Path) -> None:
    said = hdgan("info", demo_study / "features", code=2).stderr
    assert "was made by `hdgan features`; name the study that it is in" in said
