"""`hdgan compare` and `hdgan sample --nearest` where the training was on crops of the images in a folder, by class."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import refused, run
from PIL import Image

from hdgan.embedding import random_space
from hdgan.image_folder import ImageFolder
from hdgan.nearest import nearest_training_tiles
from hdgan.pictures import write_png
from hdgan.quality import compare_generator, training_of, training_split
from hdgan.samples import image_path
from hdgan.stylegan2.data import PreparedTiles
from tiling.lock import FolderLock

GENERATOR = Path("generator") / "generator.safetensors"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of two stains in three folds, and a generator of crops of them that one fold was held out from."""
    place = tmp_path_factory.mktemp("crops")
    rng = np.random.default_rng(0)
    rows = ["image,fold"]
    for stain, count in (("HE", 24), ("PAS", 12)):
        for index in range(count):
            pixels = rng.integers(120 if stain == "HE" else 0, 256, (24, 32, 3), np.uint8)
            write_png(place / "patches" / stain / f"{index}.png", pixels)
            rows.append(f"{stain}/{index}.png,{index % 3}")
    (place / "labels.csv").write_text("\n".join(rows))
    run("train", "--study", place / "study", "--images", place / "patches", "--labels", place / "labels.csv",
        "--crop", 20, "--resolution", 16, "--condition", "folder", "--hold-out", 1, "--preset", "tiny",
        "--kimg", "0.008", "--device", "cpu")  # fmt: skip
    return place / "study"


def kept_of(study: Path) -> dict[str, Any]:
    return dict(json.loads((study / "evaluation" / "generator-random-conv-v1-n-30.json").read_text()))


def test_crops_of_images_are_compared_by_class_where_the_training_found_them(study: Path) -> None:
    out = run("compare", "--study", study, "-n", 30, "--device", "cpu")
    assert "images against held-out tiles" in out
    assert " HE " in out
    assert " PAS " in out
    report = kept_of(study)["report"]
    assert (report["real"], report["memorisation"]["training"]) == (12, 24)
    assert [of and (of["real"], of["fake"] > 5) for of in report["per_class"].values()] == [(8, True), None]
    assert kept_of(study)["tiles"]["crop"] == 20
    images = ImageFolder(study.parent / "patches", labels=study.parent / "labels.csv")
    split = training_split(study / GENERATOR, images)
    assert (split.fold, split.crop, len(split.held_out)) == (1, 20, 12)
    assert split.prepared(images, 16) == PreparedTiles(images, 16, crop=20)


def test_images_that_were_moved_are_told_and_known_to_be_those(
    study: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    patches = study.parent / "patches"
    patches.rename(tmp_path / "moved")
    try:
        assert f"no folder of images at {patches}" in refused("compare", "--study", study, "-n", 6)
        said = run("compare", "--study", study, "-n", 6, "--images", tmp_path / "moved", "--device", "cpu")
        assert "other tiles" not in said
    finally:
        (tmp_path / "moved").rename(patches)
    write_png(tmp_path / "others" / "HE" / "0.png", np.zeros((24, 24, 3), np.uint8))
    assert training_split(study / GENERATOR, ImageFolder(tmp_path / "others")).fold is None
    assert "was trained on other tiles than these" in capsys.readouterr().err
    options = (study / "options.json").read_text()
    (study / "options.json").unlink()
    assert "it is not known where that is: say so by --images" in refused("compare", "--study", study)
    (study / "options.json").write_text(options)


def test_the_nearest_crop_of_an_image_is_found_with_its_file(study: Path) -> None:
    run("sample", "--study", study, "-n", 4, "--device", "cpu")
    images = ImageFolder(study.parent / "patches", labels=study.parent / "labels.csv")
    split = training_split(study / GENERATOR, images)
    copied = split.training[7]
    drawn = image_path(study / "latents", 2)
    before = drawn.read_bytes()
    write_png(drawn, split.prepared(images, 16).read(copied)[:, ::-1].copy())
    table = nearest_training_tiles(study / "latents", images, split, space=random_space())
    row = list(csv.DictReader(table.open()))[2]
    assert (row["tile"], row["file"], float(row["distance"]) < 0.01) == (str(copied), images.names[copied], True)
    drawn.write_bytes(before)
    assert "nearest.csv" in run("sample", "--study", study, "-n", 4, "--nearest", "--device", "cpu")
    assert float(list(csv.DictReader(table.open()))[2]["distance"]) > 0.01


def test_features_of_tiles_are_computed_once_and_those_of_the_last_comparison_are_kept(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hdgan.metrics.kept._TOGETHER", 10)
    images, read = ImageFolder(study.parent / "patches", labels=study.parent / "labels.csv"), list[int]()
    original = PreparedTiles.read
    monkeypatch.setattr(PreparedTiles, "read", lambda self, index: read.append(index) or original(self, index))

    def compare(**changed: Any) -> Any:
        read.clear()
        return compare_generator(
            study / GENERATOR,
            images,
            tmp_path / "report.json",
            space=random_space(),
            n=8,
            kept=tmp_path / "kept",
            **changed,
        )

    plain = compare_generator(study / GENERATOR, images, tmp_path / "plain.json", space=random_space(), n=8)
    assert compare() == plain
    assert len(read) == 37  # one is looked at for its size
    files = sorted((tmp_path / "kept").glob("*.npy"))
    assert len(files) == 2 + 3
    files[0].unlink()  # as a comparison that was killed leaves them
    assert compare() == plain
    assert len(read) < 12
    assert compare() == plain
    assert len(read) == 1
    assert compare(seed=1) != plain  # other crops
    assert len(read) == 37
    assert len(list((tmp_path / "kept").iterdir())) == 5
    lock = FolderLock(tmp_path / "kept")  # as another process that compares
    assert compare() == plain
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 5
    lock.release()
    assert compare(seed=1) != plain
    assert len(read) == 1


def test_a_walk_is_written_into_the_latents_folder_and_the_sheet_names_classes(study: Path) -> None:
    assert "ends in .webp, .png, .gif, not walk.avi" in refused("sample", "--study", study, "--walk", "walk.avi")
    out = run("sample", "--study", study, "-n", 4, "--walk", "walk.webp", "--walk-frames", 2, "--device", "cpu")
    assert "walk.webp: 8 frames of a walk" in out
    with Image.open(study / "latents" / "walk.webp") as film:
        assert film.n_frames == 8
    with Image.open(study / "latents" / "contact-sheet.png") as sheet:
        assert sheet.size == (4 * 140, 154)
    assert training_of(study / GENERATOR)["condition"] == "folder"
