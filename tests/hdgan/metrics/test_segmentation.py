import json
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

from hdgan.labels import KIDNEY, UNLABELLED
from hdgan.metrics import score_rows, segmentation_report
from hdgan.metrics.segmentation import report_of_pairs
from tiling.errors import InputError

TRUTH = np.array([[0, 0, 0, 1], [1, 1, 2, UNLABELLED]], np.uint8)
PREDICTED = np.array([[0, 0, 1, 1], [1, 0, 1, 3]], np.uint8)


def test_every_measure_of_a_small_example_is_the_one_worked_out_by_hand():
    report = segmentation_report(TRUTH, PREDICTED, ["a", "b", "c", "d"])
    assert report.confusion.tolist() == [[2, 1, 0, 0, 0], [1, 2, 0, 0, 0], [0, 1, 0, 0, 0], [0] * 5]
    assert report.per_class["a"] == pytest.approx({"recall": 2 / 3, "precision": 2 / 3, "dice": 2 / 3, "iou": 1 / 2})
    assert report.per_class["b"] == pytest.approx({"recall": 2 / 3, "precision": 1 / 2, "dice": 4 / 7, "iou": 2 / 5})
    assert report.per_class["c"] == {"recall": 0.0, "precision": 0.0, "dice": 0.0, "iou": 0.0}
    assert report.per_class["d"] == {"recall": None, "precision": None, "dice": None, "iou": None}
    assert report.macro["recall"] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert report.macro["precision"] == pytest.approx((2 / 3 + 1 / 2 + 0) / 3)
    assert report.accuracy == report.micro["dice"] == pytest.approx(4 / 7)
    assert report.micro["iou"] == pytest.approx(4 / 10)


def test_a_class_that_is_predicted_but_not_there_has_no_recall_and_does_not_enter_the_mean():
    report = segmentation_report(np.zeros((2, 2), np.uint8), np.array([[0, 0], [0, 1]], np.uint8), ["a", "b"])
    assert report.per_class["b"] == {"recall": None, "precision": 0.0, "dice": 0.0, "iou": 0.0}
    assert report.macro["recall"] == 0.75


def test_micro_dice_equals_the_dice_of_flattened_one_hot_maps():
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, 5, (2, 64, 64), dtype=np.uint8)
    a, b = np.eye(5)[truth].ravel(), np.eye(5)[predicted].ravel()
    dice = 2 * (a * b).sum() / (a.sum() + b.sum())
    assert segmentation_report(truth, predicted, KIDNEY).micro["dice"] == pytest.approx(dice)


def test_stacks_streams_and_pairs_give_the_same_report():
    rng = np.random.default_rng(1)
    truth, predicted = rng.integers(0, 5, (2, 3, 16, 16), dtype=np.uint8)
    expected = segmentation_report(truth, predicted, KIDNEY).to_dict()
    assert segmentation_report(iter(truth), (p for p in predicted), KIDNEY).to_dict() == expected
    assert report_of_pairs(zip(truth, predicted, strict=True), KIDNEY.names).to_dict() == expected


def test_maps_of_many_rows_are_counted_in_bounded_memory_to_the_same_numbers():
    rng = np.random.default_rng(2)
    truth, predicted = rng.choice(np.array([0, 1, 2, 255], np.uint8), (2, 3001, 1000))
    tracemalloc.start()
    report = segmentation_report(truth, predicted, ["a", "b", "c"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * truth.size
    for i in range(3):
        counted = [np.count_nonzero((truth == i) & (predicted == j)) for j in (0, 1, 2, 255)]
        assert report.confusion[i].tolist() == counted
    assert report.ignored == np.count_nonzero(truth == 255)
    stacks = segmentation_report(truth.reshape(-1, 3001, 8), predicted.reshape(-1, 3001, 8), ["a", "b", "c"])
    assert stacks.to_dict() == report.to_dict()
    truth[-1, -1] = 3
    with pytest.raises(InputError, match="truth holds labels 0 to 3; 3 classes"):
        segmentation_report(truth, predicted, ["a", "b", "c"])


def test_a_report_is_json_and_a_table():
    report = segmentation_report(TRUTH, PREDICTED, ["a", "b", "c", "d"])
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["per_class"]["d"]["iou"] is None
    rows = score_rows(report.to_dict())
    assert [row["class"] for row in rows] == ["a", "b", "c", "d", "macro", "micro"]
    assert rows[0]["recall"] == "0.667"
    assert rows[3]["Dice"] == "–"


def test_leaving_pixels_out_is_a_miss_and_does_not_raise_the_score():
    truth = np.array([[0, 0, 0, 0, 1, 1, 255, 255]], np.uint8)
    complete = segmentation_report(truth, np.array([[0, 0, 0, 1, 1, 0, 0, 255]], np.uint8), ["a", "b"])
    hesitant = segmentation_report(truth, np.array([[0, 0, 0, 255, 1, 255, 0, 255]], np.uint8), ["a", "b"])
    assert hesitant.confusion.tolist() == [[3, 0, 1], [0, 1, 1]]
    assert hesitant.unlabelled == {"a": 1, "b": 1}
    assert hesitant.support == complete.support == {"a": 4, "b": 2}
    assert hesitant.per_class["a"] == pytest.approx({"recall": 3 / 4, "precision": 1, "dice": 6 / 7, "iou": 3 / 4})
    assert hesitant.accuracy == complete.accuracy == pytest.approx(4 / 6)
    assert hesitant.micro == pytest.approx({"recall": 4 / 6, "precision": 1, "dice": 8 / 10, "iou": 4 / 6})
    assert [row["unlabelled"] for row in score_rows(hesitant.to_dict())] == ["1", "1", "2", "2"]
    nothing = segmentation_report(truth, np.full_like(truth, 255), ["a", "b"])
    assert nothing.micro == {"recall": 0.0, "precision": 0.0, "dice": 0.0, "iou": 0.0}
    assert nothing.macro == {"recall": 0.0, "precision": 0.0, "dice": 0.0, "iou": 0.0}


def test_nothing_labelled_gives_no_measure():
    nothing = np.full((4, 4), UNLABELLED, np.uint8)
    report = segmentation_report(nothing, np.zeros((4, 4), np.uint8), ["a", "b"])
    assert report.macro["dice"] is None
    assert report.accuracy is None


def test_labels_beyond_the_classes_and_other_shapes_are_refused():
    with pytest.raises(InputError, match="truth holds labels 0 to 2; 2 classes"):
        segmentation_report(TRUTH, PREDICTED, ["a", "b"])
    with pytest.raises(InputError, match="differ in shape"):
        segmentation_report(TRUTH, PREDICTED[:1], ["a", "b", "c", "d"])


def test_measuring_needs_no_torch():
    code = "import sys, hdgan.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
