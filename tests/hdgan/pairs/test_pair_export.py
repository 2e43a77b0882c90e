"""Pairs that leave the study: a selection of them, in another format or for QuPath."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import zarr
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
    export_pairs(selected, tmp_path / "out", format="geojson")
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


def test_a_store_of_a_selection_has_no_holes_and_tells_which_pairs_it_holds(made: PairSet, tmp_path: Path) -> None:
    chosen = made.subset([4, 1])
    export_pairs(chosen, tmp_path / "out", format="zarr")
    group = zarr.open_group(tmp_path / "out" / "pairs.zarr", mode="r")
    assert (group["index"][:].tolist(), group["seed"][:].tolist()) == ([4, 1], [14, 11])
    np.testing.assert_array_equal(group["mask"][:], np.stack([pair.mask() for pair in chosen]))
    np.testing.assert_array_equal(group["image"][:], np.stack([pair.image() for pair in chosen]))
    export_pairs(PairSet.open(tmp_path / "out").subset([0]), tmp_path / "again", format="png")
    np.testing.assert_array_equal(PairSet.open(tmp_path / "again")[0].mask(), made[4].mask())


def same_pairs(folder: Path, expected: PairSet) -> None:
    there = PairSet.open(folder)
    assert there.table().equals(expected.table())
    for pair, same in zip(expected, there, strict=True):
        np.testing.assert_array_equal(pair.image(), same.image())
        np.testing.assert_array_equal(pair.mask(), same.mask())
        np.testing.assert_array_equal(pair.uncertainty(), same.uncertainty())


@pytest.mark.parametrize("format", FORMATS)
def test_an_export_grows_with_its_set_and_drops_what_is_no_longer_selected(
    small_generator, random_ensemble, format: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    latents = make_latents(small_generator, 6)
    pairs = synthesize(small_generator, random_ensemble, latents.subset([0, 1, 2, 3]), tmp_path / "pairs")
    export_pairs(pairs.subset([0, 2, 3]), tmp_path / "out", format=format)
    grown = synthesize(small_generator, random_ensemble, latents, tmp_path / "pairs")
    written = []
    write = FORMATS[format].write
    monkeypatch.setattr(FORMATS[format], "write", lambda *given: (written.append(given[1]), write(*given)))
    for chosen, places in (([0, 1, 3, 4, 5], 3), ([4, 5], 2 if format == "zarr" else 0), ([4, 5], 0)):
        export_pairs(grown.subset(chosen), tmp_path / "out", format=format)
        same_pairs(tmp_path / "out", grown.subset(chosen))
        assert len(written) == places
        written.clear()
    said = capsys.readouterr().err
    assert f"1 pair of {tmp_path / 'out'} is no longer selected, and removed" in said
    assert "3 pairs of" in said
    if format != "zarr":
        assert sorted(path.name[:6] for path in (tmp_path / "out" / "masks").iterdir()) == ["000004", "000005"]
    other = make_latents(small_generator, 8).subset([6, 7])
    synthesize(small_generator, random_ensemble, other, tmp_path / "pairs", redo=True)
    with pytest.raises(InputError, match="made from another set of pairs; add --redo"):
        export_pairs(PairSet.open(tmp_path / "pairs"), tmp_path / "out", format=format)


@pytest.mark.parametrize("format", ["geojson", "png", "zarr"])
def test_an_export_that_was_stopped_goes_on(
    made: PairSet, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_pairs(made, tmp_path / "undisturbed", format=format)
    copy, calls = export._Copy.__call__, []

    def stopping(task: export._Copy) -> None:
        calls.append(task.pair.index)
        if len(calls) == 4:
            raise KeyboardInterrupt
        copy(task)

    monkeypatch.setattr(export._Copy, "__call__", stopping)
    with pytest.raises(KeyboardInterrupt):
        export_pairs(made, tmp_path / "out", format=format)
    with pytest.raises(InputError, match=rf"run `hdgan export --format {format} --out .*out --study STUDY`"):
        PairSet.open(tmp_path / "out")
    with (tmp_path / "out" / export._EXPORTED).open("a") as file:
        file.write('{"index": 4, "late')  # a line that a killed process left unfinished
    export_pairs(made, tmp_path / "out", format=format)
    assert calls == [0, 1, 2, 3, 3, 4]
    assert content(tmp_path / "out") == content(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("format", ["geojson", "zarr", "ome-tiff"])
def test_workers_export_the_same(made: PairSet, format: str, tmp_path: Path) -> None:
    export_pairs(made, tmp_path / "here", format=format)
    there = Path(os.path.relpath(tmp_path / "there"))  # workers are in a folder of their own
    export_pairs(made, there, format=format, workers=2)
    assert content(there) == content(tmp_path / "here")


@pytest.mark.slow
def test_a_pair_that_a_worker_cannot_export_is_named_and_ends_it(made: PairSet, tmp_path: Path) -> None:
    in_the_way = tmp_path / "out" / "images" / "000003.png"
    export_pairs(made.subset([0]), tmp_path / "out", format="png")
    in_the_way.mkdir()
    with pytest.raises(InputError, match="pair 3 could not be exported: IsADirectoryError"):
        export_pairs(made, tmp_path / "out", format="png", workers=1, retries=0)
    in_the_way.rmdir()
    export_pairs(made, tmp_path / "out", format="png")
    same_pairs(tmp_path / "out", made)


def test_specks_are_left_out_if_asked_for(made: PairSet, tmp_path: Path) -> None:
    export_pairs(made.subset([0]), tmp_path / "out", format="geojson", least_region=1025)
    assert json.loads((tmp_path / "out" / "masks" / "000000.geojson").read_text())["features"] == []
    with pytest.raises(InputError, match="made with least region = 1025, and now no least region is asked for"):
        export_pairs(made.subset([0]), tmp_path / "out", format="geojson")
    with pytest.raises(InputError, match="least_region 5 is about regions of geojson"):
        export_pairs(made, tmp_path / "png", format="png", least_region=5)


def test_a_set_of_pairs_is_shown_sliced_and_indexed_as_a_sequence_is(made: PairSet) -> None:
    assert repr(made) == f"PairSet({str(made.path)!r}, 5 image-mask pairs of 3 classes)"
    assert repr(made[1]) == f"Pair(index=1, seed=11, score={made[1].score})"
    assert [pair.index for pair in made[1:4][::-2]] == [3, 1]
    assert len(made[7:]) == 0
    assert made[-1].index == 4
    for places in ([0, 99], [-1]):
        with pytest.raises(InputError, match=f"no pair at place {places[-1]}: the set has 5 pairs, from 0"):
            made.subset(places)


def test_exports_that_cannot_be_are_refused(made: PairSet, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="format must be one of zarr, ome-tiff, png, geojson, not 'jpeg'"):
        export_pairs(made, tmp_path / "out", format="jpeg")
    with pytest.raises(InputError, match="no pairs to export"):
        export_pairs(made.subset([]), tmp_path / "out", format="png")
    export_pairs(made, tmp_path / "out", format="geojson")
    with pytest.raises(InputError, match="made with format = 'geojson', and now 'png' is asked for"):
        export_pairs(made, tmp_path / "out", format="png")
    with pytest.raises(InputError, match=rf"out was exported for QuPath .*: open {made.path.resolve()}, or"):
        PairSet.open(tmp_path / "out")
    for out in (made.path, made.path / "sub", made.path.parent):
        with pytest.raises(InputError, match="lie in each other; export to another folder"):
            export_pairs(made, out, format="png")


def test_a_folder_without_pairs_is_told_with_the_command_that_makes_them(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=f"nowhere does not exist yet: make it with `hdgan synthesize --out {tmp_path}"
    ):
        PairSet.open(tmp_path / "nowhere")
    (tmp_path / "classifiers").mkdir()
    with pytest.raises(InputError, match=f"make it with `hdgan synthesize --study {tmp_path}`"):
        PairSet.open(tmp_path / "pairs")
    with pytest.raises(InputError, match=f"`hdgan synthesize --out {tmp_path / 'more'} --study {tmp_path}`"):
        PairSet.open(tmp_path / "more")
