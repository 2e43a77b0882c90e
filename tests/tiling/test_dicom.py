from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from dicom_slides import CT, WHOLE_SLIDE, dicom_level, element, header

import tiling.companions
from tiling import open_slide, tile_archive
from tiling.companions import companions_of, size_of
from tiling.dicom import DicomHeader, read_header
from tiling.discovery import slides_in
from tiling.fingerprint import slide_fingerprint
from tiling.info import describe, describe_archive

FAILING = "/proc/self/mem"  # reading its beginning is an EIO
LEVEL = {"series": "1.2.3", "kind": "VOLUME", "columns": 70_000, "rows": 50_000, "uid": "1.2.3.4"}


@pytest.fixture
def case(tmp_path, stained):
    """A folder of two slides, the first with two levels and a label, and of files that are no slides."""
    folder, full = tmp_path / "archive" / "case", stained(600, 500)
    dicom_level(folder / "3.dcm", full)
    dicom_level(folder / "1.dcm", full[::2, ::2])
    dicom_level(folder / "2.dcm", full[:200, :200], kind="LABEL")
    dicom_level(folder / "0.DCM", full[:200, :200], kind="OVERVIEW")
    dicom_level(folder / "5.dcm", full[:, ::-1], series="1.2.3.5")
    dicom_level(folder / "4.dcm", full[:20, :20], series="1.2.3.5", kind="THUMBNAIL")
    (folder / "ct.dcm").write_bytes(header(**LEVEL, sop_class=CT))
    return folder


