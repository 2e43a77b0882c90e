"""Measures of a segmentation, all from one confusion matrix, and their table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.labels import UNLABELLED, LabelClass, LabelMap
from tiling.errors import InputError

Measures = dict[str, float | None]
MEASURES = ("recall", "precision", "dice", "iou")
_BAND = 2**18  # pixels counted at a time: it takes some 20 bytes each
_HEADINGS = dict(zip(MEASURES, ("recall", "precision", "Dice", "IoU"), strict=True))


@dataclass(frozen=True, eq=False)
class SegmentationReport:
    """What a segmentation got right, of the pixels that are labelled in the truth.

    A pixel that the prediction leaves unlabelled is a miss: it lowers the recall of its class, the accuracy, Dice and
    IoU, and no class's precision.

    Attributes
    ----------
    classes
        Names in index order.
    confusion
        (K, K + 1) int64 pixels: rows are the truth, columns the prediction, the last one what it left unlabelled.
    ignored
        Pixels that are unlabelled in the truth.
    """

    classes: tuple[str, ...]
    confusion: npt.NDArray[np.int64]
    ignored: int = 0

    @property
    def support(self) -> dict[str, int]:
        """{class: labelled pixels of it in the truth}."""
        return dict(zip(self.classes, self.confusion.sum(axis=1).tolist(), strict=True))

    @property
    def unlabelled(self) -> dict[str, int]:
        """{class: pixels of it that the prediction left unlabelled}."""
        return dict(zip(self.classes, self.confusion[:, -1].tolist(), strict=True))

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
        """Measures of the pixels of all classes together.

        Recall is pixel accuracy. Precision, Dice and recall are equal where the prediction leaves nothing unlabelled.
        """
        pixels = int(self.confusion.sum())
        predicted = pixels - int(self.confusion[:, -1].sum())
        return _measures(int(np.trace(self.confusion)), pixels, predicted)

    @property
    def accuracy(self) -> float | None:
        """Share of the pixels labelled in the truth that are right."""
        return self.micro["recall"]

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return {
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "support": self.support,
            "unlabelled": self.unlabelled,
            "ignored": self.ignored,
            "per_class": self.per_class,
            "macro": self.macro,
            "micro": self.micro,
        }

    def _measures(self, index: int) -> Measures:
        true, predicted = int(self.confusion[index].sum()), int(self.confusion[:, index].sum())
        return _measures(int(self.confusion[index, index]), true, predicted)


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
        Pixels that are 255 (unlabelled) in the truth do not count; those that are so in the prediction are misses.
    classes
        Class names in index order, or a `ClassList`.

    Examples
    --------
    >>> truth = np.array([[0, 0, 1, 255]], np.uint8)
    >>> predicted = np.array([[0, 1, 1, 0]], np.uint8)
    >>> segmentation_report(truth, predicted, ["background", "nucleus"]).confusion.tolist()
    [[1, 1, 0], [0, 1, 0]]
    """
    if isinstance(truth, np.ndarray) and isinstance(predicted, np.ndarray):
        return report_of_pairs([(truth, predicted)], classes)
    return report_of_pairs(zip(truth, predicted, strict=True), classes)


def report_of_pairs(
    pairs: Iterable[tuple[LabelMap, LabelMap]], classes: Iterable[str | LabelClass]
) -> SegmentationReport:
    """:func:`segmentation_report` of (truth, predicted) pairs, one at a time in memory."""
    names = tuple(c if isinstance(c, str) else c.name for c in classes)
    confusion, ignored = np.zeros((len(names), len(names) + 1), np.int64), 0
    for truth, predicted in pairs:
        for true, guessed in _bands(np.asarray(truth), np.asarray(predicted)):
            confusion += _confusion(true, guessed, len(names))
            ignored += int(np.count_nonzero(true == UNLABELLED))
    return SegmentationReport(names, confusion, ignored)


def _bands(truth: LabelMap, predicted: LabelMap) -> Iterator[tuple[LabelMap, LabelMap]]:
    """Some rows of both at a time."""
    if truth.shape != predicted.shape:
        raise InputError(f"truth and prediction differ in shape: {truth.shape} and {predicted.shape}")
    width = truth.shape[-1]
    truth, predicted = truth.reshape(-1, width), predicted.reshape(-1, width)
    rows = max(_BAND // width, 1)
    for top in range(0, len(truth), rows):
        yield truth[top : top + rows], predicted[top : top + rows]


def _confusion(truth: LabelMap, predicted: LabelMap, classes: int) -> npt.NDArray[np.int64]:
    labelled = truth != UNLABELLED
    true, guessed = truth[labelled], predicted[labelled]
    for name, labels in (("truth", true), ("prediction", guessed[guessed != UNLABELLED])):
        if labels.size and not 0 <= labels.min() <= labels.max() < classes:
            raise InputError(
                f"the {name} holds labels {labels.min()} to {labels.max()}; {classes} classes are 0 to {classes - 1}, "
                f"and {UNLABELLED} is unlabelled"
            )
    columns = classes + 1  # the last one takes what the prediction left unlabelled
    joint = true.astype(np.int64) * columns + np.minimum(guessed, classes)
    return np.bincount(joint, minlength=classes * columns).reshape(classes, columns)


def score_rows(report: Mapping[str, Any]) -> list[dict[str, str]]:
    """A report, as :meth:`SegmentationReport.to_dict` gives it, as the rows of a table.

    One row {heading: text} per class, then "macro" and "micro". "pixels" are those of the class in the truth,
    "unlabelled" those of them that the prediction left so: a column only where there are any. A class that is not in
    the truth has dashes, whatever was taken for it. :func:`hdgan.metrics.footnotes` explains both.
    """
    counts = {"pixels": report["support"]}
    if any(report["unlabelled"].values()):
        counts["unlabelled"] = report["unlabelled"]
    rows = [
        _row(
            name, report["per_class"][name] if report["support"][name] else {}, {h: n[name] for h, n in counts.items()}
        )
        for name in report["classes"]
    ]
    totals = {heading: sum(numbers.values()) for heading, numbers in counts.items()}
    return [*rows, *(_row(name, report[name], totals) for name in ("macro", "micro"))]


def _row(name: str, measures: Mapping[str, float | None], counts: Mapping[str, int]) -> dict[str, str]:
    return {
        "class": name,
        **{heading: measure_text(measures.get(measure)) for measure, heading in _HEADINGS.items()},
        **{heading: f"{count:,}" for heading, count in counts.items()},
    }


def measure_text(value: float | None) -> str:
    """Three decimals, or a dash for what is not defined."""
    return "–" if value is None else f"{value:.3f}"


def _measures(correct: int, true: int, predicted: int) -> Measures:
    """Of the pixels that are of a class, that are predicted to be, and that are both."""
    return {
        "recall": _ratio(correct, true),
        "precision": 0.0 if true and not predicted else _ratio(correct, predicted),
        "dice": _ratio(2 * correct, true + predicted),
        "iou": _ratio(correct, true + predicted - correct),
    }


def _ratio(part: float, whole: int) -> float | None:
    return part / whole if whole else None
