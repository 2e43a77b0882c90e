"""Fits on several splits, and what they tell together."""

import json
import shutil

import numpy as np
import pytest

from hdgan.explore import confusion_figure, efficiency_figure
from hdgan.metrics import segmentation_report
from hdgan.pixels import Preset, efficiency_rows, protocol_rows, run_protocol, split_images
from hdgan.pixels.protocol import over_splits
from hdgan.pixels.split import nested_subsets
from tiling.errors import InputError

QUICK = Preset(batch=128, epoch_pixels=512, epochs=2)
SETTINGS = {
    "counts": (3, 1, 2),
    "training": (1,),
    "splits": 2,
    "members": 2,
    "preset": QUICK,
    "classes": ["a", "b", "c"],
}


@pytest.fixture(scope="module")
def made(small_store, label_maps, tmp_path_factory):
    out = tmp_path_factory.mktemp("protocol") / "p"
    return out, run_protocol(small_store, label_maps, out, **SETTINGS)


def test_every_split_is_fitted_and_tested_on_images_of_its_own(made, small_store, label_maps):
    out, report = made
    assert list(report["training"]) == ["3", "1"]
    tests = []
    for k in range(2):
        configs = [json.loads((out / f"split-{k}" / f"train-{n}" / "config.json").read_text()) for n in (3, 1)]
        whole, smaller = (config["split"] for config in configs)
        assert (len(whole["train"]), len(smaller["train"])) == (3, 1)
        assert set(smaller["train"]) < set(whole["train"])
        assert (smaller["validation"], smaller["test"]) == (whole["validation"], whole["test"])
        assert not set(whole["test"]) & {*whole["train"], *whole["validation"]}
        assert [config["seed"] for config in configs] == [k, k]
        tests.append(whole["test"])
    assert tests[0] != tests[1]
    of = dict(zip(small_store.latents, label_maps.values(), strict=True))
    tested = sum(int((of[name] != 255).sum()) for test in tests for name in test)
    assert sum(map(sum, report["training"]["3"]["confusion"])) == tested


def test_of_fewer_images_every_split_has_its_own_and_the_fewer_are_among_the_more():
    trains = [split_images(range(36), counts=(16, 4, 16), seed=seed)["train"] for seed in range(5)]
    subsets = [nested_subsets(train, (16, 8, 4, 2), seed=seed) for seed, train in enumerate(trains)]
    for train, found in zip(trains, subsets, strict=True):
        assert found[16] == train
        assert [len(found[size]) for size in (8, 4, 2)] == [8, 4, 2]
        assert set(found[2]) < set(found[4]) < set(found[8]) < set(train)
    for size in (8, 4, 2):
        assert len({tuple(found[size]) for found in subsets}) == 5
    assert len({i for found in subsets for i in found[2]}) > 5  # not the lowest numbers everywhere


def test_means_and_deviations_are_over_the_splits(made):
    of_splits = made[1]["training"]["3"]["of_splits"]
    dice = [report["macro"]["dice"] for report in of_splits]
    assert made[1]["training"]["3"]["mean"]["macro"]["dice"] == pytest.approx(np.mean(dice))
    assert made[1]["training"]["3"]["deviation"]["macro"]["dice"] == pytest.approx(abs(dice[0] - dice[1]) / 2**0.5)
    recall = [report["per_class"]["b"]["recall"] for report in of_splits]
    assert made[1]["training"]["3"]["mean"]["per_class"]["b"]["recall"] == pytest.approx(np.mean(recall))


def test_a_class_that_no_test_image_has_has_no_mean():
    truth, predicted = np.array([[0, 1]], np.uint8), np.array([[0, 0]], np.uint8)
    found = over_splits([segmentation_report(truth, predicted, ["a", "b", "c"]).to_dict()])
    assert found["mean"]["per_class"]["c"]["recall"] is None
    assert found["mean"]["per_class"]["b"]["recall"] == 0
    assert found["deviation"]["per_class"]["a"]["recall"] is None  # of a single split


