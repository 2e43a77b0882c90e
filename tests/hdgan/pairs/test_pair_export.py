"""Pairs that leave the study: a selection of them, in another format or for QuPath."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label
from small_study import make_latents

from hdgan.annotations import read_mask
from hdgan.labels import ClassList, LabelClass
from hdgan.pairs import PairSet, export, export_pairs, synthesize
from hdgan.pairs.formats import FORMATS
from tiling.errors import InputError
from tiling.files import fingerprint

CLASSES = ClassList((LabelClass("a", (10, 20, 30)), LabelClass("b", (40, 50, 60)), LabelClass("c", (70, 80, 90))))


@pytest.fixture(scope="module")
def made(small_generator, random_ensemble, tmp_path_factory) -> PairSet:
    out = tmp_path_factory.mktemp("study") / "pairs"
    return synthesize(small_generator, random_ensemble, make_latents(small_generator, 5), out, classes=CLASSES)


def content(folder: Path) -> dict[str, str]:
    return {path.name: fingerprint(path) for path in folder.iterdir() if path.name != "stage.json"}


def test_masks_go_to_qupath_and_back_to_the_pixel(made: PairSet, tmp_path: Path) -> None:
    selected = made.select(drop_uncertain=0.4)
    export_pairs(selected, tmp_path / "out")
    assert len(list((tmp_path / "out" / "masks").iterdir())) == len(selected) == 3
    for pair in selected:
        file = tmp_path / "out" / "masks" / f"{pair.index:06d}.geojson"
        mask = pair.mask()
        np.testing.assert_array_equal(read_mask(file, shape=mask.shape, classes=CLASSES), mask)
        told = [each["properties"]["classification"] for each in json.loads(file.read_text())["features"]]
        for k, each in enumerate(CLASSES):
            regions = told.count({"name": each.name, "color": list(each.colour)})
            assert regions == label(mask == k, connectivity=1).max()
        with Image.open(tmp_path / "out" / "images" / f"{pair.index:06d}.png") as picture:
            np.testing.assert_array_equal(np.array(picture), pair.image())


@pytest.mark.parametrize("format", FORMATS)
def test_a_selection_in_another_format_is_a_set_of_pairs(made: PairSet, format: str, tmp_path: Path) -> None:
    selected = made.select(drop_uncertain=0.4)
    export_pairs(selected, tmp_path / "out", format=format)
    there = PairSet.open(tmp_path / "out")
    assert there.table().equals(selected.table())
    assert there.classes == CLASSES
    for pair, same in zip(selected, there, strict=True):
        assert (pair.index, pair.seed, pair.score) == (same.index, same.seed, same.score)
        for ours, theirs in ((pair.image, same.image), (pair.mask, same.mask), (pair.uncertainty, same.uncertainty)):
            np.testing.assert_array_equal(ours(), theirs())


@pytest.mark.parametrize("format", ["geojson", "png", "zarr"])
def test_an_export_that_was_stopped_goes_on(
    made: PairSet, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_pairs(made, tmp_path / "undisturbed", format=format)
    pairs = PairSet.open(made.path)
    read, calls = type(pairs[0].source).image, []

    def stopping(source: object, i: int) -> object:
        calls.append(i)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return read(source, i)

    monkeypatch.setattr(type(pairs[0].source), "image", stopping)
    with pytest.raises(KeyboardInterrupt):
        export_pairs(pairs, tmp_path / "out", format=format)
    with pytest.raises(InputError, match="only half made"):
        PairSet.open(tmp_path / "out")
    with (tmp_path / "out" / export._EXPORTED).open("a") as file:
        file.write("4")  # a line that a killed process left unfinished
    export_pairs(pairs, tmp_path / "out", format=format)
    assert calls == [0, 1, 2, 3, 3, 4]
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


def test_exports_that_cannot_be_are_refused(made: PairSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format must be one of geojson, zarr, ome-tiff, png, not 'jpeg'"):
        export_pairs(made, tmp_path / "out", format="jpeg")
    with pytest.raises(InputError, match="no pairs to export"):
        export_pairs(made.subset([]), tmp_path / "out")
    export_pairs(made, tmp_path / "out")
    with pytest.raises(InputError, match="made from other pairs of the set; add --redo"):
        export_pairs(made.select(drop_uncertain=0.4), tmp_path / "out")
    with pytest.raises(InputError, match="format must be one of"):
        PairSet.open(tmp_path / "out")
    with pytest.raises(InputError, match="was made by `synthesize`"):
        export_pairs(made, made.path)
