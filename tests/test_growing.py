"""A study that is asked for more keeps what it has, and the expert's work above all."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import files, hdgan
from PIL import Image

NOTHING_TO_DO = "complete: nothing to do"


@pytest.fixture
def study(demo_study: Path, tmp_path: Path) -> Path:
    """A complete study of one's own: 16 samples, 8 of them annotated."""
    return Path(shutil.copytree(demo_study, tmp_path / "study"))


def annotate(study: Path, index: int) -> None:
    """Bring one more mask."""
    masks = study.parent / "masks"
    masks.mkdir(exist_ok=True)
    labels = np.zeros((32, 32), np.uint8)
    labels[8:, 4:] = 1
    Image.fromarray(labels).save(masks / f"image_{index:04d}.png")
    hdgan("annotate", "import", masks, "--study", study)


def unannotated(study: Path) -> int:
    """The first sample without a mask."""
    masks = study / "annotations" / "masks"
    return next(index for index in range(16) if not (masks / f"label_{index:04d}.png").exists())


def written(folder: Path) -> dict[str, tuple[int, str]]:
    """Every file of a stage but its record: when it was written, and a hash of its bytes."""
    return {name: value for name, value in files(folder).items() if name != "stage.json"}


@pytest.mark.slow
def test_features_that_are_added_leave_what_was_fitted_as_it_is(study: Path) -> None:
    later = {name: files(study / name) for name in ("classifiers", "pairs")}
    hdgan("features", "--study", study, "--all")
    assert json.loads((study / "features" / "stage.json").read_text())["summary"]["latents"] == 16
    for verb in ("fit", "synthesize"):
        assert NOTHING_TO_DO in hdgan(verb, "--study", study).stderr
    assert {name: files(study / name) for name in later} == later
    stages = json.loads(hdgan("info", study, "--json").stdout)
    assert "outdated" not in stages["fit"] | stages["synthesize"]


def test_what_is_no_longer_as_it_was_is_said_to_be(study: Path) -> None:
    kept = (study / "annotations" / "classes.json").read_text()
    (study / "classes.json").write_text(kept.replace("artery", "vein"))
    assert (
        f"{study / 'classes.json'} differs from {study / 'annotations' / 'classes.json'}"
        in hdgan("fit", "--study", study).stderr
    )
    for image in (study / "latents" / "images").iterdir():
        image.unlink()
    said = hdgan("fit", "--study", study, code=2).stderr
    assert f"`hdgan sample --redo --study {study}` draws it again, the same" in said


@pytest.mark.slow
def test_samples_that_are_added_leave_all_that_was_made_of_the_others_as_it_is(study: Path) -> None:
    samples = written(study / "latents" / "images")
    later = {name: files(study / name) for name in ("annotations", "features", "classifiers", "pairs")}
    hdgan("sample", "--study", study, "-n", 21)
    assert len(list((study / "latents" / "images").iterdir())) == 21
    assert written(study / "latents" / "images").items() >= samples.items()
    for verb in (("annotate", "pick"), ("features",), ("fit",), ("synthesize",)):
        assert NOTHING_TO_DO in hdgan(*verb, "--study", study).stderr
    hdgan("annotate", "export", "--study", study)
    hdgan("annotate", "import", study / "expert" / "masks", "--study", study)
    assert {name: files(study / name) for name in later} == later


@pytest.mark.slow
def test_samples_that_were_added_are_picked_from_and_annotated(study: Path) -> None:
    hdgan("sample", "--study", study, "-n", 21)
    masks = written(study / "annotations" / "masks")
    hdgan("annotate", "pick", "--study", study, "-n", 20, "--redo")
    annotate(study, 20)
    assert written(study / "annotations" / "masks").items() > masks.items()
    hdgan("features", "--study", study)
    hdgan("fit", "--study", study, "--redo")


@pytest.mark.slow
def test_masks_that_are_added_cost_their_own_features_only(study: Path, tmp_path: Path) -> None:
    before = written(study / "features")
    annotate(study, unannotated(study))
    hdgan("features", "--study", study)
    after = written(study / "features")
    description = "features.zarr/zarr.json"
    assert {name for name in before if after[name] != before[name]} == {description}
    assert len({Path(name).parts[1] for name in after.keys() - before.keys()}) == 1
    grown = files(study / "features")
    fingerprint = json.loads((study / "features" / "stage.json").read_text())["fingerprint"]
    hdgan("features", "--study", study, "--redo")
    assert {name: value[1] for name, value in written(study / "features").items()} == {
        name: value[1] for name, value in grown.items() if name != "stage.json"
    }
    assert json.loads((study / "features" / "stage.json").read_text())["fingerprint"] == fingerprint


@pytest.mark.slow
def test_features_of_all_samples_hold_those_of_masks_that_are_added(study: Path) -> None:
    hdgan("features", "--study", study, "--all")
    annotate(study, unannotated(study))
    assert NOTHING_TO_DO in hdgan("features", "--study", study).stderr
    assert json.loads((study / "features" / "stage.json").read_text())["summary"]["latents"] == 16