def test_a_class_counts_only_in_splits_whose_truth_has_it():
    there = segmentation_report(np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8), ["a", "b"])
    taken_for = segmentation_report(np.array([[0, 0, 0, 0]], np.uint8), np.array([[0, 0, 0, 1]], np.uint8), ["a", "b"])
    reports = [there.to_dict(), there.to_dict(), taken_for.to_dict()]
    found = over_splits(reports)
    assert found["mean"]["per_class"]["b"] == pytest.approx(
        {"recall": 1 / 2, "precision": 1, "dice": 2 / 3, "iou": 0.5}
    )
    assert found["deviation"]["per_class"]["b"] == {"recall": 0, "precision": 0, "dice": 0, "iou": 0}
    assert found["splits"] == {"per_class": {"a": 3, "b": 2}, "macro": 3, "micro": 3}
    macro = [
        there.macro,
        there.macro,
        taken_for.macro,
    ]  # of b, too, where it is in the truth: as `hdgan evaluate` has it
    for measure in ("recall", "precision", "dice", "iou"):
        assert found["mean"]["macro"][measure] == pytest.approx(np.mean([of[measure] for of in macro]))
    rows = protocol_rows({"splits": 3, "classes": ["a", "b"], "training": {"4": found}}, 4)
    assert [row["splits"] for row in rows] == ["3 of 3", "2 of 3", "3 of 3", "3 of 3"]
    assert rows[1]["precision"] == "1.000 ± 0.000"
    everywhere = {"splits": 2, "classes": ["a", "b"], "training": {"4": over_splits(reports[:2])}}
    assert list(protocol_rows(everywhere, 4)[0]) == ["class", "recall", "precision", "Dice", "IoU"]


def test_a_protocol_that_is_complete_is_not_made_again_and_one_that_was_stopped_keeps_its_fits(
    made, small_store, label_maps, tmp_path
):
    out, report = made
    written = (out / "report.json").stat().st_mtime_ns
    assert run_protocol(small_store, label_maps, out, **SETTINGS) == report
    assert (out / "report.json").stat().st_mtime_ns == written
    stopped = tmp_path / "p"
    shutil.copytree(out, stopped)
    shutil.rmtree(stopped / "split-1")
    (stopped / "report.json").unlink()
    record = json.loads((stopped / "stage.json").read_text())
    (stopped / "stage.json").write_text(json.dumps(record | {"status": "running"}))
    fitted = (stopped / "split-0" / "train-3" / "ensemble.safetensors").stat().st_mtime_ns
    assert run_protocol(small_store, label_maps, stopped, **SETTINGS) == report
    assert (stopped / "split-0" / "train-3" / "ensemble.safetensors").stat().st_mtime_ns == fitted
    with pytest.raises(InputError, match="members = 2, and now 3 is asked for"):
        run_protocol(small_store, label_maps, out, **SETTINGS | {"members": 3})
    record["config"]["subsets"][0]["1"] = []
    (stopped / "stage.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match="made from other training images of the same splits; add --redo"):
        run_protocol(small_store, label_maps, stopped, **SETTINGS)


def test_tables_and_the_figures_show_every_number(made):
    rows = protocol_rows(made[1], 3)
    assert [row["class"] for row in rows] == ["a", "b", "c", "macro", "micro"]
    mean = made[1]["training"]["3"]["mean"]["macro"]["dice"]
    assert rows[3]["Dice"].startswith(f"{mean:.3f} ± ")
    most = efficiency_rows(made[1])[0]
    assert (most["training images"], most["share of Dice"]) == ("3", "100%")
    (axes,) = efficiency_figure(made[1]).axes
    assert axes.get_legend_handles_labels()[1] == ["macro Dice", "macro recall"]
    summed = made[1]["training"]["3"]["confusion"]
    texts = [text.get_text() for text in confusion_figure(made[1]["training"]["3"]).axes[0].texts]
    assert texts == [f"{count:,}" for row in summed for count in row[:-1]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"splits": 0}, "splits must be at least 1, not 0"),
        ({"counts": (3, 1, 0)}, "tests on images that no fit saw: keep some, not 3/1/0"),
        ({"counts": (9, 1, 2)}, "cannot be split 9/1/2"),
        ({"training": (4,)}, "must be 1 to 3, as the split has, not 4"),
    ],
)
def test_what_no_protocol_can_be_made_of_is_refused(small_store, label_maps, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        run_protocol(small_store, label_maps, tmp_path / "p", **SETTINGS | settings)
    assert not (tmp_path / "p").exists()
