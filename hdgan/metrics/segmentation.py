"""Measures of a segmentation, all from one confusion matrix."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.labels import UNLABELLED, LabelClass, LabelMap
from tiling.errors import InputError

Measures = dict[str, float | None]
MEASURES = ("recall", "precision", "dice", "iou")


@dataclass(frozen=True, eq=False)
class SegmentationReport:
    """What a segmentation got right.

    Attributes
    ----------
    classes
        Names in index order.
    confusion
        (K, K) int64 pixels: rows are the truth, columns the prediction.
    """

    classes: tuple[str, ...]
    confusion: npt.NDArray[np.int64]

    @property
    def support(self) -> dict[str, int]:
        """{class: labelled pixels of it in the truth}."""
        return dict(zip(self.classes, self.confusion.sum(axis=1).tolist(), strict=True))

    @property
    def per_class(self) -> dict[str, Measures]:
        """{class: {recall, precision, dice, iou}}; None where a measure is 0 / 0.

        A class that is in the truth and never predicted has precision 0; one that is in neither has no measure.
        """
        return {name: self._measures(index) for index, name in enumerate(self.classes)}

    @property
    def macro(self) -> Measures:
        """Means over the classes that are in the truth."""
        rows = [row for row in self.per_class.values() if row["recall"] is not None]
        return {m: _ratio(sum(row[m] or 0.0 for row in rows), len(rows)) for m in MEASURES}

    @property
    def micro(self) -> Measures:
        """Measures of all pixels together: recall, precision and Dice all equal pixel accuracy."""
        correct, pixels = int(np.trace(self.confusion)), int(self.confusion.sum())
        accuracy = _ratio(correct, pixels)
        return {
            "recall": accuracy,
            "precision": accuracy,
            "dice": accuracy,
            "iou": _ratio(correct, 2 * pixels - correct),
        }

    @property
    def accuracy(self) -> float | None:
        """Share of labelled pixels that are right."""
        return self.micro["recall"]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return {
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "support": self.support,
            "per_class": self.per_class,
            "macro": self.macro,
            "micro": self.micro,
        }

    def table(self) -> list[dict[str, str]]:
        """Rows of text for a table: one per class, then macro and micro; an absent measure is a dash."""
        everything = int(self.confusion.sum())
        pixels = {**self.support, "macro": everything, "micro": everything}
        rows = {**self.per_class, "macro": self.macro, "micro": self.micro}
        return [{"class": name, **_shown(row), "pixels": f"{pixels[name]:,}"} for name, row in rows.items()]

    def _measures(self, index: int) -> Measures:
        correct = int(self.confusion[index, index])
        true, predicted = int(self.confusion[index].sum()), int(self.confusion[:, index].sum())
        return {
            "recall": _ratio(correct, true),
            "precision": 0.0 if true and not predicted else _ratio(correct, predicted),
            "dice": _ratio(2 * correct, true + predicted),
            "iou": _ratio(correct, true + predicted - correct),
        }


def segmentation_report(
    truth: LabelMap | Iterable[LabelMap],
    predicted: LabelMap | Iterable[LabelMap],
    classes: Iterable[str | LabelClass],
) -> SegmentationReport:
    """Compare predicted label maps with true ones.

    Parameters
    ----------
    truth, predicted
        Two label maps (H, W) uint8, two stacks (N, H, W), or two iterables of label maps, read one pair at a time.
        Pixels that are 255 (unlabelled) in either do not count.
    classes
        Class names in index order, or a `ClassList`.

    Examples
    --------
    >>> truth = np.array([[0, 0, 1, 255]], np.uint8)
    >>> predicted = np.array([[0, 1, 1, 0]], np.uint8)
    >>> segmentation_report(truth, predicted, ["background", "nucleus"]).confusion.tolist()
    [[1, 1], [0, 1]]
    """
    if isinstance(truth, np.ndarray) and isinstance(predicted, np.ndarray):
        return report_of_pairs([(truth, predicted)], classes)
    return report_of_pairs(zip(truth, predicted, strict=True), classes)


def report_of_pairs(
    pairs: Iterable[tuple[LabelMap, LabelMap]], classes: Iterable[str | LabelClass]
) -> SegmentationReport:
    """:func:`segmentation_report` of (truth, predicted) pairs, one at a time in memory."""
    names = tuple(c if isinstance(c, str) else c.name for c in classes)
    confusion = np.zeros((len(names), len(names)), np.int64)
    for truth, predicted in pairs:
        confusion += _confusion(np.asarray(truth), np.asarray(predicted), len(names))
    return SegmentationReport(names, confusion)


def _confusion(truth: LabelMap, predicted: LabelMap, classes: int) -> npt.NDArray[np.int64]:
    if truth.shape != predicted.shape:
        raise InputError(f"truth and prediction differ in shape: {truth.shape} and {predicted.shape}")
    labelled = (truth != UNLABELLED) & (predicted != UNLABELLED)
    for name, labels in (("truth", truth[labelled]), ("prediction", predicted[labelled])):
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise InputError(
                f"the {name} holds labels {labels.min()} to {labels.max()}; {classes} classes are 0 to {classes - 1}, "
                f"and {UNLABELLED} is unlabelled"
            )
    joint = truth[labelled].astype(np.int64) * classes + predicted[labelled]
    return np.bincount(joint, minlength=classes * classes).reshape(classes, classes)


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def _shown(measures: Measures) -> dict[str, str]:
    return {name: "–" if value is None else f"{value:.3f}" for name, value in measures.items()}
