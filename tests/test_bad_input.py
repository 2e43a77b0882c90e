"""What is wrong is said in one line, with exit code 2, and the study stays as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import files, hdgan, hdgan_here
from PIL import Image

from hdgan.annotations import write_geojson
from hdgan.labels import ClassList, LabelClass


def refusal(*arguments: object) -> str:
    """The one line with which a command refuses."""
    code, out, err = hdgan_here(*arguments)
    assert (code, out) == (2, ""), f"hdgan {' '.join(map(str, arguments))}\n{out}\n{err}"
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("hdgan: ")
    return lines[0]


@pytest.fixture
def study(demo_study: Path, tmp_path: Path) -> Path:
    """A complete study of one's own."""
    return Path(shutil.copytree(demo_study, tmp_path / "study"))


Refused = Callable[..., str]


@pytest.fixture
def refused(study: Path) -> Refused:
    """The line with which a command on the study refuses; the study must not change."""

    def run(*arguments: object) -> str:
        before = files(study)
        line = refusal(*arguments, "--study", study)
        assert files(study) == before
        return line

    return run


def _slide(data: Path, name: str) -> Path:
    path = data / "slides" / name
    if not path.exists():
        pytest.skip(f"the slide is not at {path}")
    return path


def test_a_slide_that_is_not_there(tmp_path: Path) -> None:
    assert "no such slide: nowhere.svs" in refusal("tile", "nowhere.svs", "--study", tmp_path / "new")
    assert "no such slide" in refusal("info", "nowhere.svs")
    assert "no such slide" in refusal("demo", "--slide", "nowhere.svs", "--study", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_demo_in_somebody_elses_study(study: Path) -> None:
    (study / "study.toml").unlink()
    before = files(study)
    assert "is a study that no demo made" in refusal("demo", "--plan", "quick", "--study", study)
    assert files(study) == before


def test_a_folder_that_is_no_study(tmp_path: Path, demo_study: Path) -> None:
    (tmp_path / "notes.txt").touch()
    said = refusal("info", tmp_path)
    assert f"{tmp_path} holds neither a study (none of study.toml, tiles/stage.json, generator/stage.json, " in said
    assert "annotations/pick/stage.json, features/stage.json, " in said
    assert " nor slides (none of .bif " in said
    hdgan("info", demo_study)


def test_a_study_where_the_system_lets_none_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    slide = tmp_path / "slide.png"
    Image.new("RGB", (100, 100), (200, 100, 150)).save(slide)
    assert "Not a directory" in refusal("tile", slide, "--size", 64, "--study", tmp_path / "file" / "study")


@pytest.mark.parametrize("name", ["broken.svs", "unopenable.tiff", "unreadable.svs"])
def test_a_slide_that_is_broken(data: Path, tmp_path: Path, name: str) -> None:
    line = refusal("tile", _slide(data, name), "--size", 8, "--study", tmp_path / "new")
    assert name in line
    assert not (tmp_path / "new" / "tiles").exists()


def test_a_slide_without_tissue(tmp_path: Path, study: Path) -> None:
    blank = tmp_path / "blank.png"
    Image.new("RGB", (512, 512), (244, 242, 240)).save(blank)
    assert "tissue" in refusal("tile", blank, "--size", 64, "--study", tmp_path / "new")
    options = ("--size", 32, "--mpp", 8, "--overlap", 24, "--mpp-of", 0.5)
    before = files(study)
    assert "blank.png: no tissue found" in refusal("tile", blank, *options, "--redo", "--study", study)
    assert files(study) == before


def test_slides_that_were_tiled_and_are_not_there_any_more(study: Path, refused: Refused) -> None:
    other = study.parent / "other.png"
    Image.new("RGB", (512, 512), (200, 100, 150)).save(other)
    line = refused("tile", other, "--size", 32, "--mpp", 8, "--mpp-of", 0.5)
    assert "holds tiles of 1 slide (study/slides/phantom-0.tiff) not among those given" in line
    assert "give all slides, old and new, or say whether such tiles stay or go" in line


@pytest.mark.parametrize(
    ("verb", "made_by"),
    [
        (("train",), "hdgan tile"),
        (("sample",), "hdgan train"),
        (("annotate", "pick"), "hdgan sample"),
        (("annotate", "export"), "hdgan sample"),
        (("annotate", "import", "masks"), "hdgan sample"),
        (("features",), "hdgan train"),
        (("fit",), "hdgan features"),
        (("synthesize",), "hdgan train"),
        (("evaluate",), "hdgan fit"),
        (("demo", "expert"), "hdgan tile"),
        (("demo", "compare"), "hdgan fit"),
        (("demo", "report"), "hdgan tile"),
    ],
)
def test_a_study_without_what_a_verb_needs(tmp_path: Path, verb: tuple[str, ...], made_by: str) -> None:
    assert f"`{made_by}" in refusal(*verb, "--study", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_stage_that_is_half_made(study: Path, refused: Refused) -> None:
    record = study / "generator" / "stage.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    assert "only half made: run `hdgan train" in refused("sample")


def test_a_record_that_is_not_one(study: Path, refused: Refused) -> None:
    (study / "generator" / "stage.json").write_text("{}")
    assert "stage.json" in refused("sample")
    assert "stage.json" in refused("train")
    assert "stage.json" in refusal("info", study)


def test_export_before_pick(study: Path, refused: Refused) -> None:
    shutil.rmtree(study / "annotations" / "pick")
    assert "hdgan annotate pick" in refused("annotate", "export")


def test_a_list_of_picks_that_lists_none(study: Path, refused: Refused) -> None:
    (study / "annotations" / "pick" / "picked.json").write_text("{}")
    assert "picked.json lists no samples" in refused("annotate", "export")
    assert "picked.json lists no samples" in refused("demo", "expert", "--plan", "quick", "--redo")


def test_samples_that_do_not_exist(refused: Refused) -> None:
    assert "no sample 99, only 16 samples numbered from 0" in refused("annotate", "export", "--indices", "3,99")
    assert "--indices takes numbers" in refused("annotate", "export", "--indices", "three")


def test_a_mask_of_another_size(study: Path, refused: Refused) -> None:
    masks = study.parent / "masks"
    masks.mkdir()
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(masks / "image_0000.png")
    Image.fromarray(np.zeros((31, 32), np.uint8)).save(masks / "image_0001.png")
    line = refused("annotate", "import", masks)
    assert "image_0001.png" in line
    assert "32" in line


def test_a_class_of_geojson_that_is_not_the_studys(study: Path, refused: Refused) -> None:
    masks = study.parent / "masks"
    others = ClassList((LabelClass("whitespace", (235, 235, 235)), LabelClass("medulla", (1, 2, 3))))
    labels = np.zeros((32, 32), np.uint8)
    labels[:8] = 1
    write_geojson(masks / "image_0000.geojson", labels, others)
    assert "unknown class 'medulla'" in refused("annotate", "import", masks)


def test_masks_that_are_not_there_or_not_masks(study: Path, refused: Refused) -> None:
    assert "no such file or folder" in refused("annotate", "import", "nowhere")
    notes = study.parent / "notes"
    notes.mkdir()
    (notes / "notes.txt").write_text("not a mask")
    assert "no annotation files" in refused("annotate", "import", notes)
    (notes / "image_0000.geojson").write_text("{")
    assert "not JSON" in refused("annotate", "import", notes)


def test_masks_that_were_spoilt_after_their_import(study: Path, refused: Refused) -> None:
    mask = min((study / "annotations" / "masks").iterdir())
    for labels, said in (
        (np.full((32, 32), 7, np.uint8), f"{mask} holds 7 as class index; allowed are 0 to 4"),
        (np.zeros((31, 32), np.uint8), "is (31, 32) uint8; the features are of (32, 32) px"),
    ):
        Image.fromarray(labels).save(mask)
        assert said in refused("fit", "--redo")
    mask.write_bytes(mask.read_bytes()[:40])
    assert str(mask) in refused("fit", "--redo")


def test_masks_of_samples_that_were_replaced(study: Path, refused: Refused) -> None:
    hdgan("sample", "--study", study, "--psi", 0.5, "--redo")
    for verb in (("features", "--redo"), ("fit", "--redo"), ("annotate", "import", study / "expert" / "masks")):
        assert "drawn on other samples" in refused(*verb)


def test_an_export_into_the_folder_of_a_stage(study: Path, refused: Refused) -> None:
    assert "folder of a stage" in refused("annotate", "export", "--out", study / "latents")


def test_masks_without_a_note_of_their_samples(study: Path, refused: Refused) -> None:
    (study / "annotations" / "samples.json").unlink()
    assert "does not tell which sample" in refused("features", "--redo")


def test_masks_that_came_after_the_features(study: Path, refused: Refused) -> None:
    masks = study.parent / "masks"
    masks.mkdir()
    annotated = {path.stem[-4:] for path in (study / "annotations" / "masks").iterdir()}
    number = next(f"{index:04d}" for index in range(16) if f"{index:04d}" not in annotated)
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(masks / f"image_{number}.png")
    hdgan("annotate", "import", masks, "--study", study)
    assert "1 annotated sample without features: run `hdgan features" in refused("fit")


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\0\0\0\0\0\0\0{}      more"])
def test_a_generator_that_is_none(study: Path, refused: Refused, content: bytes) -> None:
    (study / "generator" / "generator.safetensors").write_bytes(content)
    for verb in (("sample", "--redo"), ("features", "--redo"), ("synthesize", "--redo")):
        assert "generator.safetensors" in refused(*verb)
    assert "generator.safetensors" in refused("train", "--from", study / "generator", "--redo")


def test_networks_to_start_from_that_are_not_there(study: Path, refused: Refused) -> None:
    assert "nowhere" in refused("train", "--from", "nowhere", "--redo")
    assert "no such file" in refused("train", "--from", study / "tiles", "--redo")


def test_an_ensemble_that_is_none(study: Path, refused: Refused) -> None:
    (study / "classifiers" / "ensemble.safetensors").write_bytes(b"not an ensemble")
    assert "ensemble.safetensors" in refused("synthesize", "--redo")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "--preset", "huge"), "unknown preset 'huge'; there are: auto, "),
        (("train", "--augment", "huge"), "'huge'"),
        (("train", "--batch", "0"), "batch must be above 0, not 0"),
        (("train", "--kimg", "0"), "kimg must be above 0"),
        (("train", "--kimg", "inf"), "kimg must be a finite number"),
        (("train", "--batch", "0"), "batch must be above 0"),
        (("train", "--hold-out", "0"), "fold 0 cannot be held out"),
        (("train", "--hold-out", "7"), "fold 7 cannot be held out"),
        (("sample", "--psi", "9"), "psi"),
        (("features", "--dtype", "float64"), "'float64'"),
        (("features", "--store", "none", "--dtype", "int8", "--redo"), "dtype 'int8' is of stored features"),
        (("features", "--blocks", "99"), "99"),
        (("fit", "--preset", "huge"), "huge"),
        (("fit", "--split", "5/5"), "16/4/16"),
        (("fit", "--split", "50/5/5"), "8 labelled images cannot be split 50/5/5"),
        (("synthesize", "--format", "gif"), "gif"),
        (("synthesize", "--label", "median"), "label must be vote, mean, not 'median'"),
        (("synthesize", "--window", "100000"), "window must be a whole number from 8 to 4096, not 100000"),
        (("evaluate", "--truth", "masks"), "--predicted"),
        (("demo", "--plan", "huge"), "unknown demo plan 'huge'"),
        (("train", "--kimg", "many"), "'many'"),
        (("train", "--seed", "-7"), "'-7'"),
        (("train", "--kimgs", "5"), "--kimgs"),
        *(((verb, "--device", "abacus", "--redo"), "abacus") for verb in ("train", "sample", "features", "fit")),
        (("synthesize", "--device", "abacus", "--redo"), "abacus"),
    ],
)
def test_a_value_that_there_is_not(refused: Refused, arguments: tuple[str, ...], said: str) -> None:
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "--seed", "7"),
        ("sample", "--psi", "0.5"),
        ("annotate", "pick", "-n", "3"),
        ("annotate", "pick", "--seed", "3"),
        ("demo", "expert", "--plan", "quick", "--seed", "3"),
        ("demo", "expert", "--plan", "quick", "--real"),
        ("demo", "compare", "--plan", "quick", "--seed", "3"),
        ("features", "--blocks", "2"),
        ("fit", "--members", "2"),
        ("synthesize", "--format", "png"),
    ],
)
def test_other_settings_than_a_stage_was_made_with(refused: Refused, arguments: tuple[str, ...]) -> None:
    assert "--redo" in refused(*arguments)


