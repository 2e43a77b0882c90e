"""Asked again, a stage does nothing; asked to redo, it replaces what it made, and nothing that an expert drew."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
from command_line import files, hdgan

from tiling import TileSet

PLAN = ("--plan", "quick")


@pytest.fixture
def study(demo_study: Path, tmp_path: Path) -> Path:
    """A complete study of one's own."""
    return Path(shutil.copytree(demo_study, tmp_path / "study"))


def record(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "stage.json").read_text()))


@pytest.mark.parametrize("verb", [("annotate", "pick"), ("demo", "expert", *PLAN), ("demo", "compare", *PLAN)])
def test_a_step_that_is_repeated_says_that_there_is_nothing_to_do(study: Path, verb: tuple[str, ...]) -> None:
    before = files(study)
    ended = hdgan(*verb, "--study", study)
    assert "is complete: nothing to do" in ended.stderr
    assert files(study) == before


def test_a_choice_made_again_leaves_what_the_expert_drew(study: Path) -> None:
    annotations = study / "annotations"
    drawn = annotations / "export" / "drawn in QuPath" / "image_0003.geojson"
    drawn.parent.mkdir()
    drawn.write_text("{}")
    before = {name: state for name, state in files(annotations).items() if not name.startswith("pick/")}
    assert "masks/label_" in " ".join(before)
    said = hdgan("annotate", "pick", "--study", study, "-n", 3, "--redo").stdout
    assert "3 of 16 samples. Kept: 8 masks imported before." in said
    assert len(json.loads((annotations / "pick" / "picked.json").read_text())["indices"]) == 3
    assert {name: state for name, state in files(annotations).items() if not name.startswith("pick/")} == before
    hdgan("annotate", "export", "--study", study)
    assert len(list((annotations / "export" / "images").glob("*.png"))) == 3
    assert drawn.exists()


@pytest.mark.slow
def test_the_stand_in_for_the_expert_labels_anew_and_leaves_no_mask_of_an_earlier_choice(study: Path) -> None:
    hdgan("annotate", "pick", "--study", study, "-n", 3, "--redo")
    assert "made from other picks" in hdgan("demo", "expert", *PLAN, "--study", study, code=2).stderr
    hdgan("demo", "expert", *PLAN, "--study", study, "--seed", 3, "--redo")
    picked = json.loads((study / "annotations" / "pick" / "picked.json").read_text())["indices"]
    assert {path.name for path in (study / "expert" / "masks").iterdir()} == {f"image_{i:04d}.png" for i in picked}
    assert record(study / "expert")["config"] == {
        "kind": "network", "slide_seed": 0, "unseen_seed": 1, "steps": 20, "seed": 3
    }  # fmt: skip


def test_the_comparison_is_made_anew(study: Path) -> None:
    before = (study / "comparison" / "result.json").read_bytes()
    hdgan("demo", "compare", *PLAN, "--study", study, "--seed", 3, "--redo")
    assert (study / "comparison" / "result.json").read_bytes() != before
    for folder in ("comparison", "comparison/pairs", "comparison/labelled-images-alone"):
        assert record(study / folder)["config"]["seed"] == 3  # type: ignore[index]


def test_a_whole_study_given_as_slides_gives_its_slides_only(study: Path, tmp_path: Path) -> None:
    hdgan("annotate", "export", "--study", study, "--out", study / "to label")
    options = ("--size", 32, "--mpp", 8, "--study", tmp_path / "new")
    hdgan("tile", study, *options)
    assert TileSet.open(tmp_path / "new" / "tiles").slides == ["slides/phantom-0.tiff", "slides/phantom-1.tiff"]
    hdgan("tile", study, *options[:4], "--study", study, "--redo")
    assert TileSet.open(study / "tiles").slides == ["slides/phantom-0.tiff", "slides/phantom-1.tiff"]


def test_masks_by_colour_come_in_with_the_command_that_is_told(study: Path) -> None:
    (study / "annotations" / "masks").rename(study.parent / "masks of the phantom's classes")
    said = hdgan("demo", "expert", "--real", "--study", study, "--redo").stdout
    told = shlex.split(said.partition("Next: hdgan ")[2])
    assert "8 masks" in hdgan(*told).stdout


def test_one_of_a_thing_is_told_in_the_singular(study: Path) -> None:
    said = hdgan("annotate", "pick", "--study", study, "-n", 1, "--redo").stdout
    assert "1 of 16 samples." in said
    assert "export: 1 image. Next" in hdgan("annotate", "export", "--study", study).stdout
    mask = next((study / "expert" / "masks").iterdir())
    assert "annotations: 1 mask imported; " in hdgan("annotate", "import", mask, "--study", study).stdout
