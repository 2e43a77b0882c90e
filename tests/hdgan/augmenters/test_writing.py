"""Samples as files."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import files
from small_augmenters import small, two_classes

from hdgan.augmenters import Augmenter, ClassifierConfig, Judge, fit_classifier, open_images, writing
from hdgan.augmenters.base import AUGMENTER
from hdgan.augmenters.classifier import CLASSIFIER
from hdgan.augmenters.writing import write_samples, write_selection
from tiling.errors import InputError
from tiling.stage import read_record

TINY = ClassifierConfig(steps=1, batch=8, width=4)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An augmenter's file."""
    run = tmp_path_factory.mktemp("run")
    small("geometric").fit(two_classes(), run=run)
    return run / AUGMENTER


def stopped_at(call: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is stopped when it is called so often."""
    calls = iter(range(1, call + 1))

    def stops(*args: Any, **settings: Any) -> Any:
        if next(calls) == call:
            raise KeyboardInterrupt
        return function(*args, **settings)

    return stops


def made(folder: Path) -> dict[str, str]:
    """Hashes of all files but the record, which tells times."""
    return {name: digest for name, (_, digest) in files(folder).items() if Path(name).name != "stage.json"}


def numbers(out: Path) -> list[int]:
    """Of the samples of "left": in the table, which has all that there are."""
    rows = [row for row in csv.DictReader((out / "manifest.csv").open()) if row["class"] == "left"]
    assert sorted(row["file"] for row in rows) == sorted(f"images/left/{x.name}" for x in out.glob("images/left/*"))
    return [int(row["index"]) for row in rows]


def test_every_class_has_a_folder_of_its_own_that_is_not_taken_for_a_part(tmp_path: Path) -> None:
    images = two_classes()
    names = ("class-3", "Train", "a/b", "class-0", "..", "stroma", "Normal", "normal")
    eight = replace(images, labels=np.arange(40) % 8, classes=names)
    small("geometric").fit(eight, run=tmp_path / "run")
    write_samples(tmp_path / "run" / AUGMENTER, tmp_path / "out", n=8)
    folders = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    by_number = ["class-0", "class-1", "class-2", "class-3", "class-4", "class-6", "class-7"]
    assert folders == [*by_number, "stroma"]  # on any disk, "Normal" and "normal" being one on some
    parts = open_images(tmp_path / "out" / "images")
    assert sum(map(len, parts.values())) == 64


@pytest.mark.parametrize(("stopped", "call"), [("sample", 2), ("write_png", 2), ("write_png", 4)])
def test_drawing_that_was_stopped_goes_on_to_the_files_of_one_that_was_not(
    stopped: str, call: int, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_samples(fitted, tmp_path / "undisturbed", n=3)
    place = {"sample": Augmenter, "write_png": writing}[stopped]
    with monkeypatch.context() as patched:
        patched.setattr(place, stopped, stopped_at(call, getattr(place, stopped)))
        with pytest.raises(KeyboardInterrupt):
            write_samples(fitted, tmp_path / "out", n=3)
    assert read_record(tmp_path / "out")["status"] == "running"
    before = files(tmp_path / "out" / "images")
    assert len(before) == (3 if stopped == "sample" else call - 1)
    write_samples(fitted, tmp_path / "out", n=3)
    after = files(tmp_path / "out" / "images")
    assert {name: after[name] for name in before} == before
    assert made(tmp_path / "out") == made(tmp_path / "undisturbed")


@pytest.mark.parametrize("redo", [False, True])
@pytest.mark.parametrize(("asked", "has"), [(2, 6), (3, 6), (4, 4), (9, 9)])
def test_a_folder_that_is_half_made_loses_no_sample_to_a_call_for_fewer(
    asked: int, has: int, redo: bool, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if redo:
        write_samples(fitted, out, n=8, seed=1)
    with monkeypatch.context() as patched:
        patched.setattr(writing, "write_png", stopped_at(5, writing.write_png))
        with pytest.raises(KeyboardInterrupt):
            write_samples(fitted, out, n=6, redo=redo)
    write_samples(fitted, out, n=asked, redo=redo)
    assert numbers(out) == list(range(has))
    write_samples(fitted, out, n=1, redo=True)
    assert numbers(out) == [0]


def test_a_folder_that_was_torn_by_a_redo_loses_no_sample_to_a_call_for_fewer(fitted: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_samples(fitted, out, n=5)
    (out / ".replaced-moving").mkdir()
    (out / "stage.json").rename(out / ".replaced-moving" / "stage.json")  # killed as it began to set aside
    write_samples(fitted, out, n=2)
    assert numbers(out) == list(range(5))


@pytest.mark.parametrize(("stopped", "call"), [("sample", 2), ("write_png", 4)])
def test_choosing_that_was_stopped_goes_on_to_the_files_of_one_that_was_not(
    stopped: str, call: int, fitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def choose(out: Path) -> dict[str, Any]:
        judge = Judge(config=TINY, folder=tmp_path / "judges")
        return write_selection(fitted, out, two_classes(), rules=["centroid", "distance"], ratio=0.3, judge=judge)

    place = {"sample": Augmenter, "write_png": writing}[stopped]
    with monkeypatch.context() as patched:
        patched.setattr(place, stopped, stopped_at(call, getattr(place, stopped)))
        with pytest.raises(KeyboardInterrupt):
            choose(tmp_path / "out")
    assert read_record(tmp_path / "out")["status"] == "running"
    judges = files(tmp_path / "judges")
    found = choose(tmp_path / "out")
    assert found == choose(tmp_path / "undisturbed")
    assert all(of["taken"] for of in found.values())
    assert made(tmp_path / "out") == made(tmp_path / "undisturbed")
    assert files(tmp_path / "judges") == judges


def test_what_cannot_be_chosen_is_refused_before_anything_is_made(fitted: Path, tmp_path: Path) -> None:
    images = two_classes()
    of_one = replace(images, labels=np.zeros(40, np.int64))
    plain = replace(TINY, network="student")
    fit_classifier(images, run=tmp_path / "plain", config=plain)
    fit_classifier(images, run=tmp_path / "dropping", config=TINY)
    fit_classifier(replace(images, classes=("a", "b")), run=tmp_path / "other", config=TINY)
    student, dropping, other = (Judge(tmp_path / name / CLASSIFIER) for name in ("plain", "dropping", "other"))

    def refused(message: str, judge: Judge, *rules: str, real=images) -> None:
        out = tmp_path / "new" / "out"
        with pytest.raises(InputError, match=message):
            write_selection(fitted, out, real, rules=rules, ratio=1, judge=replace(judge, folder=out.parent))
        assert not out.parent.exists()

    for judge, rule in ((Judge(), "confidence"), (Judge(), "centroid"), (dropping, "distance")):
        refused("none is of right", judge, rule, real=of_one)
    advice = "choose by centroid or distance, or take a classifier with dropout"
    for judge in (student, Judge(config=plain), Judge(config=replace(TINY, dropout=0))):
        refused(advice, judge, "centroid", "confidence")
    refused("the classifier takes images 16 px, grey, of a, b, and the real ones are 16 px, grey, of left", other,
            "centroid")  # fmt: skip
    refused("width must be a whole number from 1 to 4096", Judge(config=replace(TINY, width=5000)), "centroid")

    chosen = write_selection(fitted, tmp_path / "near", images, rules=["centroid"], ratio=0.2, judge=student)
    assert list(chosen["left"]["passed"]) == ["nearest centroid"]
    for rule in ("random", "confidence"):  # neither takes images of every class
        some = write_selection(fitted, tmp_path / rule, of_one, rules=[rule], ratio=0.2, judge=dropping, least=0)
        assert {name: of["taken"] for name, of in some.items()} == {"left": 8}
        assert json.loads((tmp_path / rule / "selection.json").read_text()) == some
    assert list(read_record(tmp_path / "random")["inputs"]) == ["augmenter"]
    assert list(read_record(tmp_path / "confidence")["inputs"]) == ["augmenter", "classifier"]