def test_a_shorter_training_than_there_is(refused: Refused) -> None:
    assert "already trained for 0.12 kimg, more than the 0.02 asked for" in refused("train", "--kimg", 0.02)


def test_fewer_samples_than_there_are(refused: Refused) -> None:
    assert "holds 16 samples already, and 3 are asked for; ask for more" in refused("sample", "-n", 3)


def test_fewer_pairs_than_there_are(refused: Refused) -> None:
    assert "3 are asked for; ask for more" in refused("synthesize", "-n", 3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[train]\nkimgs = 5\n", "[train] has no option 'kimgs'"),
        (b"[train]\nkimg = 'many'\n", "kimg"),
        (b"train = 5\n", "[train] must be a table"),
        (b"[train\n", "not TOML"),
        (b"\xff\xfe\0", "not TOML"),
    ],
)
def test_settings_that_cannot_be_understood(study: Path, refused: Refused, content: bytes, said: str) -> None:
    (study / "study.toml").write_bytes(content)
    assert said in refused("train")


def test_a_demo_in_the_folder_of_another_study(study: Path, refused: Refused) -> None:
    (study / "study.toml").write_text("[train]\nkimg = 5\n")
    assert "choose another folder" in refused("demo", "--plan", "quick")


def test_a_phantom_of_another_size(demo_study: Path) -> None:
    before = files(demo_study)
    assert "is a phantom of 2048 px" in refusal("demo", "phantom", demo_study / "slides", "--size", 1024)
    assert files(demo_study) == before


def test_commands_and_options_that_there_are_not() -> None:
    assert "No such command 'paint'" in refusal("paint")
    assert "--help`" in refusal("train", "--colour", "red")
    assert "Missing" in refusal("annotate")
