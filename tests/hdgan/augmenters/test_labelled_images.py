"""Labelled images: what they refuse, and where they come from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hdgan.augmenters import LabelledImages, open_images
from hdgan.augmenters.batches import Batches
from hdgan.pictures import write_png
from tiling.errors import InputError

GREY = np.random.default_rng(0).integers(0, 256, (6, 28, 28, 1), np.uint8)
LABELS = np.array([0, 1, 0, 1, 1, 0])


@pytest.mark.parametrize(
    ("pixels", "labels", "classes", "message"),
    [
        (GREY, LABELS + 1, "ab", "image 1 has label 2, and so are 3 of 6 out of range: labels of 2 classes are 0 to 1"),
        (GREY, LABELS[:5], "ab", "6 images have 5 labels"),
        (GREY, LABELS / 2, "ab", r"labels must be \(N,\) whole numbers, not \(6,\) float64"),
        (np.full((6, 28, 28, 1), np.nan), LABELS, "ab", r"uint8, 0 to 255, and these are float64, and some of its"),
        (GREY / 255, LABELS, "ab", "these are float64: convert them"),
        (GREY[..., 0], LABELS, "ab", r"must be \(N, H, W, 1\) or \(N, H, W, 3\), not \(6, 28, 28\)"),
        (GREY[:, :20], LABELS, "ab", "squares of 16 to 1024 px, not 20 x 28 px"),
        (GREY[:, :8, :8], LABELS, "ab", "squares of 16 to 1024 px, not 8 x 8 px"),
        (GREY[:0], LABELS[:0], "ab", "there is no image"),
        (GREY, LABELS, "aa", "classes must be names, each once, not a, a"),
        ([1], LABELS, "ab", r"images must be an array \(N, H, W, C\) uint8, not list"),
    ],
)
def test_what_is_no_labelled_image_is_refused(pixels, labels, classes: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelledImages(pixels, labels, tuple(classes))


def test_names_of_classes_may_be_a_list() -> None:
    assert LabelledImages(GREY, LABELS, ["a", "b"]).classes == ("a", "b")


def test_tiles_and_files_have_their_labels_in_themselves(tmp_path: Path) -> None:
    (tmp_path / "tiles").mkdir()
    for place in (tmp_path / "tiles" / "stage.json", tmp_path / "images.npz"):
        place.touch()
    with pytest.raises(InputError, match=r"tiles are tiles, which have their labels: leave the table of labels out"):
        open_images(tmp_path / "tiles", column="stain", table=tmp_path / "labels.csv")
    with pytest.raises(InputError, match=r"has its labels in itself: leave the column and the table of labels out"):
        open_images(tmp_path / "images.npz", table=tmp_path / "labels.csv")


def test_one_class_is_not_enough_to_learn_from() -> None:
    with pytest.raises(InputError, match="none is of c: number classes from 0 and leave none out"):
        LabelledImages(GREY, LABELS, tuple("abc")).require_classes()
    with pytest.raises(InputError, match="all 6 images are of one class, a"):
        LabelledImages(GREY, 0 * LABELS, ("a",)).require_classes()


def test_a_medmnist_file_has_its_three_parts(data: Path) -> None:
    parts = open_images(data / "classification" / "pneumoniamnist.npz", classes=("normal", "pneumonia"))
    assert {part: images.counts for part, images in parts.items()} == {
        "train": {"normal": 388, "pneumonia": 3494},
        "val": {"normal": 135, "pneumonia": 389},
        "test": {"normal": 234, "pneumonia": 390},
    }
    assert parts["val"].shape == (28, 28, 1)
    with pytest.raises(InputError, match="cannot be averaged down to 32 px"):
        open_images(data / "classification" / "pneumoniamnist.npz", size=32)


def test_folders_of_classes_are_read_as_they_are_asked_for(tmp_path: Path) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (20, 32, 32, 3), np.uint8)
    for index, image in enumerate(rgb):
        write_png(tmp_path / "images" / ("tumour" if index % 2 else "stroma") / f"{index:02}.png", image)
    parts = open_images(tmp_path / "images", size=16)
    assert sum(map(len, parts.values())) == 20
    train = parts["train"]
    assert (train.classes, train.shape) == (("stroma", "tumour"), (16, 16, 3))
    first = train.pixels[np.array([0])][0]
    blocks = rgb.reshape(20, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert (np.abs(blocks - first.astype(float)).max(axis=(1, 2, 3)) <= 0.5).sum() == 1


def test_folders_are_parted_by_fold_with_a_word_or_not_at_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(12):
        write_png(tmp_path / "images" / "ab"[index % 2] / f"{index:02}.png", np.full((16, 16, 3), index, np.uint8))
    parts = open_images(tmp_path / "images")
    said = ", ".join(
        f"{len(parts[part])} to {word}"
        for part, word in (("train", "train on"), ("val", "validate"), ("test", "test"))
        if part in parts
    )
    assert f"{said}, by fold" in capsys.readouterr().err
    whole = open_images(tmp_path / "images", by_fold=False)
    assert {part: len(images) for part, images in whole.items()} == {"all": 12}
    assert np.asarray(whole["all"].pixels).shape == (12, 16, 16, 3)
    assert repr(whole["all"]) == "LabelledImages(12 x 16 x 16 x 3: 6 a, 6 b)"
    write_png(tmp_path / "images" / "a" / "large.png", np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(InputError, match=r"has images of 16 to 32 px: say to which edge .*, such as --size 16"):
        open_images(tmp_path / "images")
    assert open_images(tmp_path / "images", size=16)["train"].shape == (16, 16, 3)


def test_classes_of_as_many_images_are_shuffled_each_in_its_own_order() -> None:
    labels = np.arange(16) % 2
    pixels = np.arange(16, dtype=np.uint8).repeat(16 * 16).reshape(16, 16, 16, 1)
    batches = Batches(LabelledImages(pixels, labels, tuple("ab")), batch=16, seed=3, balanced=True)
    shown = batches.read(0, range(16))[0][:, 0, 0, 0]
    assert sorted(shown) == [*range(16)]
    assert (shown[::2] // 2).tolist() != (shown[1::2] // 2).tolist()


def test_balanced_batches_show_each_class_as_often_and_each_of_its_images() -> None:
    labels = np.array([0] * 5 + [1] * 2 + [2] * 9)
    pixels = np.arange(16, dtype=np.uint8).repeat(16 * 16).reshape(16, 16, 16, 1)
    batches = Batches(LabelledImages(pixels, labels, tuple("abc")), batch=6, seed=3, balanced=True)
    read = [batches.read(step, range(6)) for step in range(9)]
    assert all(np.bincount(found).tolist() == [2, 2, 2] for _, found in read)
    shown = np.concatenate([images[:, 0, 0, 0] for images, _ in read])
    assert sorted(shown[labels[shown] == 2]) == sorted([*range(7, 16)] * 2)
    assert set(shown[labels[shown] == 1]) == {5, 6}
    rows, found = batches.read(4, [1, 5])
    np.testing.assert_array_equal(rows, read[4][0][[1, 5]])
    np.testing.assert_array_equal(found, read[4][1][[1, 5]])


def test_a_column_of_patients_keeps_all_images_of_one_in_one_part(tmp_path: Path) -> None:
    rows = ["image,patient"]
    for index in range(48):
        patient = index // 4
        image = np.full((16, 16, 3), patient, np.uint8)
        write_png(tmp_path / "images" / ("tumour" if patient % 2 else "stroma") / f"{index:02}.png", image)
        rows.append(f"{index:02}.png,{patient}")
    (tmp_path / "patients.csv").write_text("\n".join(rows))

    def parts_of_patients(**settings: Path) -> list[int]:
        """In how many parts each patient is."""
        parts = open_images(tmp_path / "images", **settings).values()
        found = [set(part.pixels[np.arange(len(part))][:, 0, 0, 0].tolist()) for part in parts]
        return [sum(patient in part for part in found) for patient in range(12)]

    assert parts_of_patients(table=tmp_path / "patients.csv") == [1] * 12
    assert max(parts_of_patients()) > 1
