"""`hdgan evaluate`, and what `hdgan fit` says where there will be nothing to evaluate."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import hdgan, refused, run
from PIL import Image

from hdgan.labels import ClassList, LabelClass

LONG = "a class whose name is longer than a terminal of eighty columns would show beside its scores"


def test_the_scores_come_with_the_sizes_of_the_split_and_a_verdict(demo_study: Path) -> None:
    said = hdgan("evaluate", "--study", demo_study).stdout
    assert "4 for training, 2 for validation, 2 for the test, with 2,048 labelled pixels" in said
    scores = json.loads(hdgan("evaluate", "--study", demo_study, "--json").stdout)
    assert scores["split"] == {"train": 4, "validation": 2, "test": 2}
    for report in scores["reports"].values():
        assert f"{report['macro']['dice']:.3f}" in said.splitlines()[-1]


def test_the_confusion_matrix_is_drawn_beside_what_it_is_of(demo_study: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(demo_study, study)
    assert f"{study / 'classifiers' / 'confusion.png'}: what pixels" in run("evaluate", "--study", study, "--figure")
    assert Image.open(study / "classifiers" / "confusion.png").format == "PNG"
    masks = study / "annotations" / "masks"
    json.loads(
        run("evaluate", "--study", study, "--truth", masks, "--predicted", masks, "--figure", "--json", "--quiet")
    )
    assert Image.open(study / "annotations" / "masks-confusion.png").format == "PNG"
    assert {path.name for path in masks.iterdir()} == {
        path.name for path in (demo_study / masks.relative_to(study)).iterdir()
    }


def test_classes_that_are_not_there_have_dashes_and_a_footnote(tmp_path: Path) -> None:
    for name, labels in (("truth", [[0, 0, 255]]), ("predicted", [[0, 1, 1]])):
        (tmp_path / name).mkdir()
        Image.fromarray(np.array(labels, np.uint8)).save(tmp_path / name / "a.png")
    call = ("evaluate", "--truth", tmp_path / "truth", "--predicted", tmp_path / "predicted", "--study", tmp_path / "s")
    said = hdgan(*call).stdout
    (row,) = (line for line in said.splitlines() if "cortical tubulointerstitium │" in line)
    assert row.count("–") == 4
    assert "in no mean: cortical tubulointerstitium, glomerulus, arteriole, artery." in said
    assert "left free by the expert: 1;" in said


def test_names_of_classes_are_never_cut(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    Image.fromarray(np.zeros((2, 2), np.uint8)).save(tmp_path / "masks" / "a.png")
    ClassList((LabelClass(LONG, (9, 9, 9)),)).save(tmp_path / "classes.json")
    call = ("evaluate", "--truth", tmp_path / "masks", "--predicted", tmp_path / "masks", "--study", tmp_path / "s")
    (row,) = (line for line in hdgan(*call, "--classes", tmp_path / "classes.json").stdout.splitlines() if LONG in line)
    assert row.count("1.000") == 4


@pytest.mark.parametrize(
    ("annotated", "said"),
    [
        pytest.param(
            1,
            "1 for training, none for validation (no early stopping: the last epoch is kept), none for test (no",
            marks=pytest.mark.slow,
        ),
        (2, "2 for training, none for validation (no early stopping: the last epoch is kept), none for test (no"),
    ],
)
def test_a_fit_on_few_images_works_and_says_what_it_goes_without(
    demo_study: Path, tmp_path: Path, annotated: int, said: str
) -> None:
    study = tmp_path / "study"
    shutil.copytree(demo_study, study)
    (study / "study.toml").unlink()
    for mask in sorted((study / "annotations" / "masks").iterdir())[annotated:]:
        mask.unlink()
    ended = hdgan("fit", "--study", study, "--members", 2, "--redo")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"{annotated} annotated image")
    assert said in line
    if annotated == 1:
        assert "fitted without test images" in hdgan("evaluate", "--study", study, code=2).stderr


def test_a_fit_with_all_parts_says_nothing_of_them(demo_study: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(demo_study, study)
    assert "annotated image" not in hdgan("fit", "--study", study).stderr


def test_the_protocol_of_a_study_is_a_table_of_its_splits(demo_study: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    shutil.copytree(demo_study, study)
    options = ("protocol", "--study", study, "--members", 1, "--device", "cpu")
    said = refused(*options, "--split", "16/4/16")
    assert "cannot be split 16/4/16; the parts must add up to at most 8, as 4/1/3 do" in said
    assert "--training takes numbers" in refused(*options, "--split", "4/2/2", "--training", "many")
    said = run(*options, "--training", "none", "--splits", 1)
    assert "8 annotated images, too few for the paper's 16/4/16: split 4/1/3 (see --split)" in said
    assert "4 training images, 1 split: mean" in said
    said = run(*options, "--split", "4/2/2", "--training", "2", "--splits", 2, "--figure", "--redo")
    for shown in ("4 training images, 2 splits", "glomerulus", "macro", "±", "label efficiency", "100%"):
        assert shown in said
    report = json.loads(run(*options, "--split", "4/2/2", "--training", "2", "--splits", 2, "--json", "--quiet"))
    assert list(report["training"]) == ["4", "2"]
    for name in ("label-efficiency.png", "confusion.png"):
        assert Image.open(study / "protocol" / name).format == "PNG"
    assert "nothing to do" in run("protocol", "--study", study)  # options are the study's
    fewer = run(*options, "--training", "")  # which is complete
    assert "not fitted with 8 training images: the split has 4" in fewer
    assert "nothing to do" in fewer
    (study / "study.toml").write_text('[protocol]\nsplit = "4/2/2"\ntraining = [4, 2]\nsplits = 2\n')
    assert "nothing to do" in run(*options)
    assert "cannot be split 9/2/2" in refused(*options, "--split", "9/2/2")
