"""From real slides and real photographs to image-mask pairs, every verb through the command line, at tiny sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import files, hdgan

from hdgan.annotations import encode_indexed_png, write_geojson
from hdgan.demo.expert import ColourExpert, kmeans_expert
from hdgan.pairs import PairSet
from hdgan.pictures import read_image
from tiling import TileSet

SIZE, SAMPLES, ANNOTATED, PAIRS, CLASSES = 32, 10, 6, 4, 3
Run = Callable[..., None]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a verb on the study twice: the second time nothing in the study changes, and stages say so."""
    study = tmp_path / "study"

    def run_twice(*arguments: object, is_stage: bool = True) -> None:
        hdgan(*arguments, "--study", study)
        before = files(study)
        again = hdgan(*arguments, "--study", study)
        assert files(study) == before
        if is_stage:
            assert "is complete: nothing to do" in again.stderr

    return run_twice


def _write_png(folder: Path, index: int, image: np.ndarray, expert: ColourExpert) -> None:
    (folder / f"image_{index:04d}.png").write_bytes(encode_indexed_png(expert.predict(image), expert.classes))


def _write_geojson(folder: Path, index: int, image: np.ndarray, expert: ColourExpert) -> None:
    write_geojson(folder / f"image_{index:04d}.geojson", expert.predict(image), expert.classes)


def _train_and_sample(run: Run, slides: Path, *tiling: object) -> None:
    run("tile", slides, "--size", SIZE, *tiling)
    run("train", "--preset", "tiny", "--kimg", 0.02)
    run("sample", "-n", SAMPLES)


def _annotate(run: Run, study: Path, write: Callable[[Path, int, np.ndarray, ColourExpert], None]) -> None:
    """Pick, hand out, let k-means of colour label what was handed out, and take its masks back."""
    run("annotate", "pick", "-n", ANNOTATED)
    classes = study.parent / "classes.json"
    images = sorted((study / "latents" / "images").iterdir())
    expert = kmeans_expert([read_image(path) for path in images], classes=CLASSES, seed=0)
    expert.classes.save(classes)
    handed_out, masks = study.parent / "handed out", study.parent / "handed in 🔬"
    run("annotate", "export", "--out", handed_out, "--classes", classes, is_stage=False)
    masks.mkdir()
    chosen = sorted((handed_out / "images").iterdir())
    assert len(chosen) == ANNOTATED
    for path in chosen:
        write(masks, int(path.stem.removeprefix("image_")), read_image(path), expert)
    run("annotate", "import", masks, "--classes", classes, is_stage=False)


def _make_pairs(run: Run, format_: str) -> None:
    run("features", "--blocks", 3)
    run("fit", "--members", 2, "--split", "3/1/2")
    run("synthesize", "-n", PAIRS, "--format", format_)
    run("evaluate", is_stage=False)


def _check_pairs(study: Path) -> None:
    pairs = PairSet.open(study / "pairs")
    assert len(pairs) == PAIRS
    for pair in pairs:
        assert (pair.image().shape, pair.image().dtype) == ((SIZE, SIZE, 3), np.uint8)
        assert (pair.mask().shape, pair.mask().dtype) == ((SIZE, SIZE), np.uint8)
        assert pair.mask().max() < CLASSES
        assert (pair.uncertainty().shape, pair.uncertainty().dtype) == ((SIZE, SIZE), np.float32)
        assert (pair.uncertainty() >= 0).all()
    names = [f"tone {rank} of {CLASSES}" for rank in range(1, CLASSES + 1)]
    assert list(pairs.classes.names) == names
    fractions = [f"fraction_{name}" for name in names]
    nearest = ["nearest_tile", "nearest_distance"]
    measured = ["uncertainty", *fractions, *nearest]
    columns = ["index", "seed", "psi", "latent", *measured, "mpp", "licence"]
    assert pairs.table().column_names == columns
    assert pairs.table()["seed"].to_pylist() == list(range(1_000_000, 1_000_000 + PAIRS))
    assert np.allclose(sum(pairs.table()[name].to_numpy() for name in fractions), 1)
    status = json.loads(hdgan("info", study, "--json").stdout)
    assert all(status[verb]["status"] == "complete" for verb in ("tile", "train", "sample", "fit", "synthesize"))
    assert (status["annotate"]["status"], status["annotate"]["masks"]) == ("complete", ANNOTATED)
    scores = json.loads(hdgan("evaluate", "--study", study, "--json").stdout)["reports"]
    assert set(scores["ensemble, on test images"]["classes"]) == set(names)


@pytest.mark.slow
def test_an_aperio_slide_becomes_pairs_in_zarr_through_masks_in_png(data: Path, tmp_path: Path, run: Run) -> None:
    slide = data / "slides" / "cmu-1-small-region.svs"
    if not slide.exists():
        pytest.skip(f"the slide is not at {slide}")
    study = tmp_path / "study"
    facts = json.loads(hdgan("info", slide, "--json").stdout)
    assert (facts["width"], facts["height"], facts["mpp"]) == (2220, 2967, 0.499)
    _train_and_sample(run, slide, "--mpp", 2, "--limit", 40)
    assert len(TileSet.open(study / "tiles")) == 40
    _annotate(run, study, _write_png)
    _make_pairs(run, "zarr")
    _check_pairs(study)


@pytest.mark.slow
def test_a_folder_of_jpegs_becomes_pairs_in_ome_tiff_through_masks_of_qupath(
    data: Path, tmp_path: Path, run: Run
) -> None:
    photographs = data / "glomeruli"
    if not photographs.is_dir():
        pytest.skip(f"the photographs are not at {photographs}")
    study = tmp_path / "study"
    _train_and_sample(run, photographs, "--limit", 1)
    assert len(TileSet.open(study / "tiles")) == len(list(photographs.glob("*.jpg")))
    _annotate(run, study, _write_geojson)
    _make_pairs(run, "ome-tiff")
    _check_pairs(study)


@pytest.mark.slow
def test_the_demo_runs_on_a_real_slide_to_the_report(data: Path, tmp_path: Path) -> None:
    slide = data / "slides" / "cmu-1-small-region.svs"
    if not slide.exists():
        pytest.skip(f"the slide is not at {slide}")
    hdgan("demo", "--plan", "quick", "--slide", slide, "--study", tmp_path / "study")
    report = (tmp_path / "study" / "report.html").read_text(encoding="utf-8")
    assert "cmu-1-small-region.svs: 2220 x 2967 px" in report
    assert "k-means of colour" in report
    assert "The truth of this slide is not known" in report
