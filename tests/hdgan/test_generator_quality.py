"""A generator's images against the tiles, by the library, by `hdgan compare` and by `hdgan sample --nearest`."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from command_line import hdgan_here
from PIL import Image
from small_study import make_small_generator

from hdgan.embedding import random_space
from hdgan.nearest import nearest_training_tiles
from hdgan.pictures import write_png
from hdgan.quality import compare_generator, training_split
from hdgan.samples import image_path
from hdgan.sampling import sample
from hdgan.study import Study
from hdgan.stylegan2 import load_generator, save_generator, train, train_config
from hdgan.stylegan2.execution import Execution
from tiling import TileSet, tile_archive
from tiling.errors import InputError
from tiling.files import fingerprint

HELD_OUT = 1
CPU = Execution(device="cpu")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Tiles of six patients in three folds, and a generator trained for a step on two of these."""
    root = tmp_path_factory.mktemp("quality") / "study"
    draws = np.random.default_rng(0)
    for patient in range(6):
        pixels = draws.integers(60, 200, (128, 128, 3)).astype(np.uint8)
        write_png(root.parent / "slides" / f"patient{patient}.png", pixels)
    place = Study(root)
    tiles = tile_archive(
        root.parent / "slides", place.tiles, size=32, mpp_of=0.5, tissue=0, folds=3, pictures=False, inspect=False
    )
    assert sorted(set(tiles.table()["fold"].to_pylist())) == [0, 1, 2]
    train_on(tiles, place.generator, [i for i, tile in enumerate(tiles) if tile.fold != HELD_OUT])
    return place


def train_on(tiles: TileSet, out: Path, indices: list[int] | None) -> Path:
    config = train_config("tiny", resolution=32, kimg=0.004, z_dim=8, w_dim=8, channel_max=8, mapping_layers=1)
    return train(tiles, out, config, indices=indices, inputs={"tiles": tiles.path.parent}, execution=CPU)


def test_the_split_is_that_of_the_training(study: Study, tmp_path: Path) -> None:
    tiles = TileSet.open(study.tiles)
    split = training_split(study.generator / "generator.safetensors", tiles)
    assert split.fold == HELD_OUT
    assert {tiles[i].fold for i in split.held_out} == {HELD_OUT}
    assert sorted([*split.training, *split.held_out]) == list(range(len(tiles)))
    assert training_split(study.generator / "generator.safetensors", tiles, hold_out=HELD_OUT) == split
    of_all = train_on(tiles, tmp_path / "all", None)
    assert training_split(of_all, tiles).held_out == []
    with pytest.raises(InputError, match=r"fold 0 was not held out: .* was trained on all tiles but those of fold 1;"):
        training_split(study.generator / "generator.safetensors", tiles, hold_out=0)
    with pytest.raises(InputError, match=r"fold 0 was not held out: .* was trained on all tiles; leave out --hold-out"):
        training_split(of_all, tiles, hold_out=0)
    with pytest.raises(InputError, match="fold 7 cannot have been held out: the tiles are in folds 0, 1, 2"):
        training_split(of_all, tiles, hold_out=7)


@pytest.mark.parametrize(("crop", "mpp"), [(None, 1.0), (16, 0.5)])
def test_a_generator_knows_the_resolution_of_its_images(
    study: Study, crop: int | None, mpp: float, tmp_path: Path
) -> None:
    tiles = TileSet.open(study.tiles)
    config = train_config(
        "tiny", resolution=16, crop=crop, kimg=0.004, z_dim=8, w_dim=8, channel_max=8, mapping_layers=1
    )
    assert load_generator(train(tiles, tmp_path / "generator", config, execution=CPU)).mpp == mpp


