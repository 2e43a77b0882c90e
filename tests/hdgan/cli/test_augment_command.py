"""`hdgan augment`, from a file of images to a table."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from command_line import files, refused, run
from PIL import Image

from hdgan.augmenters import Judge, create, load, open_images
from hdgan.augmenters.base import AUGMENTER
from hdgan.augmenters.classifier import ClassifierConfig, fit_classifier
from hdgan.augmenters.dcgan import DCGANTrainer
from hdgan.augmenters.presets import settings_of
from hdgan.augmenters.registry import method
from hdgan.augmenters.registry import names as method_names
from hdgan.augmenters.writing import write_selection
from hdgan.cli.augment import MethodArgument
from hdgan.pictures import write_png
from tiling.errors import InputError
from tiling.stage import read_record

SMALL = "steps=2,batch=8,latent=4,width=4"
METHODS = method_names()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """A file as MedMNIST's."""
    draws, arrays = np.random.default_rng(0), {}
    for part, count in (("train", 40), ("test", 12)):
        arrays[f"{part}_images"] = draws.integers(0, 256, (count, 16, 16), np.uint8)
        arrays[f"{part}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "small.npz", **arrays)
    return tmp_path / "small.npz"


def test_an_augmenter_is_fitted_and_drawn_from(archive: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    fit = ["augment", "fit", "dcgan", "--study", study, "--images", archive, "--classes", "left,right", "--seed", 3]
    said = run(*fit, "--set", SMALL, "--device", "cpu")
    assert "dcgan, fitted on 40 images. Next: hdgan augment sample dcgan --study" in said
    record = read_record(study / "augmenters" / "dcgan")
    assert (record["config"]["width"], record["config"]["seed"], record["status"]) == (4, 3, "complete")
    apart = [word for setting in SMALL.split(",") for word in ("--set", setting)]
    assert "complete: nothing to do" in run(*fit, *apart, "--device", "cpu")

    sample = ["augment", "sample", "dcgan", "--study", study, "--seed", 5]
    run(*sample, "-n", 3)
    out = study / "augmented" / "dcgan"
    before = files(out / "images")
    run(*sample, "-n", 9)
    assert {name: before[name] for name in before} == {name: files(out / "images")[name] for name in before}
    rows = list(csv.DictReader((out / "manifest.csv").open()))
    assert [row["class"] for row in rows] == ["left"] * 9 + ["right"] * 9
    assert rows[10] == {"index": "1", "class": "right", "seed": "5", "file": "images/right/000001.png"}
    drawn = load(study / "augmenters" / "dcgan" / "augmenter.safetensors").sample(9, "right", seed=5)
    with Image.open(out / rows[10]["file"]) as picture:
        np.testing.assert_allclose(np.array(picture, int), drawn[1, ..., 0], atol=1)
    with Image.open(out / "contact-sheet.png") as sheet:
        assert sheet.size == (8 * 76, 2 * 90)
    parts = open_images(out / "images")
    assert sum(len(part) for part in parts.values()) == 18
    assert parts["train"].classes == ("left", "right")

    said = run(*sample, "-n", 3)
    assert "complete: nothing to do" in said
    assert "9 images of each class" in said
    for n in (3, 9):
        assert "made with seed = 5, and now 6 is asked for" in refused(*sample[:-1], 6, "-n", n)
    said = refused(*sample, "-n", 3, "--label", "right")
    assert "was made with classes = ['left', 'right'], and now ['right'] is asked for" in said
    assert said.endswith("add --redo to replace it, or give another folder (--out)\n")
    run(*sample, "-n", 2, "--label", "right", "--out", tmp_path / "right")
    assert [path.name for path in (tmp_path / "right" / "images").iterdir()] == ["right"]
    assert "no class 'up'; there are: left, right" in refused(*sample, "--label", "up", "--out", tmp_path / "up")
    assert not (tmp_path / "up").exists()


def test_samples_are_chosen_by_rules_in_the_order_given(archive: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    images = open_images(archive, classes=("left", "right"))["train"]
    fit_classifier(images, run=tmp_path / "judge", config=ClassifierConfig(steps=1, batch=8, width=4))
    fitted = create("geometric").fit(images, run=study / "augmenters" / "geometric")
    sample = ["augment", "sample", "geometric", "--study", study, "--images", archive, "--seed", 5]
    chosen = [*sample, "--ratio", 50, "--classifier", tmp_path / "judge" / "classifier.safetensors"]
    said = run(*chosen, "--select", "confidence,centroid,distance", "--least", 0.5)
    assert [word in said for word in ("drawn", "label confidence", "nearest centroid", "wanted")] == [True] * 4
    out = study / "augmented" / "geometric-confidence-centroid-distance"
    told = json.loads((out / "selection.json").read_text())
    for of in told.values():
        assert list(of["passed"]) == ["label confidence", "nearest centroid", "centroid distance"]
        sure = of["drawn"] - of["rejected"]["label confidence"]
        near = sure - of["rejected"]["nearest centroid"]
        assert list(of["passed"].values()) == [sure, near, near]
        assert near == of["taken"] + of["spare"]
    rows = list(csv.DictReader((out / "manifest.csv").open()))
    assert Counter(row["class"] for row in rows) == {name: of["taken"] for name, of in told.items()}
    with Image.open(out / rows[-1]["file"]) as picture:
        drawn = fitted.sample(1, rows[-1]["class"], seed=5, first=int(rows[-1]["index"]))
        np.testing.assert_array_equal(np.array(picture), drawn[0, ..., 0])
    assert "complete: nothing to do" in run(*chosen, "--select", "confidence,centroid,distance", "--least", 0.5)

    run(*sample, "--ratio", 25, "--select", "random", "--label", "right")
    assert json.loads(run("info", study, "--json"))["augment sample geometric-random"]["images"] == 5
    rows = list(csv.DictReader((study / "augmented" / "geometric-random" / "manifest.csv").open()))
    assert [row["file"] for row in rows] == [f"images/right/{number:06}.png" for number in range(5)]
    other = refused(*sample, "--ratio", 25, "--select", "random", "--label", "left")
    assert "was made with classes = ['right'], and now ['left'] is asked for" in other
    assert not list((study / "augmented").rglob("classifier*"))
    name = "augment sample geometric-confidence-centroid-distance"
    assert re.search(rf"^ *{name} +complete: images {len(list(out.rglob('images/*/*')))}$", run("info", study), re.M)

    assert "a rule of selection must be one of centroid, distance" in refused(*sample, "--select", "nearest")
    assert "random takes samples as they come" in refused(*sample, "--select", "random,centroid")
    assert "to choose samples by --images, give --select, too" in refused(*sample)
    for option, value in {"condition": "stain", "labels": "t.csv", "ratio": 50, "classifier": "c", "preset": "quick",
                          "least": 0.5}.items():  # fmt: skip
        plain = refused("augment", "sample", "geometric", "--study", study, f"--{option}", value)
        assert f"to choose samples by --{option}, give --select, too" in plain
    assert not (study / "augmented" / "geometric").exists()
    assert "--select takes --images, the real ones, and --ratio instead of -n" in refused(
        *sample, "--select", "random", "-n", 3
    )


def test_a_classifier_to_choose_by_is_trained_once_where_none_is_given(
    archive: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = open_images(archive)["train"]
    create("geometric").fit(images, run=tmp_path / "run")
    out, tiny = tmp_path / "chosen", ClassifierConfig(steps=1, width=4)

    def choose(to: Path, *rules: str, ratio: float = 0.5, **settings):
        return write_selection(tmp_path / "run" / AUGMENTER, to, images, rules=rules, ratio=ratio, **settings)

    found = choose(out, "centroid", judge=Judge(config=tiny, folder=tmp_path))
    told = capsys.readouterr().err
    assert "a classifier is trained first on 40 real images, 1 steps of 40 by --preset. It stays in " in told
    (judge,) = tmp_path.glob("classifier-*")
    before = files(judge)
    choose(tmp_path / "near", "distance", judge=Judge(config=tiny, folder=tmp_path), seed=7)
    assert "trained first" not in capsys.readouterr().err
    assert files(judge) == before
    assert json.loads(run("info", judge, "--json"))["augment sample"]["status"] == "complete"
    shutil.rmtree(judge)
    assert choose(out, "centroid", judge=Judge(config=tiny, folder=tmp_path)) == found
    assert not judge.exists()
    choose(tmp_path / "others", "distance", judge=Judge(config=replace(tiny, width=8)))
    assert [path.name[:11] for path in (tmp_path / "others").glob("*-*") if path.is_dir()] == ["classifier-"]
    with pytest.raises(InputError, match="least must be a number from 0 to 1, not 2"):
        choose(tmp_path / "no", "distance", least=2)
    with pytest.raises(InputError, match=r"no sample is asked for: 0\.01 times"):
        choose(tmp_path / "no", "distance", ratio=0.01)
    assert found == json.loads((out / "selection.json").read_text())
    assert len(list((out / "images").glob("*/*.png"))) == sum(of["taken"] for of in found.values())
    named = open_images(archive, classes=("a", "b"))["train"]
    with pytest.raises(
        InputError, match="the images are 16 px, grey, of a, b, and the augmenter's samples 16 px, grey"
    ):
        write_selection(tmp_path / "run" / AUGMENTER, tmp_path / "no", named, rules=["centroid"], ratio=0.5)


def test_choosing_takes_the_images_that_fit_took_and_the_licence_of_images_that_a_stage_made(tmp_path: Path) -> None:
    study, draws = tmp_path / "study", np.random.default_rng(0)
    for index in range(8):
        write_png(
            tmp_path / "real" / "train" / "ab"[index % 2] / f"{index}.png", draws.integers(0, 256, (16, 16), np.uint8)
        )
    (tmp_path / "real" / "test" / "a").mkdir(parents=True)
    (tmp_path / "real" / "test" / "a" / "broken.png").write_bytes(b"no image")
    real = ["--study", study, "--images", tmp_path / "real"]
    run("augment", "fit", "geometric", *real)
    sample = ["augment", "sample", "geometric", "--select", "random"]
    run(*sample, *real)
    out = study / "augmented" / "geometric-random"
    assert read_record(out)["inputs"].keys() == {"augmenter"}

    record = json.loads((out / "stage.json").read_text())
    (out / "stage.json").write_text(json.dumps(record | {"licence": ["CC-BY-4.0"]}))
    again = ["--study", tmp_path / "again", "--images", out / "images"]
    run("augment", "fit", "geometric", *again)
    run(*sample, *again)
    for folder in ("augmenters/geometric", "augmented/geometric-random"):
        told = read_record(tmp_path / "again" / folder)
        assert (told["licence"], told["inputs"]["samples"]) == (["CC-BY-4.0"], record["fingerprint"])


def test_settings_and_images_that_are_none_are_refused_in_a_line(archive: Path, tmp_path: Path) -> None:
    fit = ["augment", "fit", "dcgan", "--study", tmp_path / "study", "--images", archive]
    assert "dcgan has no setting 'stpes'; there are: steps, batch" in refused(*fit, "--set", "stpes=3")
    assert "--set: steps must be a whole number, not 'many'" in refused(*fit, "--set", "steps=many")
    assert "steps must be a whole number from 1" in refused(*fit, "--set", "steps=0")
    assert "--set takes settings like steps=2000,width=32, not 'steps'" in refused(*fit, "--set", "steps")
    assert "preset must be one of default, quick, not 'slow'" in refused(*fit, "--preset", "slow")
    flips = refused("augment", "fit", "geometric", "--images", archive, "--set", "flips=maybe")
    assert "--set: flips must be true or false, not 'maybe'" in flips
    assert "no augmenter 'gan'; there are: geometric" in refused("augment", "fit", "gan", "--images", archive)
    assert "no images at" in refused(*fit[:-1], tmp_path / "none.npz", "--set", "steps=2")
    assert get_args(MethodArgument)[1].help == f"{', '.join(METHODS[:-1])} or {METHODS[-1]}."
    unfitted = refused("augment", "sample", "dcgan", "--study", tmp_path / "study")
    assert "make it with `hdgan augment fit dcgan --images IMAGES --study" in unfitted
    assert not (tmp_path / "study").exists()


LABELS, PIXELS = np.arange(40) % 2, np.random.default_rng(0).integers(0, 256, (40, 16, 16), np.uint8)


@pytest.mark.parametrize(
    ("images", "labels", "options", "message"),
    [
        (
            PIXELS,
            LABELS,
            ["--classes", "a"],
            "image 1 has label 1, and so are 20 of 40 out of range: labels of 1 class",
        ),
        (
            PIXELS,
            LABELS - 1,
            [],
            "image 0 has label -1, and so are 20 of 40 out of range: labels of 1 class are 0 to 0",
        ),
        (PIXELS, LABELS * 3_000_000, [], "a label is 3000000: number the classes from 0; 1000 are taken at most"),
        (PIXELS, LABELS * 0, [], "all 40 images are of one class, 0: two are needed at least"),
        (
            PIXELS,
            LABELS * 0,
            ["--classes", "a,b"],
            "none is of b: number classes from 0 and leave none out, or bring images of it",
        ),
        (PIXELS * np.nan, LABELS, [], "images must be uint8, 0 to 255, and these are float64, and some of its values"),
        (PIXELS * np.nan, LABELS, ["--size", "16"], "are not numbers (NaN): convert them"),
        (PIXELS, LABELS * np.nan, [], "must be whole numbers, 0 for the first class, not float64"),
        (PIXELS[:, :8, :8], LABELS, [], "images must be squares of 16 to 1024 px, not 8 x 8 px"),
        (PIXELS[:, :, :12], LABELS, [], "images must be squares of 16 to 1024 px, not 16 x 12 px"),
        (PIXELS, LABELS, ["--size", "32"], "images of 16 x 16 px cannot be averaged down to 32 px"),
        (PIXELS, LABELS, ["--size", "0"], "size must be a whole number from 16 to 1024, not 0"),
        (PIXELS, LABELS[:30], [], "40 images have 30 labels; each image needs one"),
        (PIXELS[:6], LABELS[:6], [], "6 images are fewer than a batch of 8: take a smaller one, such as batch=3"),
    ],
)
def test_bad_images_are_told_in_a_line(images, labels, options: list[str], message: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "bad.npz", train_images=images, train_labels=labels)
    fit = ["augment", "fit", "dcgan", "--study", tmp_path / "study", "--images", tmp_path / "bad.npz"]
    said = refused(*fit, "--set", SMALL, *options)
    assert message in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "study").exists()


def test_settings_stand_in_the_studys_file_and_parts_of_settings_are_of_their_type(
    archive: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.toml").write_text(
        f'[augment.fit]\nimages = "{archive}"\nset = ["rotation=10", "flips=False"]\nclasses = ["a", "b"]\n'
    )
    said = run("augment", "fit", "geometric", "--study", study)
    assert "geometric, fitted on 40 images, all of which its file holds in the clear. Next: " in said
    fitted = load(study / "augmenters" / "geometric" / "augmenter.safetensors")
    assert (fitted.config.rotation, fitted.config.flips, fitted.classes) == (10.0, False, ("a", "b"))


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_is_explained_on_screen_and_in_the_docs(name: str) -> None:
    told = settings_of(name)
    assert [key for each in told for key in each.names] == [field.name for field in fields(method(name).settings)]
    said = run("augment", "settings", name)
    assert set(re.findall(r"\w+", said)) >= {word for each in told for word in re.findall(r"\w+", each.meaning)}
    page = Path(__file__).parents[3] / "docs" / "augmenters.md"
    _, _, section = page.read_text(encoding="utf-8").partition(f"\n### {name}\n")
    rows = [
        "| {} | {} | {} | {} |".format(
            ", ".join(f"`{key}`" for key in each.names),
            ", ".join(map(str, each.defaults)),
            ", ".join(map(str, each.quick)),
            each.meaning,
        )
        for each in told
    ]
    table = ["| setting | default | quick | meaning |", "|---|---|---|---|", *rows]
    assert section.lstrip("\n").startswith("\n".join(table) + "\n"), "\n".join(table)


def test_folders_of_classes_and_tiles_by_their_stain_are_images_too(tmp_path: Path) -> None:
    draws, rows = np.random.default_rng(0), ["slide,stain"]
    for index in range(6):
        pixels = draws.integers(60, 200, (64, 64, 3), np.uint8)
        write_png(tmp_path / "slides" / f"{index}.png", pixels)
        write_png(tmp_path / "classes" / ("HE", "PAS")[index % 2] / f"{index}.png", pixels)
        rows.append(f"{index}.png,{('HE', 'PAS')[index % 2]}")
    (tmp_path / "stains.csv").write_text("\n".join(rows))
    study = tmp_path / "study"
    run("tile", tmp_path / "slides", "--study", study, "--size", 32, "--tissue", 0, "--labels", tmp_path / "stains.csv",
        "--folds", 3)  # fmt: skip
    fit = ["augment", "fit", "geometric", "--study", study, "--images", study / "tiles", "--size", 16]
    assert "say by which one they are classed, such as stain" in refused(*fit)
    assert "fitted on " in run(*fit, "--condition", "stain")
    record = read_record(study / "augmenters" / "geometric")
    assert record["inputs"] == {"tiles": read_record(study / "tiles")["fingerprint"]}
    assert set(record["config"]["classes"]) == {"HE", "PAS"}
    other = tmp_path / "other"
    run("augment", "fit", "geometric", "--study", other, "--images", tmp_path / "classes")
    assert load(other / "augmenters" / "geometric" / "augmenter.safetensors").shape.size == 64


def test_a_benchmark_ends_in_tables_and_a_figure(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    from hdgan.augmenters import benchmark_plan, benchmark_round
    from hdgan.augmenters.classifier import ClassifierConfig

    settings = {"steps": 1, "batch": 8, "latent": 4, "width": 4}
    tiny = benchmark_plan.Plan(seeds=2, classifier=ClassifierConfig(steps=1, batch=8, width=4), passes=1)
    monkeypatch.setattr(benchmark_plan, "PLANS", {"quick": tiny})
    monkeypatch.setattr(benchmark_round, "preset", lambda _, of: {} if of == "geometric" else settings)
    bench = ["augment", "benchmark", "dcgan", "--study", tmp_path / "study", "--images", archive, "--plan", "quick",
             "--ratios", 50, "--seeds", 1, "--no-students", "--device", "cpu"]  # fmt: skip
    said = run(*bench, "--figure")
    assert "geometric + dcgan 50 % selected" in said
    assert "balanced accuracy" in said
    assert "recognised: the share of samples that" in said
    assert "; one seed is no evidence" in said
    assert "nothing to do" not in said
    assert (tmp_path / "study" / "benchmark" / "benchmark.png").stat().st_size > 5000
    report = json.loads((tmp_path / "study" / "benchmark" / "report.json").read_text())
    _, _, printed = run(*bench, "--json", "--quiet").partition("{")
    assert json.loads("{" + printed) == report
    assert json.loads(run("info", tmp_path / "study", "--json"))["augment benchmark"]["status"] == "complete"
    assert "plan must be one of quick" in refused(*bench, "--plan", "none")
    assert "--ratios takes whole numbers with commas like 50,100,200, not '0.5'" in refused(*bench, "--ratios", "0.5")


def test_info_tells_how_far_augmenters_and_their_samples_are(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, images = tmp_path / "study", open_images(archive)["train"]
    dcgan, run_folder = create("dcgan", steps=12, batch=8, latent=4, width=4), study / "augmenters" / "dcgan"
    step = DCGANTrainer.step

    def stopped(self, index: int):
        if index == 11:
            raise KeyboardInterrupt
        return step(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(DCGANTrainer, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            dcgan.fit(images, run=run_folder)
    told = {"method": "dcgan", "status": "stopped", "steps": "11 of 12"}
    assert json.loads(run("info", study, "--json"))["augment fit dcgan"] == told
    assert json.loads(run("info", run_folder, "--json")) == {"augment fit": told}
    said = refused("augment", "sample", "dcgan", "--study", study)
    assert f"hdgan augment fit dcgan --images IMAGES --study {study} --set {SMALL.replace('2', '12', 1)}` again" in said
    run("augment", "fit", "dcgan", "--images", archive, "--study", study, "--set", SMALL.replace("2", "12", 1))
    run("augment", "sample", "dcgan", "--study", study, "-n", 2)
    told = json.loads(run("info", study, "--json"))
    assert told["tile"] == "not yet"
    assert told["augment fit dcgan"] == {"method": "dcgan", "status": "complete", "steps": 12}
    assert told["augment sample dcgan"] == {"status": "complete", "images": 4}


def test_images_are_classified_in_a_table_and_measured_where_their_classes_are_known(
    archive: Path, tmp_path: Path
) -> None:
    images = open_images(archive, classes=("left", "right"))
    tiny = ClassifierConfig(steps=1, batch=8, width=4)
    judge = fit_classifier(images["train"], run=tmp_path / "judge", config=tiny, device="cpu")
    classify = ["augment", "classify", tmp_path / "judge" / "classifier.safetensors"]
    table = tmp_path / "new" / "table.csv"
    said = run(*classify, archive, "--out", table)
    assert [word in said for word in ("test", "12", "balanced accuracy", "of class right")] == [True] * 4
    rows = list(csv.DictReader(table.open()))
    assert [row["part"] for row in rows] == ["train"] * 40 + ["test"] * 12
    chances = judge.predict(images["test"].pixels)
    got = [[float(row[f"p({name})"]) for name in ("left", "right")] for row in rows[40:]]
    np.testing.assert_allclose(got, chances, atol=1e-5)
    assert [row["class"] for row in rows[40:]] == ["left", "right"] * 6
    assert rows[41]["predicted"] == ("left", "right")[chances[1].argmax()]
    assert rows[41]["image"] == "1"

    for index, image in enumerate(images["test"].pixels):
        write_png(tmp_path / "folder" / f"{index:02}.png", image[..., 0])
    assert "have no class, which is a folder" in refused(*classify, tmp_path / "folder", "--out", table)
    unlabelled = [*classify, tmp_path / "folder", "--unlabelled", "--out", table]
    before = table.read_text()
    assert "is there already: name another file, or add --redo" in refused(*unlabelled)
    assert table.read_text() == before
    assert "Measures" not in run(*unlabelled, "--redo")
    rows = list(csv.DictReader(table.open()))
    assert [(row["image"], row["class"]) for row in rows[:2]] == [("00.png", ""), ("01.png", "")]
    np.testing.assert_allclose([float(row["p(left)"]) for row in rows], chances[:, 0], atol=1e-5)
    for option, value in {"condition": "stain", "labels": "table.csv"}.items():
        given = refused(*unlabelled, "--redo", f"--{option}", value)
        assert f"--unlabelled images have no class: leave --{option} out" in given
    (tmp_path / "up" / "up").mkdir(parents=True)
    (tmp_path / "folder" / "00.png").rename(tmp_path / "up" / "up" / "00.png")
    assert "the classifier knows no up; it has: left, right" in refused(
        *classify, tmp_path / "up", "--out", table, "--redo"
    )
