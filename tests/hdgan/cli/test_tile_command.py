"""`hdgan tile` as users call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from command_line import files, hdgan
from PIL import Image

from tiling import TileSet
from tiling.ledger import read_ledger

Draw = Callable[[str], Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    """Draws a slide that is all tissue, below the folder `archive`."""

    def make(name: str) -> Path:
        path = tmp_path / "archive" / name
        path.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(list(name.encode())).integers(90, 200, (256, 256, 3), np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    return make


def test_slides_that_failed_or_are_empty_are_told_with_reasons_and_the_ledger(draw: Draw, tmp_path: Path) -> None:
    archive = draw("a.png").parent
    (archive / "broken.svs").write_bytes(b"no slide")
    Image.new("RGB", (256, 256), (244, 242, 240)).save(archive / "blank.png")
    arguments = ("tile", archive, "--size", 64, "--study", tmp_path / "study")
    ended = hdgan(*arguments)
    told = ended.stderr.splitlines()
    assert len(told) == 3
    assert told[1] == "of 32 tiles were dropped: 16 below the tissue fraction"
    assert told[2].startswith("16 tiles are few to learn a tissue from; more slides, an --overlap, a smaller --size")
    assert told[0].startswith("1 slide failed and 1 slide gave no tile: cannot open broken.svs as a slide: ")
    assert " | blank.png: no tissue found: " in told[0]
    assert told[0].endswith(f"(every slide is in {tmp_path / 'study' / 'tiles' / 'index.html'})")
    assert "tiles of 64 px. Next: hdgan train" in ended.stdout
    assert hdgan(*arguments, "--quiet").stderr == ""


def test_tiles_that_cannot_be_trained_on_are_told_by_tile_and_refused_by_train(draw: Draw, tmp_path: Path) -> None:
    study = tmp_path / "study"
    said = hdgan("tile", draw("a.png"), "--size", 100, "--study", study).stderr.splitlines()[0]
    assert said == "tiles of 100 px cannot be trained on, only powers of two can: --size 64, 128, 256, ..."
    said = hdgan("train", "--study", study, code=2).stderr
    assert f"tile the slides again with `hdgan tile SLIDES --redo --size 64 --study {study}`" in said
    assert not (study / "generator").exists()


@pytest.mark.parametrize("where", ["command line", "study.toml"])
def test_labels_and_resolutions_of_slides_come_from_tables(draw: Draw, tmp_path: Path, where: str) -> None:
    archive, study = draw("a.png").parent, tmp_path / "study"
    draw("b.png")
    labels, mpp = tmp_path / "labels.csv", tmp_path / "mpp.csv"
    labels.write_text("slide,stain\na,PAS\nb.png,HE\n")
    mpp.write_text("slide,mpp\na.png,0.5\nb,0.25\n")
    options = {"size": 64, "mpp": 0.5, "labels": labels, "mpp-of": mpp}
    if where == "study.toml":
        study.mkdir()
        lines = [
            f"{name} = {value if isinstance(value, int | float) else repr(str(value))}\n"
            for name, value in options.items()
        ]
        (study / "study.toml").write_text("[tile]\n" + "".join(lines))
        options = {}
    hdgan(
        "tile", archive, "--study", study, *(word for name, value in options.items() for word in (f"--{name}", value))
    )
    tiles = TileSet.open(study / "tiles")
    assert {(tile.slide, tile.labels["stain"], tile.scale) for tile in tiles} == {
        ("a.png", "PAS", 1),
        ("b.png", "HE", 2),
    }


def test_a_number_for_the_resolution_may_stand_in_study_toml(draw: Draw, tmp_path: Path) -> None:
    slide, study = draw("a.png"), tmp_path / "study"
    study.mkdir()
    (study / "study.toml").write_text("[tile]\nsize = 64\nmpp = 0.5\nmpp-of = 0.25\n")
    hdgan("tile", slide, "--study", study)
    assert TileSet.open(study / "tiles")[0].scale == 2
    before = files(study)
    assert "cannot read none.csv" in hdgan("tile", slide, "--mpp-of", "none.csv", "--study", study, code=2).stderr
    assert files(study) == before


def test_copies_mixed_resolutions_and_classes_that_occur_nowhere_are_told(draw: Draw, tmp_path: Path) -> None:
    archive, marks = draw("a.png").parent, tmp_path / "marks"
    (archive / "b.png").write_bytes((archive / "a.png").read_bytes())
    draw("coarse.png")
    (tmp_path / "mpp.csv").write_text("slide,mpp\na,0.25\nb,0.25\ncoarse,0.5\n")
    marks.mkdir()
    ring = [[10, 10], [100, 10], [100, 100], [10, 10]]
    feature = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}}
    feature["properties"] = {"classification": {"name": "glomerulus"}}
    for name in ("a", "coarse"):
        (marks / f"{name}.geojson").write_text(json.dumps(feature))
    arguments = ["tile", archive, "--size", 64, "--study", tmp_path / "study", "--mpp-of", tmp_path / "mpp.csv"]
    said = hdgan(*arguments, "--annotations", marks, "--keep-classes", "glomerulus,artry").stderr
    assert "copies of one another, by the look of their files: a.png = b.png; give them one patient\n" in said
    assert "no annotation has artry; they have glomerulus\n" in said
    assert "the tiles are of 0.25 to 0.5 micrometres per pixel; --mpp makes them alike\n" in said
    assert "b.png: no tile of the classes asked for" in said
    said = hdgan("tile", archive, "--annotations", marks, "--study", tmp_path / "other", code=2).stderr
    assert "keep_classes (--keep-classes) and annotations (--annotations) go together" in said


RULED = """\
<Annotations><Annotation Id="2" LineColor="255"><Regions>
<Region Id="1" Type="4"><Vertices><Vertex X="1" Y="1"/><Vertex X="250" Y="250"/></Vertices></Region>
<Region Id="2" Type="3"><Vertices><Vertex X="1" Y="1"/><Vertex X="250" Y="250"/></Vertices></Region>
<Region Id="3"><Vertices><Vertex X="2" Y="2"/><Vertex X="60" Y="2"/><Vertex X="60" Y="60"/></Vertices></Region>
</Regions></Annotation></Annotations>
"""


def test_rulers_and_arrows_on_slides_are_passed_over_and_told_once(draw: Draw, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    for name in ("a", "b-2"):
        draw(f"{name}.png")
        (tmp_path / "marks" / f"{name}.xml").write_text(RULED)
    kept = ("--annotations", tmp_path / "marks", "--keep-classes", "layer 2")
    for options in (kept, ("--tissue-from", tmp_path / "marks")):
        study = tmp_path / options[0].strip("-")
        said = hdgan("tile", tmp_path / "archive", "--size", 64, "--study", study, "--workers", 0, *options).stderr
        (line,) = [line for line in said.splitlines() if "without an area" in line]
        assert line.startswith("passed over 4 annotated shapes without an area (points, lines, rulers) of 2 slides: ")
        assert len(TileSet.open(study / "tiles")) == 2
        assert [row["without_area"] for row in read_ledger(study / "tiles")] == [2, 2]


def test_regions_without_a_class_are_told_and_counted(draw: Draw, tmp_path: Path) -> None:
    marks, study = tmp_path / "marks", tmp_path / "study"
    marks.mkdir()
    ring = [[10, 10], [100, 10], [100, 100], [10, 10]]
    drawn = {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}, "properties": {}}
    classed = drawn | {"properties": {"classification": {"name": "glomerulus"}}}
    for name, features in (("a", [classed, drawn]), ("b", [drawn, drawn]), ("c", [classed])):
        draw(f"{name}.png")
        (marks / f"{name}.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    kept = ("--annotations", marks, "--keep-classes", "glomerulus", "--workers", 0)
    said = hdgan("tile", tmp_path / "archive", "--size", 64, "--study", study, *kept).stderr
    assert "passed over 3 annotated regions without a class of 2 slides: set theirs in the program that drew" in said
    assert "its regions have no class: set theirs in the program that drew them" in said
    assert [row["without_class"] for row in read_ledger(study / "tiles")] == [1, 2, 0]


def test_alike_failures_are_told_once_and_how_often(draw: Draw, tmp_path: Path) -> None:
    archive = draw("a.png").parent
    for number in range(5):
        draw(f"later-{number}.png")
    (archive / "broken.svs").write_bytes(b"no slide")
    (tmp_path / "mpp.csv").write_text("slide,mpp\na,0.5\n")
    said = hdgan(
        "tile", archive, "--size", 64, "--mpp", 0.5, "--mpp-of", tmp_path / "mpp.csv", "--study", tmp_path / "study"
    ).stderr.splitlines()
    (line,) = [line for line in said if "failed" in line]
    assert line.startswith("6 slides failed: cannot open broken.svs as a slide: ")
    assert "later-0.png does not say its resolution" in line
    assert " (and 4 more alike) (every slide is in " in line
