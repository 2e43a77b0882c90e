"""What the demo's two segmenters learn from."""

from __future__ import annotations

import json
from pathlib import Path

from hdgan.annotations import load_masks
from hdgan.demo.comparison import labelled_images
from hdgan.study import Study
from tiling.stage import read_record


def test_the_labelled_images_are_those_that_the_ensemble_saw(demo_study: Path) -> None:
    study = Study(demo_study)
    split = json.loads((study.classifiers / "config.json").read_text())["split"]
    labelled, _ = labelled_images(study)
    masks, _ = load_masks(study.annotations)
    result = json.loads((demo_study / "comparison" / "result.json").read_text())
    assert len(labelled) == len(split["train"]) + len(split["validation"]) < len(masks)
    assert result["labelled images alone"]["images"] == len(labelled)
    samples = study.sample_fingerprints()
    tested = [mask.tobytes() for index, mask in masks.items() if samples[index] in split["test"]]
    assert len(tested) == len(split["test"])
    assert not {mask.tobytes() for _, mask in labelled} & set(tested)


def test_the_segmenters_record_what_they_were_made_from(demo_study: Path) -> None:
    assert set(read_record(demo_study / "comparison" / "pairs")["inputs"]) == {"pairs"}
    alone = read_record(demo_study / "comparison" / "labelled-images-alone")
    assert set(alone["inputs"]) == {"latents", "classifiers"}
    assert len(alone["config"]["pairs"]) == 64
