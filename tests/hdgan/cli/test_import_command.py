"""`hdgan import` puts another's generator where a study has its own, and nothing else of a study is lost by it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_line import refused, run
from PIL import Image
from reference_files import reference_generator, write_reference

from hdgan.pairs import PairSet
from hdgan.quality import training_of
from hdgan.stylegan2 import Generator, load_generator, save_generator
from hdgan.stylegan2.reference import REFERENCE_LICENCE
from hdgan.stylegan2.run import shape_of
from tiling.stage import read_record


def make_file(path: Path, seed: int) -> Path:
    torch.manual_seed(seed)
    generator = Generator(resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=16, mapping_layers=2)
    return write_reference(path, G_ema=reference_generator(generator))


@pytest.fixture
def pkl(tmp_path: Path) -> Path:
    return make_file(tmp_path / "first.pkl", 0)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return tmp_path / "study"


def test_the_stages_after_it_run_on_an_imported_generator_and_carry_its_terms(pkl: Path, study: Path) -> None:
    said = run("import", pkl, "--study", study)
    assert "generator.safetensors: 16 px. " + REFERENCE_LICENCE in said
    assert f"Next: hdgan sample --study {study}" in said
    assert "is complete: nothing to do" in run("import", pkl, "--study", study)
    run("sample", "--study", study, "-n", 4)
    masks = study.parent / "masks"
    masks.mkdir()
    for index in range(4):
        labels = np.indices((16, 16)).sum(axis=0) // 8 % 2
        Image.fromarray(labels.astype(np.uint8)).save(masks / f"image_{index:04d}.png")
    run("annotate", "import", masks, "--study", study)
    run("features", "--study", study, "--blocks", 2)
    run("fit", "--study", study, "--members", 1, "--split", "2/1/1")
    run("synthesize", "--study", study, "-n", 2)
    assert PairSet.open(study / "pairs").table()["licence"].to_pylist() == [REFERENCE_LICENCE] * 2
    for folder in ("latents", "features", "classifiers", "pairs"):
        assert read_record(study / folder)["licence"] == [REFERENCE_LICENCE]


def test_info_tells_that_a_generator_was_imported_and_under_which_terms(pkl: Path, study: Path) -> None:
    run("import", pkl, "--study", study)
    told = json.loads(run("info", study, "--json"))["train"]
    imported = {"imported": "first.pkl", "resolution": 16}
    assert told == {"status": "complete", **imported, "licence": REFERENCE_LICENCE}
    record = study / "generator" / "stage.json"
    record.write_text(record.read_text().replace('"status": "complete"', '"status": "running"'))
    assert json.loads(run("info", study, "--json"))["train"]["status"] == "stopped"


def test_a_generator_with_masks_is_not_replaced(pkl: Path, study: Path) -> None:
    run("import", pkl, "--study", study)
    before = (study / "generator" / "generator.safetensors").read_bytes()
    other = make_file(study.parent / "other.pkl", 1)
    assert "made from another reference; add --redo" in refused("import", other, "--study", study)
    (study / "annotations" / "masks").mkdir(parents=True)
    Image.fromarray(np.zeros((16, 16), np.uint8)).save(study / "annotations" / "masks" / "label_0000.png")
    assert "1 mask in" in refused("import", other, "--study", study, "--redo")
    assert (study / "generator" / "generator.safetensors").read_bytes() == before
    (study / "annotations" / "masks" / "label_0000.png").unlink()
    run("import", other, "--study", study, "--redo")
    assert (study / "generator" / "generator.safetensors").read_bytes() != before


def test_a_file_that_is_none_leaves_no_study(pkl: Path, study: Path) -> None:
    for content in (b"", b"text", pkl.read_bytes()[:1000]):
        (study.parent / "bad.pkl").write_bytes(content)
        assert "nothing in it was executed" in refused("import", study.parent / "bad.pkl", "--study", study)
    assert "no such file" in refused("import", "absent.pkl", "--study", study)
    assert not study.exists()


@pytest.fixture
def best(tmp_path: Path) -> Path:
    """A conditional generator as the training of another study leaves it."""
    torch.manual_seed(2)
    generator = Generator(
        resolution=16, z_dim=8, w_dim=8, c_dim=2, channel_base=128, channel_max=16, mapping_layers=2
    ).eval()
    generator.licence, generator.classes = ("CC BY-NC 4.0",), {"HE": 9, "PAS": 3}
    about = {"kimg": 40, "score": {"fd": 1.5}, "training": {"crop": 20, "condition": "stain"}}
    save_generator(generator, tmp_path / "other" / "generator-best.safetensors", about=about)
    return tmp_path / "other" / "generator-best.safetensors"


def test_a_generator_of_our_own_is_taken_over_with_all_that_its_file_says(best: Path, study: Path) -> None:
    said = run("import", best, "--study", study)
    assert f"generator.safetensors: 16 px. CC BY-NC 4.0. Next: hdgan sample --study {study}" in said
    assert (study / "generator" / "generator.safetensors").read_bytes() == best.read_bytes()
    assert "is complete: nothing to do" in run("import", best, "--study", study)
    run("sample", "--study", study, "-n", 2, "--class", "PAS")
    assert read_record(study / "latents")["licence"] == ["CC BY-NC 4.0"]
    assert training_of(study / "generator" / "generator.safetensors") == {"crop": 20, "condition": "stain"}
    told = json.loads(run("info", study, "--json"))["train"]
    kept = {"imported": "generator-best.safetensors", "resolution": 16, "kimg": 40, "score": {"fd": 1.5}}
    assert told == {"status": "complete", **kept, "licence": "CC BY-NC 4.0"}
    assert shape_of(study / "generator")["z_dim"] == 8  # a training begins with it


def test_an_import_takes_the_place_of_no_other_generator_unasked(best: Path, pkl: Path, study: Path) -> None:
    run("import", pkl, "--study", study)
    before = (study / "generator" / "generator.safetensors").read_bytes()
    assert "add --redo to replace it" in refused("import", best, "--study", study)
    own = (study / "generator" / "generator.safetensors").rename(study / "generator" / "own.safetensors")
    assert "import it into another study" in refused("import", own, "--study", study, "--redo")
    own.rename(study / "generator" / "generator.safetensors")
    assert (study / "generator" / "generator.safetensors").read_bytes() == before
    run("import", best, "--study", study, "--redo")
    assert (study / "generator" / "generator.safetensors").read_bytes() == best.read_bytes()
    assert "add --redo to replace it" in refused("import", pkl, "--study", study)


def test_weights_that_are_no_generator_leave_no_study(best: Path, study: Path) -> None:
    for content in (b"", b"text", best.read_bytes()[:-100]):
        (study.parent / "bad.safetensors").write_bytes(content)
        assert "is not a safetensors file" in refused("import", study.parent / "bad.safetensors", "--study", study)
    assert "no such file" in refused("import", "absent.safetensors", "--study", study)
    assert not study.exists()


def test_a_training_that_begins_with_an_import_takes_its_shape(pkl: Path, study: Path) -> None:
    slides = study.parent / "slides"
    slides.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(slides / "noise.png")
    run("tile", slides, "--size", 16, "--level", 0, "--tissue", 0, "--study", study)
    run("import", pkl, "--study", study.parent / "imported")
    start = ("--from", study.parent / "imported" / "generator")
    run("train", *start, "--study", study, "--preset", "tiny", "--kimg", 0.004)
    trained = load_generator(study / "generator" / "generator.safetensors")
    assert trained.config == load_generator(start[1] / "generator.safetensors").config
    assert trained.licence == (REFERENCE_LICENCE,)
    assert "holds what was not imported; add --redo" in refused("import", pkl, "--study", study)
