"""What is said beside a table of scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from hdgan.labels import UNLABELLED
from hdgan.metrics import beats, footnotes, segmentation_report, verdict


def report(truth: list[int], predicted: list[int]) -> dict[str, Any]:
    return segmentation_report(np.array([truth], np.uint8), np.array([predicted], np.uint8), ["a", "b", "c"]).to_dict()


PERFECT, HALF = report([0, 0, 1, 1], [0, 0, 1, 1]), report([0, 0, 1, 1], [0, 1, 0, 1])
EMPTY = report([UNLABELLED], [0])


def test_the_verdict_names_both_scores_and_who_is_better():
    said = verdict(PERFECT, HALF, where="Here")
    assert said == "Here, the ensemble has a macro Dice of 1.000; nearest colour, which knows no structure, has 0.500."


def test_an_ensemble_that_is_no_better_than_colour_is_said_not_to_be_and_why_that_may_be():
    for ensemble, colour in ((HALF, PERFECT), (HALF, HALF)):
        assert not beats(ensemble, colour)
        said = verdict(ensemble, colour)
        assert said.startswith("On the test images, the ensemble does not beat nearest colour")
        assert "macro Dice is 0.500" in said
        assert "too few images are annotated" in said
    said = verdict(HALF, PERFECT, where="On one", why="")
    assert said.startswith("On one, the ensemble does not beat")
    assert said.endswith("that of nearest colour 1.000.")


def test_a_difference_that_tables_do_not_show_is_none():
    assert not beats({"macro": {"dice": 0.30004}}, {"macro": {"dice": 0.30001}})


def test_there_is_no_verdict_where_nothing_is_labelled():
    assert not beats(EMPTY, EMPTY)
    assert verdict(EMPTY, EMPTY) == "On the test images, no pixel is labelled, so nothing could be scored."


def test_footnotes_explain_what_occurs_and_nothing_else():
    assert footnotes(report([0, 1, 2], [0, 1, 2])) == []
    assert footnotes(PERFECT) == ["–: not in the truth, so without a score, and in no mean: c."]
    absent, unlabelled, ignored = footnotes(report([0, 1, UNLABELLED, UNLABELLED], [0, UNLABELLED, 1, 1]))
    assert absent.endswith("in no mean: c.")
    assert unlabelled.startswith("unlabelled: pixels of the class that the prediction left without a label")
    assert ignored.startswith("Pixels unlabelled in the truth, left free by the expert: 2;")


def test_reports_of_earlier_versions_can_be_read():
    assert footnotes({name: value for name, value in PERFECT.items() if name != "ignored"}) == footnotes(PERFECT)
