"""Measures of a classifier of images, from true labels and predicted probabilities. Numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError

CLASSIFICATION_MEASURES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "f1": "F1",
    "confidence": "confidence",
}
"""Names of the measures, and how they are written."""
_OFF_ONE = 1e-3  # what rounding to float16 leaves of a sum of 1


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """What a classifier got right.

    Means over classes ("macro") are over those that are in the truth, each with the same weight; a class that is not
    counts only where others are taken for it. All measures of a class are of it against the rest.

    Attributes
    ----------
    classes
        Names, in the order of the labels.
    confusion
        (K, K) int64 images: rows are the truth, columns the prediction.
    aucs
        {class: area under the ROC curve, or None where the truth has no image of it, or no other}.
    confidence
        Mean over the images of the highest probability, right or wrong.
    """

    classes: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    aucs: dict[str, float | None]
    confidence: float

    @property
    def support(self) -> dict[str, int]:
        """{class: images of it in the truth}."""
        return dict(zip(self.classes, self.confusion.sum(axis=1).tolist(), strict=True))

    @property
    def accuracy(self) -> float:
        """Share of the images that are right."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def per_class(self) -> dict[str, dict[str, float | None]]:
        """{class: {auc, sensitivity, specificity, f1}}; None where a measure is 0 / 0."""
        return {name: self._measures(index, name) for index, name in enumerate(self.classes)}

    @property
    def positive(self) -> str | None:
        """Of two classes the second, which sensitivity, specificity and F1 are of; of more these are means of all."""
        return positive_class(self.classes)

    @property
    def measures(self) -> dict[str, float | None]:
        """Accuracy, balanced accuracy, AUC, sensitivity, specificity, F1 and confidence.

        Balanced accuracy and AUC are means over the classes; and so are sensitivity, specificity and F1 of more than
        two classes, where the first is balanced accuracy again. Of two classes they are those of :attr:`positive`.
        """
        rows = [self._measures(index, name) for index, name in enumerate(self.classes) if self.support[name]]
        means = {key: _mean([row[key] for row in rows]) for key in ("auc", "sensitivity", "specificity", "f1")}
        of_one = {} if self.positive is None else self._measures(1, self.positive)
        return {
            "accuracy": self.accuracy,
            "balanced_accuracy": means["sensitivity"],
            **means,
            **{key: of_one.get(key, means[key]) for key in ("sensitivity", "specificity", "f1")},
            "confidence": self.confidence,
        }

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return {
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "support": self.support,
            "positive": self.positive,
            "per_class": self.per_class,
            "measures": self.measures,
        }

    def _measures(self, index: int, name: str) -> dict[str, float | None]:
        hits = int(self.confusion[index, index])
        true, predicted = int(self.confusion[index].sum()), int(self.confusion[:, index].sum())
        others = int(self.confusion.sum()) - true
        return {
            "auc": self.aucs[name],
            "sensitivity": hits / true if true else None,
            "specificity": (others - predicted + hits) / others if others else None,
            "f1": 2 * hits / (true + predicted) if true else None,
        }


def positive_class(classes: Sequence[str]) -> str | None:
    """Of two classes the second."""
    return classes[1] if len(classes) == 2 else None


def positive_note(classes: Sequence[str]) -> str:
    """For the title of a table of measures: which class some of them are of, if they are of one."""
    positive = positive_class(classes)
    return "" if positive is None else f"; sensitivity, specificity and F1 of class {positive}"


def classification_report(
    truth: npt.NDArray[np.integer[Any]], probabilities: npt.NDArray[np.floating[Any]], classes: Sequence[str]
) -> ClassificationReport:
    """Compare predicted probabilities with the truth; the class of the highest, the first of equals, is predicted.

    Parameters
    ----------
    truth
        (N,) whole numbers, the places of the classes.
    probabilities
        (N, K), each row adding up to 1.
    classes
        K names.

    Raises
    ------
    InputError
        For shapes that do not fit, no image, labels out of range, and rows that are no probabilities.

    Examples
    --------
    >>> report = classification_report(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]]), ["a", "b"])
    >>> report.confusion.tolist(), report.aucs["b"]
    ([[1, 0], [1, 1]], 1.0)
    """
    _check(truth, probabilities, classes)
    count = len(classes)
    predicted = probabilities.argmax(axis=1)
    confusion = np.bincount(truth.astype(np.int64) * count + predicted, minlength=count**2).reshape(count, count)
    aucs = {name: area_under_roc(truth == index, probabilities[:, index]) for index, name in enumerate(classes)}
    return ClassificationReport(tuple(classes), confusion, aucs, float(probabilities.max(axis=1).mean()))


def area_under_roc(positive: npt.NDArray[np.bool_], scores: npt.NDArray[np.floating[Any]]) -> float | None:
    """The share of pairs of a positive and a negative in which the positive has the higher score, equal ones half.

    None where there is no positive or no negative. By the sum of the positives' ranks (Mann and Whitney 1947), equal
    scores having the mean of their ranks.

    Examples
    --------
    >>> area_under_roc(np.array([True, True, False, False]), np.array([0.9, 0.5, 0.5, 0.1]))
    0.875
    """
    positives = int(positive.sum())
    pairs = positives * (len(positive) - positives)
    if not pairs:
        return None
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / pairs)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _check(
    truth: npt.NDArray[np.integer[Any]], probabilities: npt.NDArray[np.floating[Any]], classes: Sequence[str]
) -> None:
    if not len(truth) or truth.ndim != 1 or probabilities.shape != (len(truth), len(classes)):
        raise InputError(
            f"of N images, one at least, there must be (N,) labels and (N, {len(classes)}) probabilities, not "
            f"{truth.shape} and {probabilities.shape}"
        )
    if not 0 <= truth.min() <= truth.max() < len(classes):
        raise InputError(
            f"labels of {len(classes)} classes are 0 to {len(classes) - 1}, not {truth.min()} to {truth.max()}"
        )
    sums = probabilities.sum(axis=1, dtype=np.float64)
    wrong = ~(np.abs(sums - 1) < _OFF_ONE) | ~(probabilities >= 0).all(axis=1)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(f"probabilities of image {row} are not from 0 up, or do not add up to 1: {probabilities[row]}")
