"""`hdgan train` on folders of images and on crops of tiles, with a condition; and what `hdgan sample` makes of it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import refused, run

from hdgan.latents import Latents
from hdgan.pictures import write_png
from hdgan.stylegan2 import load_generator
from tiling.lock import FolderLock
from training.metrics import read_metrics

QUICK = ("--preset", "tiny", "--kimg", "0.008", "--device", "cpu")


def config_of(study: Path) -> dict[str, Any]:
    return dict(json.loads((study / "generator" / "config.json").read_text()))


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for stain, count in (("HE", 9), ("PAS", 3)):
        for index in range(count):
            pixels = rng.integers(0, 256, (24, 32, 3), np.uint8)
            write_png(tmp_path / "patches" / stain / f"{index}.png", pixels)
    return tmp_path / "patches"


def test_a_study_can_be_trained_on_a_folder_of_images(patches: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    said = run("train", "--study", study, "--images", patches, "--crop", 20, "--resolution", 16, *QUICK,
               "--condition", "folder")  # fmt: skip
    assert "training on 12 tiles of the classes HE (9), PAS (3), crops of 20 px, 16 px" in said
    config = config_of(study)
    assert (config["condition"], config["classes"]) == ("folder", {"HE": 9, "PAS": 3})
    assert (config["crop"], config["resolution"], config["c_dim"]) == (20, 16, 2)
    generator = load_generator(study / "generator" / "generator.safetensors")
    assert (generator.config.c_dim, generator.classes) == (2, {"HE": 9, "PAS": 3})
    assert "nothing to do" in run("train", "--study", study)  # all of it is remembered
    run("sample", "--study", study, "-n", 30, "--device", "cpu")
    drawn = Latents.load(study / "latents" / "latents.npz").c.argmax(axis=1)
    assert 0 < drawn.sum() < 15
    assert "no class 'IF'; there are: HE, PAS" in refused("sample", "--study", study, "--redo", "--class", "IF")
    run("sample", "--study", study, "-n", 4, "--class", "PAS", "--redo", "--device", "cpu")
    assert Latents.load(study / "latents" / "latents.npz").c.tolist() == [[0, 1]] * 4
    run("sample", "--study", study, "-n", 6, "--device", "cpu")
    assert Latents.load(study / "latents" / "latents.npz").c.tolist() == [[0, 1]] * 6
    assert (study / "latents" / "images" / "image_0005.png").exists()
    write_png(patches / "HE" / "more.png", np.zeros((24, 32, 3), np.uint8))
    assert "was made from other" in refused("train", "--study", study)


def test_a_fold_of_a_folder_is_held_out_and_labels_come_from_a_table(patches: Path, tmp_path: Path) -> None:
    study, table = tmp_path / "study", tmp_path / "labels.csv"
    rows = [f"{path.parent.name}/{path.name},{'a' if index % 2 else 'b'},{index % 3}" for index, path in
            enumerate(sorted(patches.rglob("*.png")))]  # fmt: skip
    table.write_text("\n".join(["image,lesion,fold", *rows]))
    run("train", "--study", study, "--images", patches, "--labels", table, "--condition", "lesion, folder",
        "--hold-out", 1, "--crop", 16, *QUICK)  # fmt: skip
    assert config_of(study)["classes"] == {"a+HE": 2, "a+PAS": 2, "b+HE": 4}
    assert "fold 5 cannot be held out: the tiles are in folds 0, 1, 2" in refused(
        "train", "--study", study, "--hold-out", 5
    )
    table.write_text("\n".join(["image,lesion,fold", *rows]).replace(",a,", ",,"))
    assert "not known of every tile: lesion (4 tiles of 8), HE/3.png the first; complete the labels" in refused(
        "train", "--study", study, "--redo"
    )
    assert config_of(study)["classes"]["a+PAS"] == 2


def test_a_study_is_trained_on_crops_of_its_tiles(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_png(tmp_path / "slide.png", np.random.default_rng(0).integers(90, 200, (128, 96, 3), np.uint8))
    run("tile", tmp_path / "slide.png", "--study", study, "--size", 32, "--tissue", 0)
    assert "--resolution must be a power of two of at least 8, such as 8, not 12" in refused(
        "train", "--study", study, "--resolution", 12
    )
    assert "crop must be at least the resolution, 16 px, not 12" in refused(
        "train", "--study", study, "--crop", 12, "--resolution", 16
    )
    assert "tiles of 12 px cannot be trained on as they are" in refused("train", "--study", study, "--crop", 12)
    run("train", "--study", study, "--crop", 24, "--resolution", 8, *QUICK)
    assert (config_of(study)["crop"], config_of(study)["resolution"]) == (24, 8)
    assert "have no label 'stain'" in refused("train", "--study", study, "--redo", "--condition", "stain")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--images", "absent"), "no folder of images at"),
        (("--images", "patches"), "tiles of 24 px cannot be trained on as they are, only those of a power of two: "
                                  "average them down with --resolution 16"),
        (("--images", "patches", "--resolution", "16"), "cannot train on 12 of 12 images: not square (HE/0.png, "
            "HE/1.png, HE/2.png, and 9 more; 32 x 24 px): cut squares out with --crop 24"),
        (("--images", "patches", "--crop", "16", "--condition", "stain"), "no label 'stain'; there are: folder"),
        (("--labels", "labels.csv"), "--labels are those of --images"),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_refused_before_anything_is_made(
    patches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in refused("train", "--study", "study", *arguments)
    assert not (tmp_path / "study").exists()


def test_glomeruli_are_trained_on_as_they_were_photographed(data: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for path in sorted((data / "glomeruli").glob("*.jpg"))[::9]:
        shutil.copy(path, tmp_path / "images")
    run("train", "--study", tmp_path / "study", "--images", tmp_path / "images", "--crop", 512, "--resolution", 32,
        "--preset", "tiny", "--kimg", "0.004", "--device", "cpu")  # fmt: skip
    assert load_generator(tmp_path / "study" / "generator" / "generator.safetensors").resolution == 32


def test_a_training_is_measured_resumed_and_grown(patches: Path, tmp_path: Path) -> None:
    study, table = tmp_path / "study", tmp_path / "folds.csv"
    names = [f"{path.parent.name}/{path.name}" for path in sorted(patches.rglob("*.png"))]
    table.write_text("\n".join(["image,fold", *(f"{name},{index % 3}" for index, name in enumerate(names))]))
    first = ("train", "--study", study, "--images", patches, "--labels", table, "--crop", 16, "--resolution", 8, *QUICK)
    assert "has no training to go on with" in refused(*first, "--resume")
    assert "give --hold-out, too" in refused(*first, "--evaluate-kimg", 0.004)
    run(*first, "--hold-out", 1, "--evaluate-kimg", 0.004, "--evaluate-images", 4, "--tensorboard")
    measured = [line for line in read_metrics(study / "generator") if "fd random-conv-v1" in line]
    assert [line["step"] for line in measured] == [1, 2]
    assert load_generator(study / "generator" / "generator-best.safetensors").resolution == 8
    assert list((study / "generator" / "tensorboard").glob("events*"))
    assert "nothing to do" in run("train", "--study", study, "--resume", "--device", "cpu")
    grown = ("train", "--study", tmp_path / "grown", "--images", patches, "--crop", 16, "--resolution", 16, *QUICK)
    assert "not both" in refused(*grown, "--grow-from", study / "generator", "--from", study / "generator")
    assert "so they grow to 16 px, not to 8" in refused(
        "train", "--study", tmp_path / "same", "--images", patches, "--crop", 16, "--resolution", 8, *QUICK,
        "--grow-from", study / "generator",
    )  # fmt: skip
    run(*grown, "--grow-from", study / "generator")
    assert load_generator(tmp_path / "grown" / "generator" / "generator.safetensors").resolution == 16


def test_a_trained_generator_outlives_a_request_for_a_log_that_cannot_be_written(
    patches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    first = ("train", "--study", study, "--images", patches, "--crop", 16, "--resolution", 8, "--preset", "tiny")
    run(*first, "--kimg", 0.004, "--device", "cpu")
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    for more in (("--kimg", 0.008), ("--redo",)):
        assert "TensorBoard is not installed" in refused(*first, *more, "--tensorboard", "--device", "cpu")
    run("sample", "--study", study, "-n", 2, "--device", "cpu")
    monkeypatch.undo()
    run(*first, "--kimg", 0.008, "--tensorboard", "--device", "cpu")
    assert "tensorboard" not in run("info", study)


def test_a_training_goes_on_with_another_number_of_processes(patches: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    first = ("train", "--study", study, "--images", patches, "--crop", 16, "--resolution", 8, "--preset", "tiny")
    # as four processes would have begun, each with two images
    run(*first, "--kimg", 0.008, "--batch", 8, "--mbstd-group", 2, "--device", "cpu")
    (study / "options.json").unlink()
    said = run(*first, "--kimg", 0.016, "--device", "cpu")
    assert "going on from step 1 of 2" in said
    config = config_of(study)
    assert (config["batch"], config["mbstd_group"], config["gamma"]) == (8, 2, 0.0002 * 8**2 / 8)


def test_a_training_that_was_stopped_can_end_where_it_is(patches: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    first = ("train", "--study", study, "--images", patches, "--crop", 16, "--resolution", 8, *QUICK)
    run(*first)
    (study / "generator" / "generator.safetensors").unlink()
    record = json.loads((study / "generator" / "stage.json").read_text())
    longer = record["config"] | {"kimg": 9.0}
    (study / "generator" / "stage.json").write_text(json.dumps(record | {"status": "running", "config": longer}))
    with (study / "generator" / "metrics.jsonl").open("a") as log:  # what came after the checkpoint, and is done again
        log.write(json.dumps({"step": 5, "kimg": 0.02}) + "\n")
    states = study / "generator" / "checkpoints"
    (states / "step-00000002-mine.safetensors").write_bytes((states / "step-00000002.safetensors").read_bytes())
    assert "again to finish it, or with --kimg 0.008 to end it where it is" in refused("sample", "--study", study)
    told = json.loads(run("info", study, "--json"))["train"]
    assert (told["status"], told["kimg"]) == ("stopped", "0.008 of 9")
    lock = FolderLock(study / "generator")
    told = json.loads(run("info", study, "--json"))["train"]
    lock.release()
    assert (told["status"], told["kimg"]) == ("running", "0.02 of 9")
    run("train", "--study", study, "--kimg", 0.008, "--device", "cpu")
    run("sample", "--study", study, "-n", 2, "--device", "cpu")
