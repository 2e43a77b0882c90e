"""The demo's report in a few sentences."""

from __future__ import annotations

import json
import shutil
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from hdgan.demo.conclusion import conclusion, segmenters_compared
from hdgan.demo.folders import DemoFolders
from hdgan.study import Study


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_report_begins_with_a_conclusion_of_the_numbers_that_the_stages_wrote(demo_study: Path) -> None:
    said = conclusion(DemoFolders(Study(demo_study)))
    fitted = read(demo_study / "classifiers" / "report.json")
    compared = read(demo_study / "comparison" / "result.json")
    scores = [read(demo_study / "expert" / "score.json"), fitted["ensemble"], fitted["nearest_colour"]]
    for score in [*scores, *compared.values()]:
        assert f"{score['macro']['dice']:.3f}" in said
    assert said.startswith("8 image-mask pairs were made from a phantom: a slide that was drawn, not scanned,")
    assert "labelled 8 generated images in place of a pathologist" in said
    assert "fitted on 6 of these images; on another 2, the ensemble" in said
    page = unescape((demo_study / "report.html").read_text())
    assert page.index(said) < page.index("The slide and its tiles")


def test_nothing_is_said_of_a_truth_where_there_is_none(demo_study: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(demo_study, study)
    shutil.rmtree(study / "comparison")
    (study / "expert" / "score.json").write_text('{"kind": "k-means of colour, 4 classes"}')
    said = conclusion(DemoFolders(Study(study)))
    assert said.startswith(
        "8 image-mask pairs were made from the slide phantom-0.tiff. A stand-in expert, here a grouping"
    )
    assert "a phantom" not in said
    assert "segmenter" not in said
    assert "As the labels go by colour alone, this shows that the stages work" in said


@pytest.mark.parametrize(
    ("pairs", "labelled", "outcome"),
    [
        (0.6, 0.5, "the pairs help"),
        (0.5, 0.6, "the pairs do not help, it does better without them"),
        (0.5, 0.5, "the pairs neither help nor harm"),
    ],
)
def test_the_segmenters_are_compared_whichever_way_it_goes(pairs: float, labelled: float, outcome: str) -> None:
    result = {
        "pairs": {"images": 9, "macro": {"dice": pairs}},
        "labelled images alone": {"images": 6, "macro": {"dice": labelled}},
    }
    said = segmenters_compared(result)
    assert f"macro Dice of {pairs:.3f}" in said
    assert f"the 6 labelled images alone {labelled:.3f}: {outcome}, as far as one training of each can tell." in said
