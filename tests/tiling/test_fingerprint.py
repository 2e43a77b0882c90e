from __future__ import annotations

import os

import numpy as np
import pytest
import tifffile

from tiling import InputError
from tiling.fingerprint import slide_fingerprint


def put(path, offset, data):
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_tiffs_fingerprint_notices_its_cells_directories_and_size_but_no_touch(tmp_path, stained, bigtiff):
    path = tmp_path / "slide.svs"
    with tifffile.TiffWriter(path, bigtiff=bigtiff) as file:
        for index, edge in enumerate((1024, 512)):
            options = {"subifds": 1} if index == 0 else {"subfiletype": 1}
            file.write(stained(edge, edge), tile=(64, 64), photometric="rgb", metadata=None, **options)
        file.write(stained(200, 150), photometric="rgb", metadata=None, software="one")
    with tifffile.TiffFile(path) as file:
        cell, description = file.pages[0].dataoffsets[-1], file.pages[1].tags["Software"].valueoffset
        below = file.pages[0].pages[0].tags["TileWidth"].offset
    found = [slide_fingerprint(path)]
    os.utime(path, (1, 1))
    assert slide_fingerprint(path) == found[0]
    assert path.stat().st_size > 3 << 20
    for offset in (cell, description, below):
        put(path, offset, b"\x07")
        found.append(slide_fingerprint(path))
    with path.open("ab") as file:
        file.write(b"\0")
    found.append(slide_fingerprint(path))
    assert len(set(found)) == 5
    assert {len(one) for one in found} == {32}


@pytest.mark.parametrize("head", [b"", b"II*\0\xff\xff\xff\x0f", b"II*\0\x08\0\0\0\xff\xff"])
def test_other_files_and_broken_tiffs_have_one_of_size_ends_and_blocks_between(tmp_path, head):
    path = tmp_path / "slide.svs"
    content = head + np.random.default_rng(0).bytes(300_000)
    found = set()
    for at in (len(head), 140_000, len(content) - 1):
        path.write_bytes(content[:at] + b"x" + content[at + 1 :])
        found.add(slide_fingerprint(path))
    for variant in (content, content + b"x"):
        path.write_bytes(variant)
        found.add(slide_fingerprint(path))
    assert len(found) == 5


def test_what_cannot_be_read_has_no_fingerprint(tmp_path):
    with pytest.raises(InputError, match=r"no such slide: .*absent.svs"):
        slide_fingerprint(tmp_path / "absent.svs")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot read .*slide.svs: Not a directory"):
        slide_fingerprint(tmp_path / "file" / "slide.svs")


@pytest.mark.parametrize(("index", "part"), [("slide.mrxs", "slide/Data0000.dat"), ("slide.vms", "slide_(0,0).jpg")])
def test_files_that_belong_to_a_slide_are_part_of_its_fingerprint(tmp_path, index, part):
    (tmp_path / "slide").mkdir()
    (tmp_path / index).write_bytes(b"[Virtual Microscope Specimen]\nImageFile=slide_(0,0).jpg\n")
    found = []
    for content in (b"1" * 9000, b"2" + b"1" * 8999, b"1" * 8999 + b"2", b"1" * 9001):
        (tmp_path / part).write_bytes(content)
        found.append(slide_fingerprint(tmp_path / index))
    (tmp_path / part).unlink()
    found.append(slide_fingerprint(tmp_path / index))
    assert len(set(found)) == 5


def test_an_ome_zarrs_documents_and_chunks_count_and_its_labels_do_not(tmp_path):
    folder = tmp_path / "slide.ome.zarr"
    found = []
    for name, content in (
        ("zarr.json", b"{}"),
        ("0/zarr.json", b'{"shape": [1]}'),
        ("0/c/0/0", b"chunk"),
        ("0/c/0/0", b"chunj"),
        ("0/c/0/0", b"chunks"),
        ("0/c/0/1", b"chunk"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        found.append(slide_fingerprint(folder))
    assert len(set(found)) == 6
    (folder / "labels").mkdir()
    (folder / "labels" / "zarr.json").write_bytes(b"{}")
    assert slide_fingerprint(folder) == found[-1]


def test_every_real_slide_has_its_own(data):
    names = ["cmu-1-small-region.svs", "tcga-cr-7395-01a-01-ts1.svs", "fluorescence-dapi.ndpi", "boxes.tiff"]
    names += ["small.svs", "unreadable.svs", "broken.svs", "unopenable.tiff"]
    assert len({slide_fingerprint(data / "slides" / name) for name in names}) == len(names)
