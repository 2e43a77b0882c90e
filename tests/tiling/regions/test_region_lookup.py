from __future__ import annotations

import time
from pathlib import Path

import pytest

from tiling.errors import InputError
from tiling.regions import RegionsFolder


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return [folder / name for name in names]


@pytest.mark.parametrize(
    "name",
    ["a/b.svs.geojson", "a/b.geojson", "b.svs.geojson", "b.geojson", "b.xml", "b.svs.json", "a/b.XML", "b.GeoJSON"],
)
def test_a_file_may_be_named_after_the_path_the_name_or_the_stem_of_a_slide(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "other.geojson", "bb.geojson", "b.svs.txt", "b.png", "c/b.geojson", "b.svs")
    assert RegionsFolder(tmp_path).of("a/b.svs") == []
    touch(tmp_path, name)
    assert RegionsFolder(tmp_path).of("a/b.svs") == [tmp_path / name]


def test_a_file_that_is_given_itself_is_the_slides_whatever_its_name(tmp_path: Path) -> None:
    (file,) = touch(tmp_path, "drawn.geojson")
    assert RegionsFolder(file).of("a/b.svs") == [file]


def test_all_the_masks_of_a_slides_objects_are_its_files(tmp_path: Path) -> None:
    place = "(1.00,-8,16,300,260)-mask.png"
    own = touch(tmp_path, f"b.svs_Artery_{place}", f"b.svs_Glomerulus_{place}", f"b_Glomerulus_{place}")
    touch(tmp_path, f"b.svs2_Glomerulus_{place}", f"b_2_Glomerulus_{place}", f"bb_Glomerulus_{place}")
    assert RegionsFolder(tmp_path).of("a/b.svs") == own
    within = touch(tmp_path, f"a/b.svs_Artery_{place}")
    assert RegionsFolder(tmp_path).of("a/b.svs") == within


def test_a_file_named_after_the_path_goes_before_one_named_after_another_slide_of_that_name(tmp_path: Path) -> None:
    below, above = touch(tmp_path, "a/b.geojson", "b.geojson")
    assert RegionsFolder(tmp_path).of("a/b.svs") == [below]
    assert RegionsFolder(tmp_path).of("b.svs") == [above]


@pytest.mark.parametrize(
    "names",
    [
        ("b.geojson", "b.svs.geojson"),
        ("a/b.geojson", "a/b.xml"),
        ("b.geojson", "b.svs_a_(1.00,0,0,1,1)-mask.png", "b.svs_b_(1.00,0,0,1,1)-mask.png"),
    ],
)
def test_two_files_of_one_slide_are_refused_by_name(tmp_path: Path, names: tuple[str, ...]) -> None:
    touch(tmp_path, *names)
    with pytest.raises(InputError, match=r"both .*b\..* and .*b\..* are named after the slide a/b\.svs; keep one"):
        RegionsFolder(tmp_path).of("a/b.svs")


def test_a_place_where_nothing_is_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file or folder"):
        RegionsFolder(tmp_path / "absent")


def test_folders_are_listed_once_for_all_slides(tmp_path: Path) -> None:
    (below, _), above = touch(tmp_path, "a/b.geojson", "a/c.geojson"), touch(tmp_path, "d.geojson")
    folder = RegionsFolder(tmp_path)
    assert folder.of("a/b.svs") == [below]
    assert folder.of("d.svs") == above
    touch(tmp_path, "a/later.geojson", "later.geojson")
    assert folder.of("a/later.svs") == folder.of("later.svs") == []


def test_finding_the_files_of_many_slides_takes_time_in_proportion_to_their_number(tmp_path: Path) -> None:
    names = [f"slide-{number}" for number in range(3000)]
    touch(tmp_path, *(f"{name}.geojson" for name in names))
    began = time.perf_counter()
    folder = RegionsFolder(tmp_path)
    assert all(len(folder.of(f"{name}.svs")) == 1 for name in names)
    assert time.perf_counter() - began < 3  # listing the folder for every slide takes a minute
