"""Samples as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from small_augmenters import small, two_classes

from hdgan.augmenters import open_images
from hdgan.augmenters.base import AUGMENTER
from hdgan.augmenters.writing import write_samples


def test_every_class_has_a_folder_of_its_own_that_is_not_taken_for_a_part(tmp_path: Path) -> None:
    images = two_classes()
    names = ("class-3", "Train", "a/b", "class-0", "..", "stroma")
    six = replace(images, labels=np.arange(40) % 6, classes=names)
    small("geometric").fit(six, run=tmp_path / "run")
    write_samples(tmp_path / "run" / AUGMENTER, tmp_path / "out", n=8)
    folders = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert folders == ["class-0", "class-1", "class-2", "class-3", "class-4", "stroma"]
    parts = open_images(tmp_path / "out" / "images")
    assert sum(map(len, parts.values())) == 48
