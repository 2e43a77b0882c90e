"""`hdgan evaluate`, `hdgan info` and `--quiet`."""

from __future__ import annotations

import json
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
