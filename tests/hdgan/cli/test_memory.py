"""What an option was set to in a study holds until it is set to something else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import files, hdgan, run
from PIL import Image

from tiling import TileSet
from tiling.stage import read_record


@pytest.fixture
def slide(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(90, 200, (256, 256, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "slide.png")
    return tmp_path / "slide.png"


def config(study: Path) -> dict[str, Any]:
    asked = dict(read_record(study / "tiles")["config"])
    del asked["slides"]  # with what was made of them
    return asked


def test_options_that_are_left_out_stay_as_they_were_given(slide: Path, tmp_path: Path) -> None:
    study = tmp_path / "a study"
    hdgan("tile", slide, "--study", study, "--size", 64, "--overlap", 32, "--mpp-of", 0.5, "--mpp", 1)
    made = config(study)
    assert "nothing to do" in hdgan("tile", slide, "--study", study).stderr
    hdgan("tile", slide, "--study", study, "--overlap", 0, "--redo")
    assert config(study) == made | {"overlap": 0}
    hdgan("tile", slide, "--study", study, "--redo", "--level", 0)  # one way to say the resolution displaces the other
    assert config(study) == made | {"overlap": 0, "mpp": None}


def test_a_table_that_was_given_is_found_from_another_folder(
    slide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = tmp_path / "study"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "mpp.csv").write_text("slide,mpp\nslide,0.5\n")
    monkeypatch.chdir(tmp_path)
    hdgan("tile", slide, "--study", study, "--size", 64, "--mpp-of", "mpp.csv", "--mpp", 1)
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "nothing to do" in hdgan("tile", slide, "--study", study).stderr
    (tmp_path / "elsewhere" / "0.5").touch()
    hdgan("tile", slide, "--study", tmp_path / "another", "--size", 64, "--mpp-of", "0.5")
    assert json.loads((tmp_path / "another" / "options.json").read_text()) == {"tile": {"size": 64, "mpp_of": "0.5"}}


def test_an_option_that_is_given_as_nothing_is_taken_back(slide: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    (tmp_path / "mpp.csv").write_text("slide,mpp\nslide,0.5\n")
    asked = ("--size", 64, "--mpp", 1, "--mpp-of", tmp_path / "mpp.csv", "--anonymise", "--overlap", 32)
    hdgan("tile", slide, "--study", study, *asked)
    hdgan("tile", slide, "--study", study, "--mpp", "", "--mpp-of=", "--overlap", "", "--no-anonymise", "--redo")
    assert json.loads((study / "options.json").read_text()) == {"tile": {"size": 64, "anonymise": False}}
    assert (config(study)["overlap"], config(study)["mpp"], config(study)["anonymise"]) == (0, None, False)
    (study / "study.toml").write_text("[tile]\nsize = 32\nmpp = 2\n")
    hdgan("tile", slide, "--study", study, "--mpp", "", "--size", 64)


def test_of_options_that_clash_those_of_earlier_calls_are_told_with_the_way_to_take_them_back(
    slide: Path, tmp_path: Path
) -> None:
    study, marks = tmp_path / "study", tmp_path / "marks"
    marks.mkdir()
    ring = [[10, 10], [200, 10], [200, 200], [10, 10]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    (marks / "slide.geojson").write_text(json.dumps(feature | {"properties": {"name": "glomerulus"}}))
    asked = ("tile", slide, "--study", study, "--size", 64, "--workers", 0)
    hdgan(*asked, "--annotations", marks, "--keep-classes", "glomerulus")
    said = hdgan(*asked, "--annotations", "", code=2).stderr
    assert "go together" in said
    assert said.endswith('[keep-classes is as in an earlier call; --keep-classes "" takes it back]\n')
    marks.rename(tmp_path / "elsewhere")
    said = hdgan(*asked, code=2).stderr
    assert f"no such file or folder of annotations: {marks}" in said
    assert said.endswith('[annotations is as in an earlier call; --annotations "" takes it back]\n')
    hdgan(*asked, "--annotations", "", "--keep-classes", "", "--redo")
    assert json.loads((study / "options.json").read_text()) == {"tile": {"size": 64}}


def test_what_is_refused_is_not_kept(slide: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    hdgan("tile", slide, "--study", study, "--size", 5000, code=2)
    assert not study.exists()
    hdgan("tile", slide, "--study", study, "--size", 64)
    before = files(study)
    hdgan("tile", slide, "--study", study, "--size", 128, code=2)
    hdgan("tile", slide, "--study", study, "--size", 0, code=2)
    assert files(study).keys() == before.keys()
    assert json.loads((study / "options.json").read_text()) == {"tile": {"size": 64}}


def test_study_toml_goes_before_what_was_given_and_the_command_line_before_both(slide: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    hdgan("tile", slide, "--study", study, "--size", 64)
    (study / "study.toml").write_text("[tile]\nsize = 32\n")
    hdgan("tile", slide, "--study", study, "--redo")
    assert TileSet.open(study / "tiles")[0].size == 32
    hdgan("tile", slide, "--study", study, "--redo", "--size", 16)
    assert TileSet.open(study / "tiles")[0].size == 16


def test_what_was_given_lasts_until_study_toml_says_something_else(slide: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.toml").write_text("[tile]\nsize = 32\noverlap = 0\n")
    run("tile", slide, "--study", study, "--size", 16)
    record = {"tile": {"size": 16, "study.toml": {"size": "32"}}}
    assert json.loads((study / "options.json").read_text()) == record
    assert "nothing to do" in run("tile", slide, "--study", study)
    (study / "study.toml").write_text("[tile]\nsize = 32\noverlap = 4\n")  # of another option
    run("tile", slide, "--study", study, "--redo")
    assert (TileSet.open(study / "tiles")[0].size, config(study)["overlap"]) == (16, 4)
    assert json.loads((study / "options.json").read_text()) == record
    (study / "study.toml").write_text("[tile]\nsize = 64\n")
    run("tile", slide, "--study", study, "--redo")
    assert TileSet.open(study / "tiles")[0].size == 64
    (study / "study.toml").write_text("[tile]\nsize = 32\noverlap = 4\n")
    run("tile", slide, "--study", study, "--redo", "--overlap", 8)
    run("tile", slide, "--study", study, "--redo", "--overlap", "")
    assert json.loads((study / "options.json").read_text()) == record


def test_a_training_that_is_called_without_options_is_the_same_training(demo_study: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    for folder in ("tiles", "slides"):
        shutil.copytree(demo_study / folder, study / folder)
    hdgan("train", "--study", study, "--preset", "tiny", "--kimg", 0.02)
    assert json.loads((study / "options.json").read_text()) == {"train": {"preset": "tiny", "kimg": 0.02}}
    assert "nothing to do" in hdgan("train", "--study", study).stderr
