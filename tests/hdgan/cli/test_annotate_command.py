"""`hdgan annotate import` as users call it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import hdgan
from PIL import Image


@pytest.fixture
def study(demo_study: Path, tmp_path: Path) -> Path:
    """A study of 16 samples, 8 of them picked and annotated."""
    return Path(shutil.copytree(demo_study, tmp_path / "study"))


def picked(study: Path) -> list[int]:
    return list(json.loads((study / "annotations" / "pick" / "picked.json").read_text())["indices"])


def lose_masks(study: Path, indices: list[int]) -> None:
    for index in indices:
        (study / "annotations" / "masks" / f"label_{index:04d}.png").unlink()


def told_by_import(study: Path, index: int) -> str:
    """What the import of one mask tells of the masks."""
    mask = study.parent / f"image_{index:04d}.png"
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(mask)
    said = hdgan("annotate", "import", mask, "--study", study).stdout
    before, after = f"{study / 'annotations'}: ", ". Next: "
    told, _, then = said.partition(after)
    assert told.startswith(before)
    assert then == f"hdgan features --study {study}, then hdgan fit --redo --study {study}\n"
    return told.removeprefix(before)


def test_an_import_tells_how_many_of_the_picked_images_have_masks_by_now(study: Path) -> None:
    first, *others = picked(study)
    unpicked = next(index for index in range(16) if index not in {first, *others})
    lose_masks(study, [first, *others])
    assert told_by_import(study, first) == "1 mask imported; 1 of the 8 picked images has a mask"
    assert told_by_import(study, others[0]) == "1 mask imported; 2 of the 8 picked images have masks"
    again = told_by_import(study, first)
    assert again == "1 mask imported; 2 of the 8 picked images have masks"
    assert told_by_import(study, unpicked) == f"{again} (and 1 of the others)"


def test_where_no_choice_of_these_samples_is_an_import_tells_how_many_images_have_masks(study: Path) -> None:
    first, *others = picked(study)
    lose_masks(study, others)
    shutil.rmtree(study / "annotations" / "pick")
    replaced = f"1 replaced: label_{first:04d}.png"
    assert told_by_import(study, first) == f"1 mask imported ({replaced}); 1 image has a mask"
    assert told_by_import(study, first) == "1 mask imported; 1 image has a mask"
    assert told_by_import(study, others[0]) == "1 mask imported; 2 images have masks"
