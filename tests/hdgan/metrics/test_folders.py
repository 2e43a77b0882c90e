from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hdgan.labels import KIDNEY, ClassList, LabelClass
from hdgan.metrics import compare_folders, segmentation_report
from tiling.errors import InputError

CLASSES = ClassList((LabelClass("plain", (9, 9, 9)), LabelClass("striped", (99, 9, 9))))
FIRST, SECOND = np.array([[0, 1, 1]], np.uint8), np.array([[1, 255], [0, 0]], np.uint8)
GUESSES = (np.array([[0, 0, 1]], np.uint8), np.array([[1, 1], [255, 0]], np.uint8))


def write(folder: Path, **masks: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    for name, mask in masks.items():
        Image.fromarray(mask).save(folder / f"{name}.png")
    return folder


def test_folders_give_the_report_of_their_masks_and_more_predictions_than_truths_do_not_matter(tmp_path):
    truth = write(tmp_path / "truth", a=FIRST, b=SECOND)
    predicted = write(tmp_path / "predicted", a=GUESSES[0], b=GUESSES[1], c=FIRST)
    (truth / "notes.txt").write_text("not a mask")
    report = compare_folders(truth, predicted, CLASSES)
    assert report.to_dict() == segmentation_report([FIRST, SECOND], GUESSES, CLASSES).to_dict()
    assert report.classes == ("plain", "striped")


def test_folders_that_cannot_be_compared_are_refused(tmp_path):
    truth = write(tmp_path / "truth", a=FIRST, b=SECOND)
    empty = write(tmp_path / "empty")
    for pair in ((truth, tmp_path / "nowhere"), (tmp_path / "nowhere", truth)):
        with pytest.raises(InputError, match=r"no such folder: .*nowhere"):
            compare_folders(*pair, CLASSES)
    with pytest.raises(InputError, match="empty holds no PNG masks"):
        compare_folders(empty, truth, CLASSES)
    with pytest.raises(InputError, match=r"empty lacks a\.png, which .*truth holds \(2 missing in all\)"):
        compare_folders(truth, empty, CLASSES)
    other = write(tmp_path / "other", a=FIRST, b=FIRST)
    with pytest.raises(InputError, match=r"other/b\.png"):
        compare_folders(truth, other, CLASSES)
    write(tmp_path / "other", b=SECOND + np.uint8(5))
    with pytest.raises(InputError, match=r"other/b\.png"):
        compare_folders(truth, other, KIDNEY)
