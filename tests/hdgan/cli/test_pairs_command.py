"""`hdgan synthesize` and `hdgan export` from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import refused, run
from PIL import Image

from hdgan.annotations import read_mask
from hdgan.labels import ClassList
from hdgan.pairs import PairSet
from hdgan.pixels import PixelEnsemble
from hdgan.stylegan2 import Generator, save_generator
from tiling.files import write_json
from tiling.stage import read_record


def completed(folder: Path, stage: str) -> None:
    """A record of a stage that nobody ran."""
    settled = {
        "status": "complete",
        "fingerprint": stage,
        "config": {},
        "inputs": {},
        "seconds": 0,
        "peak_rss_bytes": 0,
    }
    write_json(folder / "stage.json", {"stage": stage, **settled})


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A generator and an ensemble of random weights."""
    torch.manual_seed(0)
    generator = Generator(resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=16, mapping_layers=2)
    layers = generator.synthesis.layout.feature_channels(2)
    draw = torch.Generator().manual_seed(0)
    ensemble = PixelEnsemble(layers=layers, classes=["a", "b"], members=2, hidden=(8,), generator=draw)
    save_generator(generator, tmp_path / "generator" / "generator.safetensors")
    (tmp_path / "classifiers").mkdir()
    ensemble.save(tmp_path / "classifiers" / "ensemble.safetensors")
    completed(tmp_path / "generator", "train")
    completed(tmp_path / "classifiers", "fit")
    return tmp_path


def test_pairs_are_made_and_exported_without_the_uncertain_ones(study: Path) -> None:
    assert "10 image-mask pairs of 16 px" in run("synthesize", "--study", study, "-n", 10, "--format", "png")
    assert "say in which format: --format zarr" in refused("export", "--study", study)
    assert "9 image-mask pairs" in run("export", "--study", study, "--format", "geojson")
    pairs = PairSet.open(study / "pairs").select(drop_uncertain=0.1)
    classes = ClassList.load(study / "export" / "classes.json")
    for pair in pairs:
        file = study / "export" / "masks" / f"{pair.index:06d}.geojson"
        np.testing.assert_array_equal(read_mask(file, shape=(16, 16), classes=classes), pair.mask())
    again = ("export", "--study", study, "--format", "geojson")
    assert "is complete: nothing to do" in run(*again)
    assert "5 image-mask pairs" in run(*again, "--drop-uncertain", 0.5)
    assert "less than 1, 0.5 for half, not 50.0" in refused(*again, "--drop-uncertain", 50)
    run("export", "--study", study, "--drop-uncertain", 0, "--format", "zarr", "--out", study / "all")
    assert len(PairSet.open(study / "all")) == 10
    assert "hdgan synthesize --out" in refused(*again, "--pairs", study / "nowhere")


def test_the_nearest_tile_is_noted_and_stays_asked_for(study: Path) -> None:
    tiles = study / "tiles-as-images"
    tiles.mkdir()
    for i in range(3):
        noise = np.random.default_rng(i).integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tiles / f"tile_{i}.png")
    run("synthesize", "--study", study, "-n", 2, "--nearest", "--images", tiles)
    run("synthesize", "--study", study, "-n", 3, "--images", tiles)
    table = PairSet.open(study / "pairs").table()
    assert table["nearest_distance"].null_count == 0
    assert set(table["nearest_tile"].to_pylist()) <= {0, 1, 2}


def test_the_rule_for_labels_stays_as_it_was_asked_for_and_another_is_refused(study: Path) -> None:
    run("synthesize", "--study", study, "-n", 1, "--label", "mean")
    run("synthesize", "--study", study, "-n", 2)
    assert read_record(study / "pairs")["config"]["label"] == "mean"
    said = refused("synthesize", "--study", study, "-n", 3, "--label", "vote")
    assert "was made with label = 'mean', and now 'vote' is asked for" in said


def test_workers_of_this_machine_beside_a_scheduler_are_refused(study: Path) -> None:
    said = refused("synthesize", "--study", study, "--workers", 2, "--scheduler", "tcp://127.0.0.1:8786")
    assert "leave --workers out" in said
    assert not (study / "pairs").exists()


def test_a_second_set_neither_leaves_its_options_to_the_first_nor_takes_those_of_it(study: Path) -> None:
    run("synthesize", "--study", study, "-n", 2, "--format", "png")
    options = (study / "options.json").read_text()
    run("synthesize", "--study", study, "-n", 1, "--out", study / "second", "--label", "mean")
    made = read_record(study / "second")["config"]
    assert (made["format"], made["label"]) == ("zarr", "mean")
    assert (study / "options.json").read_text() == options
    run("synthesize", "--study", study, "-n", 3)
    assert read_record(study / "pairs")["config"]["label"] == "vote"
    (study / "study.toml").write_text("[synthesize]\nwindow = 9000\n")
    assert refused("synthesize", "--study", study, "--out", study / "third").endswith("study.toml]\n")


def test_the_command_to_continue_that_is_told_finishes_what_was_asked_for(study: Path) -> None:
    (study / "study.toml").write_text("[synthesize]\nn = 2\n")
    run("synthesize", "--study", study, "-n", 4)
    record = read_record(study / "pairs")  # as if it was killed
    write_json(study / "pairs" / "stage.json", record | {"status": "running"})
    assert f"run `hdgan synthesize --study {study}` again" in refused("export", "--study", study, "--format", "png")
    assert "4 image-mask pairs" in run("synthesize", "--study", study)