def test_a_header_tells_the_series_and_the_size_of_its_level(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(header(**LEVEL) + element(0x52009229, "SQ", b""))
    assert read_header(path) == DicomHeader(is_level=True, series="1.2.3", columns=70_000)
    path.write_bytes(header(**LEVEL | {"kind": "LABEL"}) + element(0x52009229, "SQ", b""))
    assert not read_header(path).is_level


def test_damaged_headers_are_none_or_read_and_never_an_error(tmp_path):
    path, whole = tmp_path / "a.dcm", header(**LEVEL) + element(0x52009229, "SQ", b"")
    for length in range(0, len(whole) - 24, 3):
        path.write_bytes(whole[:length])
        assert read_header(path) is None
    random, unread = np.random.default_rng(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        for at in random.integers(128, len(whole), 4):
            damaged[at] = random.integers(256)
        path.write_bytes(damaged)
        unread += read_header(path) is None
    assert unread > 50
    path.write_bytes(whole[:132] + element(0x00020000, "UL", 0) * 70_000)
    assert read_header(path) is None


def test_each_series_is_one_slide_named_by_the_file_of_its_finest_level(case):
    (case / "torn.dcm").write_bytes((case / "3.dcm").read_bytes()[:300])
    (case / "gone.dcm").symlink_to(case / "nothing.dcm")
    found = sorted(path.name for path in slides_in(case.parent, case / "out"))
    assert found == ["3.dcm", "5.dcm", "gone.dcm", "torn.dcm"]


def test_the_other_levels_belong_to_a_slide_and_its_labels_may_go(case):
    assert companions_of(case / "3.dcm") == [case / "1.dcm"]
    assert companions_of(case / "5.dcm") == companions_of(case / "ct.dcm") == []
    sizes = sum((case / name).stat().st_size for name in ("1.dcm", "3.dcm"))
    assert describe(case / "3.dcm")["bytes"] == sizes
    marks = [slide_fingerprint(case / "3.dcm")]
    for name in ("2.dcm", "0.DCM", "5.dcm"):
        (case / name).unlink()
        assert slide_fingerprint(case / "3.dcm") == marks[0]
    with (case / "1.dcm").open("ab") as file:
        file.write(bytes(8))
    marks.append(slide_fingerprint(case / "3.dcm"))
    (case / "1.dcm").unlink()
    marks.append(slide_fingerprint(case / "3.dcm"))
    assert len(set(marks)) == 3


@pytest.mark.slow
def test_a_file_that_cannot_be_read_stops_no_slide_beside_it(case, tmp_path):
    marks = [slide_fingerprint(case / name) for name in ("3.dcm", "5.dcm")]
    (case / "ill.dcm").symlink_to(FAILING)
    assert [slide_fingerprint(case / name) for name in ("3.dcm", "5.dcm")] == marks
    assert describe(case / "3.dcm")["bytes"] == sum((case / name).stat().st_size for name in ("1.dcm", "3.dcm"))
    facts = describe_archive(case)
    assert (facts["slides"], len(facts["would_fail"])) == (3, 1)
    tiles = tile_archive(case, tmp_path / "tiles", size=128, mpp=1.0, workers=0)
    assert tiles.slides == ["3.dcm", "5.dcm"]
    rows = pq.read_table(tmp_path / "tiles" / "ledger.parquet").to_pylist()
    assert [(row["slide"], row["status"]) for row in rows] == [
        ("3.dcm", "done"), ("5.dcm", "done"), ("ill.dcm", "failed")
    ]  # fmt: skip


@pytest.mark.parametrize("suffix", ["dcm", "vms", "mrxs"])
def test_a_slide_that_cannot_be_read_has_a_size_all_the_same(tmp_path, monkeypatch, suffix):
    slide = tmp_path / f"a.{suffix}"
    slide.write_bytes(bytes(10))
    slide.with_suffix("").mkdir()

    def refuse(*_):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    for name in ("open", "read_bytes", "iterdir"):
        monkeypatch.setattr(Path, name, refuse)
    with pytest.raises(PermissionError):
        companions_of(slide)
    assert size_of(slide) == 10


@pytest.mark.parametrize("ill", ["a disk that fails", "a torn file"])
def test_no_coarser_level_is_a_slide_while_the_finest_cannot_be_read(tmp_path, stained, ill):
    full = stained(600, 500)
    dicom_level(tmp_path / "1.dcm", full[::2, ::2], made="RESAMPLED")
    dicom_level(tmp_path / "2.dcm", full[::4, ::4], made="RESAMPLED")
    dicom_level(tmp_path / "3.dcm", full)
    dicom_level(tmp_path / "other.dcm", full, series="1.2.3.5")
    assert sorted(path.name for path in slides_in(tmp_path)) == ["3.dcm", "other.dcm"]
    head = (tmp_path / "3.dcm").read_bytes()[:200]
    (tmp_path / "3.dcm").unlink()
    assert sorted(path.name for path in slides_in(tmp_path)) == ["1.dcm", "other.dcm"]
    if ill == "a torn file":
        (tmp_path / "3.dcm").write_bytes(head)
    else:
        (tmp_path / "3.dcm").symlink_to(FAILING)
    assert sorted(path.name for path in slides_in(tmp_path)) == ["3.dcm", "other.dcm"]


def test_each_header_of_a_folder_is_read_once_until_its_file_changes(tmp_path, stained, monkeypatch):
    for number in range(6):
        dicom_level(tmp_path / f"{number}.dcm", stained(64, 64), series=f"1.2.{number}")
    dicom_level(tmp_path / "coarse.dcm", stained(32, 32), series="1.2.5")
    read = []
    monkeypatch.setattr(tiling.companions, "read_header", lambda path: (read.append(path), read_header(path))[1])
    for number in range(6):
        assert companions_of(tmp_path / f"{number}.dcm") == ([tmp_path / "coarse.dcm"] if number == 5 else [])
    assert len(read) == 6 + 7
    dicom_level(tmp_path / "coarse.dcm", stained(40, 40), series="1.2.4")
    assert companions_of(tmp_path / "5.dcm") == []
    assert companions_of(tmp_path / "4.dcm") == [tmp_path / "coarse.dcm"]


def test_a_folder_of_dicom_files_is_tiled(case, tmp_path):
    tiles = tile_archive(case.parent, tmp_path / "tiles", size=128, mpp=1.0)
    assert tiles.slides == ["case/3.dcm", "case/5.dcm"]
    assert {tile.level for tile in tiles if tile.slide == "case/3.dcm"} == {1}
    tile = tiles[0]
    with open_slide(case / "3.dcm") as slide:
        assert (slide.properties["openslide.vendor"], slide.mpp, len(slide.levels)) == ("dicom", 0.5, 2)
        np.testing.assert_array_equal(tiles.read(0), slide.read(x=tile.x, y=tile.y, width=128, height=128, level=1))


def test_a_whole_slide_file_in_another_coding_is_left_to_the_ledger(tmp_path):
    path = tmp_path / "implicit.dcm"
    content = header(**LEVEL)
    path.write_bytes(content[: content.index(b"\x08\0\x08\0CS")] + b"\x08\0\x08\0\x04\0\0\0ABCD" * 9)
    assert WHOLE_SLIDE.encode() in path.read_bytes()
    assert list(slides_in(tmp_path, tmp_path / "out")) == [path]
