"""Files of arrays that come from anywhere: a line for each way in which one can be bad, and nothing sized by lies."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy

from hdgan.augmenters import open_images
from tiling.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (8, 16, 16), np.uint8)
LABELS = np.arange(8)[:, None] % 2
GOOD = {"train_images": IMAGES, "train_labels": LABELS}


def member(header: dict[str, Any], data: bytes = b"") -> bytes:
    """A .npy that says of itself what it likes."""
    text = io.BytesIO()
    npy.write_array_header_1_0(text, {"descr": "|u1", "fortran_order": False, **header})
    return text.getvalue() + data


def crafted(path: Path, images: bytes, *, compression: int = zipfile.ZIP_STORED) -> Path:
    """A file whose `train_images.npy` is of these bytes."""
    np.savez(path, train_labels=LABELS)
    with zipfile.ZipFile(path, "a", compression) as held:
        held.writestr("train_images.npy", images)
    return path


def damaged(path: Path) -> Path:
    """A file in the middle of whose compressed images some bytes are others."""
    np.savez_compressed(path, **GOOD)
    whole = bytearray(path.read_bytes())
    whole[300:700] = bytes(400)
    path.write_bytes(bytes(whole))
    return path


def single(path: Path) -> Path:
    np.save(path.with_suffix(".npy"), IMAGES)
    return path.with_suffix(".npy")


def bare(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as held:
        held.writestr("train_images", b"text")
        held.writestr("train_labels", b"text")
    return path


def lying_entry(path: Path) -> Path:
    """A terabyte by the header of the array and by the directory of the archive, in some hundred bytes."""
    data = member({"shape": (1 << 26, 128, 128)})
    crafted(path, data)
    whole = path.read_bytes()
    said = (len(data) + (1 << 30)).to_bytes(4, "little")
    at = whole.rindex(b"PK\x01\x02")
    path.write_bytes(whole[: at + 24] + said + whole[at + 28 :])
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (single, r"small.npy cannot be read as an .npz file with train_images and train_labels \(File is not a zip"),
        (damaged, r"small.npz cannot be read as an .npz file .*: bring a whole one"),
        (bare, "has no train_images and train_labels; it has: no array"),
        (lambda path: crafted(path, b"text"), "cannot be read as an .npz file"),
        (lambda path: crafted(path, npy.magic(9, 0)), r"cannot be read as an .npz file|version of .npy"),
        (lambda path: crafted(path, npy.magic(1, 0) + b"\x40\x00" + b"(" * 64), "cannot be read as an .npz file"),
        (lambda path: crafted(path, member({"descr": (), "shape": (8,)})), "cannot be read as an .npz file"),
        (
            lambda path: crafted(path, member({"shape": (1 << 26, 160, 141)})),
            r"says that it is \(67108864, 160, 141\) ",
        ),
        (lambda path: crafted(path, member({"shape": (-8, 16, 16)})), "the file does not hold as much"),
        (lambda path: crafted(path, member({"shape": (8, 16, 16)}, bytes(9))), "the file does not hold as much"),
        (lying_entry, "the file does not hold as much"),
        (lambda path: crafted(path, member({"descr": "|O", "shape": (8,)})), "train_images of .* holds object: images"),
    ],
)
def test_a_file_that_is_no_file_of_images_is_told_in_a_line(
    make: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message) as told:
        open_images(make(tmp_path / "small.npz"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("changed", "size", "message"),
    [
        ({"train_labels": np.full(8, np.nan)}, None, "train_labels of .* must be whole numbers, .*, not float64"),
        ({"train_labels": np.array(["a", "b"] * 4)}, None, "train_labels of .* holds <U1: images are numbers"),
        ({"train_labels": np.arange(8) * 400_000}, None, "a label is 2800000: number the classes from 0; 1000 are"),
        ({"test_labels": np.uint32([4_000_000_000])}, None, "a label is 4000000000"),
        ({"train_labels": LABELS - 1}, None, "image 0 has label -1, and so are 4 of 8 out of range"),
        ({"train_labels": np.tile(LABELS, 3)}, None, "train_labels of .* are 3 of each image"),
        ({"train_images": np.full((8, 16, 16), np.nan)}, 16, r"these are float64, and some of its values .*\(NaN\)"),
        ({"train_images": IMAGES[:, :, :12]}, 16, "squares of 16 to 65536 px, not 16 x 12 px"),
        ({"train_images": IMAGES[..., None].repeat(2, axis=3)}, 16, r"must be \(N, H, W, 1\) or"),
        ({}, 17, "images of 16 x 16 px cannot be averaged down to 17 px"),
        ({}, 0, "size must be a whole number from 16 to 1024, not 0"),
        ({}, -1, "size must be a whole number from 16 to 1024, not -1"),
        ({}, 8, "size must be a whole number from 16 to 1024, not 8"),
    ],
)
def test_arrays_that_are_no_images_or_labels_are_told_in_a_line(
    changed: dict[str, Any], size: int | None, message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "small.npz", **{**GOOD, **changed})
    with pytest.raises(InputError, match=message):
        open_images(tmp_path / "small.npz", size=size)


def test_only_what_is_asked_for_is_read(tmp_path: Path) -> None:
    path = crafted(tmp_path / "small.npz", member({"shape": IMAGES.shape}, IMAGES.tobytes()))
    with zipfile.ZipFile(path, "a") as held:
        held.writestr("test_images.npy", b"no array")
        held.writestr("test_labels.npy", member({"shape": (1,)}, b"\x02"))
        held.writestr("masks.npy", b"no array")
    parts = open_images(path, held_out=False)
    assert {part: images.counts for part, images in parts.items()} == {"train": {"0": 4, "1": 4, "2": 0}}
    np.testing.assert_array_equal(parts["train"].pixels[np.arange(8)], IMAGES[..., None])
    with pytest.raises(InputError, match="cannot be read"):
        open_images(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_averaged_down_also_those_larger_than_augmenters_take(channels: int, tmp_path: Path) -> None:
    few = np.random.default_rng(0).integers(0, 256, (2, 16, 16, channels), np.uint8)
    large = few.repeat(65, axis=1).repeat(65, axis=2)
    np.savez_compressed(tmp_path / "large.npz", train_images=large, train_labels=[0, 1])
    train = open_images(tmp_path / "large.npz", size=16)["train"]
    np.testing.assert_array_equal(train.pixels[np.arange(2)], few)
