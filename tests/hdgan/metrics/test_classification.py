"""Measures of classifiers, against their definitions."""

from __future__ import annotations

import json

import numpy as np
import pytest

from hdgan.metrics import area_under_roc, classification_report
from hdgan.metrics.classification import CLASSIFICATION_MEASURES, positive_note
from tiling.errors import InputError


def area_by_pairs(positive: np.ndarray, scores: np.ndarray) -> float:
    won = [(a > b) + 0.5 * (a == b) for a in scores[positive] for b in scores[~positive]]
    return float(np.mean(won))


def area_by_trapezes(positive: np.ndarray, scores: np.ndarray) -> float:
    thresholds = [np.inf, *np.unique(scores)[::-1]]
    hits = [(scores[positive] >= t).mean() for t in thresholds]
    false_alarms = [(scores[~positive] >= t).mean() for t in thresholds]
    return float(np.trapezoid(hits, false_alarms))


@pytest.mark.parametrize("levels", [3, 1000])
def test_the_area_under_the_curve_is_that_of_the_curve_with_ties(levels: int) -> None:
    draws = np.random.default_rng(levels)
    positive, scores = draws.random(40) < 0.3, draws.integers(0, levels, 40) / levels
    area = area_under_roc(positive, scores)
    assert area == pytest.approx(area_by_pairs(positive, scores), abs=1e-12)
    assert area == pytest.approx(area_by_trapezes(positive, scores), abs=1e-12)
    assert area_under_roc(positive, np.ones(40)) == 0.5
    assert area_under_roc(np.ones(40, bool), scores) is None


def test_measures_are_as_defined_and_classes_that_are_not_in_the_truth_are_in_no_mean() -> None:
    draws = np.random.default_rng(1)
    truth, probabilities = draws.choice([0, 1, 3], 60), draws.dirichlet(np.ones(5), 60)
    probabilities[:, 4] = 0  # neither in the truth nor ever predicted; 2 is predicted
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    report = classification_report(truth, probabilities, list("abcde"))
    predicted = probabilities.argmax(axis=1)
    wanted: dict[str, list[float]] = {"auc": [], "sensitivity": [], "specificity": [], "f1": []}
    for index in (0, 1, 3):
        is_it, said = truth == index, predicted == index
        precision, recall = is_it[said].mean(), said[is_it].mean()
        wanted["auc"].append(area_by_pairs(is_it, probabilities[:, index]))
        wanted["sensitivity"].append(recall)
        wanted["specificity"].append((~said)[~is_it].mean())
        wanted["f1"].append(2 * precision * recall / (precision + recall))
    means = {name: float(np.mean(values)) for name, values in wanted.items()}
    means |= {
        "accuracy": float((truth == predicted).mean()),
        "balanced_accuracy": means["sensitivity"],
        "confidence": float(probabilities.max(axis=1).mean()),
    }
    assert report.measures == pytest.approx(means, abs=1e-12)
    assert set(CLASSIFICATION_MEASURES) == set(report.measures)
    assert report.support == {"a": (truth == 0).sum(), "b": (truth == 1).sum(), "c": 0, "d": (truth == 3).sum(), "e": 0}
    assert report.per_class["c"]["sensitivity"] is None
    assert report.per_class["c"]["auc"] is None
    assert report.confusion.sum() == 60
    assert json.loads(json.dumps(report.to_dict()))["confusion"][0][2] == ((truth == 0) & (predicted == 2)).sum()


def test_of_two_classes_sensitivity_specificity_and_f1_are_those_of_the_second() -> None:
    said = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]])
    report = classification_report(np.array([0, 0, 0, 1, 1]), said, ["normal", "pneumonia"])
    assert report.positive == "pneumonia"
    assert report.measures["sensitivity"] == pytest.approx(1 / 2)
    assert report.measures["specificity"] == pytest.approx(2 / 3)
    assert report.measures["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert report.measures["f1"] == pytest.approx(2 * 1 / (2 + 2))
    assert "F1 of class pneumonia" in positive_note(report.classes)
    assert positive_note(["a", "b", "c"]) == ""


def test_a_class_that_is_never_predicted_has_no_f1_and_one_alone_has_neither_area_nor_specificity() -> None:
    certain = np.tile([1.0, 0.0], (4, 1))
    assert classification_report(np.array([0, 0, 1, 1]), certain, ["a", "b"]).per_class["b"]["f1"] == 0
    alone = classification_report(np.zeros(4, int), np.tile([1.0, 0.0, 0.0], (4, 1)), ["a", "b", "c"]).measures
    assert (alone["auc"], alone["specificity"], alone["accuracy"]) == (None, None, 1.0)
    negative = classification_report(np.zeros(4, int), certain, ["a", "b"]).measures
    assert (negative["sensitivity"], negative["specificity"], negative["f1"]) == (None, 1.0, None)


def test_what_is_no_truth_and_no_probability_is_refused() -> None:
    half = np.full((2, 2), 0.5)
    with pytest.raises(InputError, match=r"not \(3,\) and \(2, 2\)"):
        classification_report(np.zeros(3, int), half, ["a", "b"])
    with pytest.raises(InputError, match="labels of 2 classes are 0 to 1, not 0 to 2"):
        classification_report(np.array([0, 2]), half, ["a", "b"])
    for wrong in (2 * half, np.array([[1.5, -0.5]] * 2), np.full((2, 2), np.nan)):
        with pytest.raises(InputError, match="probabilities of image 0"):
            classification_report(np.array([0, 1]), wrong, ["a", "b"])
    with pytest.raises(InputError, match="one at least"):
        classification_report(np.zeros(0, int), np.zeros((0, 2)), ["a", "b"])