def test_a_generator_of_unknown_tiles_is_believed_what_is_said_of_it(
    study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_generator(make_small_generator(), tmp_path / "g.safetensors")
    tiles = TileSet.open(study.tiles)
    assert training_split(tmp_path / "g.safetensors", tiles).fold is None
    assert "was trained on other tiles than these" in capsys.readouterr().err
    assert training_split(tmp_path / "g.safetensors", tiles, hold_out=2).fold == 2


def test_the_comparison_keeps_what_its_numbers_are_of(study: Study, tmp_path: Path) -> None:
    tiles, generator = TileSet.open(study.tiles), study.generator / "generator.safetensors"
    report = compare_generator(generator, tiles, tmp_path / "report.json", space=random_space(), n=20, first_seed=5)
    split = training_split(generator, tiles)
    assert (report.real, report.fake) == (len(split.held_out), 20)
    assert report.memorisation is not None
    assert report.memorisation.training == len(split.training)
    kept = json.loads((tmp_path / "report.json").read_text())
    assert kept["generator"] == fingerprint(generator)
    assert kept["images"] == {"n": 20, "first_seed": 5, "psi": 1.0, "noise": "random"}
    assert kept["tiles"]["held_out_fold"] == HELD_OUT
    assert kept["report"] == json.loads(json.dumps(report.to_dict()))
    again = compare_generator(generator, tiles, tmp_path / "again.json", space=random_space(), n=20, first_seed=5)
    assert again == report
    few = compare_generator(generator, tiles, tmp_path / "few.json", space=random_space(), n=20, most=9)
    assert few.memorisation is not None
    assert (few.real, few.memorisation.training) == (9, 9)


def test_a_copied_tile_is_found_with_its_place(study: Study, tmp_path: Path) -> None:
    tiles, generator = TileSet.open(study.tiles), study.generator / "generator.safetensors"
    split = training_split(generator, tiles)
    sample(generator, tmp_path / "latents", seeds=range(5))
    copied = split.training[11]
    write_png(image_path(tmp_path / "latents", 3), np.rot90(tiles.read(copied))[:, ::-1].copy())
    table = nearest_training_tiles(tmp_path / "latents", tiles, split, space=random_space())
    rows = list(csv.DictReader(table.open()))
    assert [row["image"] for row in rows] == [f"image_{i:04d}.png" for i in range(5)]
    copy, tile = rows[3], tiles[copied]
    assert (copy["tile"], copy["slide"], copy["x"], copy["y"]) == (str(copied), tile.slide, str(tile.x), str(tile.y))
    assert float(copy["distance"]) < 0.01
    assert float(copy["held_out_nearer"]) == 0
    assert min(float(row["distance"]) for row in rows if row is not copy) > 0.1
    with Image.open(tmp_path / "latents" / "nearest.png") as sheet:
        pixels = np.asarray(sheet)
    left, right = pixels[6:134, 6:134], pixels[6:134, 146:274]
    np.testing.assert_array_equal(left, np.rot90(right)[:, ::-1])  # the nearest pair comes first


def test_the_command_tells_and_keeps_the_comparison(study: Study, tmp_path: Path) -> None:
    code, out, err = hdgan_here("compare", "--study", study.root, "-n", 20, "--device", "cpu")
    assert code == 0, err
    assert "random-conv-v1 (not Inception: compare only with itself)" in out
    assert "nearer to a training tile than 95% of held-out ones" in out
    kept = study.evaluation / "generator-random-conv-v1-n-20.json"
    assert f"{kept}: images against held-out tiles" in out
    assert "Frechet distance: 20 images or tiles are fewer than the 256 dimensions of the feature space" in out
    _, printed, _ = hdgan_here("compare", "--study", study.root, "-n", 20, "--device", "cpu", "--json")
    assert json.loads(printed) == json.loads(kept.read_text())
    others = ("--psi", 0.7, "--noise", "const", "--first-seed", 5, "--hold-out", HELD_OUT, "--most", 9, "--seed", 3)
    hdgan_here("compare", "--study", study.root, "-n", 20, *others, "--device", "cpu")
    assert {path.name for path in study.evaluation.glob("*.json")} == {
        kept.name,
        "generator-random-conv-v1-n-20-psi-0.7-noise-const-first-seed-5-hold-out-1-most-9-seed-3.json",
    }
    code, _, err = hdgan_here("compare", "--study", study.root, "--space", tmp_path / "absent.pth")
    assert (code, "is neither" in err) == (2, True)
    code, _, err = hdgan_here("compare", "--study", tmp_path / "none")
    assert (code, "hdgan train" in err) == (2, True)


def test_samples_get_their_nearest_tiles_when_asked_and_only_then(study: Study, tmp_path: Path) -> None:
    shutil.copytree(study.root.parent, tmp_path / "copy")
    root = tmp_path / "copy" / "study"
    call = ("sample", "--study", root, "-n", 4, "--device", "cpu")
    assert hdgan_here(*call)[0] == 0
    before = json.loads((root / "latents" / "stage.json").read_text())["fingerprint"]
    assert not (root / "latents" / "nearest.csv").exists()
    code, out, err = hdgan_here(*call, "--nearest")
    assert code == 0, err
    assert "nearest.csv: the training tile nearest to each image" in out
    assert len((root / "latents" / "nearest.csv").read_text().splitlines()) == 5
    (root.parent / "slides").rename(tmp_path / "moved")
    shutil.rmtree(root / "evaluation", ignore_errors=True)
    code, _, err = hdgan_here(*call, "--nearest")
    assert (code, "if the archive was moved, say where it is" in err) == (2, True)
    assert hdgan_here(*call, "--nearest", "--root", tmp_path / "moved")[0] == 0
    (root / "latents" / "nearest.csv").unlink()
    assert hdgan_here("sample", "--study", root)[0] == 0  # the options of the last call, but not what it asked for once
    assert not (root / "latents" / "nearest.csv").exists()
    assert json.loads((root / "latents" / "stage.json").read_text())["fingerprint"] == before
