"""Old and new are not mixed: what belongs to one generator is not used with another, or with what it has become."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import files, hdgan
from PIL import Image

from tiling.lock import FolderLock

LATER = ("latents", "annotations", "features", "classifiers", "pairs")


@pytest.fixture
def grown(demo_study: Path, tmp_path: Path) -> Path:
    """A complete study whose generator was then trained longer, with the masks put aside and back."""
    study = Path(shutil.copytree(demo_study, tmp_path / "study"))
    masks = (study / "annotations" / "masks").rename(tmp_path / "masks")
    hdgan("train", "--study", study, "--kimg", 0.14)
    masks.rename(study / "annotations" / "masks")
    return study


@pytest.mark.slow
def test_a_generator_on_whose_images_masks_were_drawn_is_not_replaced(demo_study: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(demo_study, tmp_path / "study"))
    before = files(study)
    for options in (("--kimg", 0.14), ("--redo",)):
        said = hdgan("train", "--study", study, *options, code=2).stderr
        assert "8 masks in" in said
        assert "go on in a copy of the study without `latents`, `annotations`" in said
    assert files(study) == before
    assert "nothing to do" in hdgan("train", "--study", study).stderr
    copy = Path(shutil.copytree(study, tmp_path / "copy", ignore=shutil.ignore_patterns(*LATER)))  # the advice
    hdgan("train", "--study", copy, "--kimg", 0.14)
    hdgan("sample", "--study", copy)
    hdgan("annotate", "pick", "--study", copy)


@pytest.mark.slow
def test_a_training_on_that_was_stopped_goes_on_though_masks_came_meanwhile(demo_study: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(demo_study, tmp_path / "study"))
    record = study / "generator" / "stage.json"
    stopped = json.loads(record.read_text()) | {"status": "running"}
    record.write_text(json.dumps(stopped | {"config": stopped["config"] | {"kimg": 0.14}}))
    masks = study / "annotations" / "masks"
    assert "only half made" in hdgan("annotate", "import", masks, "--study", study, code=2).stderr
    hdgan("train", "--study", study, "--kimg", 0.14)
    assert "drawn from another generator" in hdgan("annotate", "import", masks, "--study", study, code=2).stderr


@pytest.mark.slow
def test_info_tells_which_stages_are_older_than_what_they_were_made_from(demo_study: Path, grown: Path) -> None:
    facts = json.loads(hdgan("info", demo_study, "--json").stdout)
    assert [command for command, state in facts.items() if "outdated" in state] == []
    facts = json.loads(hdgan("info", grown, "--json").stdout)
    assert facts["train"]["status"] == "complete"
    older = {command: state["outdated"] for command, state in facts.items() if "outdated" in state}
    assert older == dict.fromkeys(
        ("sample", "annotate", "features", "fit", "synthesize"), "the generator changed since then"
    )
    said = hdgan("evaluate", "--study", grown).stderr
    assert said == (
        f"{grown / 'classifiers'} is out of date: the generator changed since then; "
        f"`hdgan fit --redo --study {grown}` makes it anew\n"
    )
    record = grown / "generator" / "stage.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    assert json.loads(hdgan("info", grown, "--json").stdout)["train"]["status"] == "stopped"
    holder = FolderLock(grown / "generator")
    assert json.loads(hdgan("info", grown, "--json").stdout)["train"]["status"] == "running"
    holder.release()
    assert "stopped: kimg 0.14 of 0.14" in " ".join(hdgan("info", grown).stdout.split())


def test_info_tells_what_is_older_than_the_masks_or_the_samples(demo_study: Path, tmp_path: Path) -> None:
    def older(study: Path) -> dict[str, str]:
        facts = json.loads(hdgan("info", study, "--json").stdout)
        return {command: state["outdated"] for command, state in facts.items() if "outdated" in state}

    study = Path(shutil.copytree(demo_study, tmp_path / "study"))
    mask = next((study / "annotations" / "masks").glob("label_*.png"))
    labels = np.array(Image.open(mask))
    corrected = tmp_path / "corrected" / mask.name
    corrected.parent.mkdir()
    Image.fromarray(np.roll(labels, 3, axis=0)).save(corrected)
    hdgan("annotate", "import", corrected, "--study", study)
    assert older(study) == dict.fromkeys(("fit", "synthesize"), "the masks changed since then")
    said = hdgan("sample", "--redo", "--psi", 0.4, "--study", study).stderr
    assert "were drawn on other samples" in said
    told = older(study)
    assert told["features"] == told["fit"] == told["synthesize"] == "the samples changed since then"
    assert "were drawn on other samples" in told["annotate"]


def test_masks_of_an_older_generators_images_are_not_given_to_the_new_ones_features(grown: Path) -> None:
    before = {name: files(grown / name) for name in LATER}
    said = hdgan("features", "--redo", "--study", grown, code=2).stderr
    assert "latents was drawn from another generator" in said
    assert "hdgan sample --redo" in said
    assert {name: files(grown / name) for name in LATER} == before


def test_an_ensemble_labels_no_images_of_a_generator_that_it_was_not_fitted_on(grown: Path) -> None:
    before = {name: files(grown / name) for name in LATER}
    said = hdgan("synthesize", "--redo", "--study", grown, code=2).stderr
    assert "the ensemble was fitted on the features of another generator" in said
    assert {name: files(grown / name) for name in LATER} == before


@pytest.mark.slow
def test_features_of_replaced_samples_are_not_learnt_with_the_new_ones_masks(demo_study: Path, tmp_path: Path) -> None:
    study = Path(shutil.copytree(demo_study, tmp_path / "study"))
    hdgan("sample", "--redo", "--psi", 0.4, "--study", study)
    assert "were drawn on other samples" in hdgan("fit", "--redo", "--study", study, code=2).stderr
    shutil.rmtree(study / "annotations" / "masks")
    hdgan("annotate", "pick", "--redo", "--study", study)
    hdgan("demo", "expert", "--redo", "--plan", "quick", "--study", study)
    hdgan("annotate", "import", study / "expert" / "masks", "--study", study)
    assert "annotated samples without features" in hdgan("fit", "--redo", "--study", study, code=2).stderr
