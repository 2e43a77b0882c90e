from __future__ import annotations

import json

import pytest

from tiling.discovery import slides_in

IMAGE = {"multiscales": [{"datasets": [{"path": "0"}]}]}


def touch(place, *names):
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).touch()


def found(place, out=None):
    return sorted(path.relative_to(place).as_posix() for path in slides_in(place, out or place / "out"))


def documents(folder, attributes, *, version=3):
    folder.mkdir(parents=True)
    if version == 2:
        (folder / ".zgroup").write_text('{"zarr_format": 2}')
        (folder / ".zattrs").write_text(json.dumps(attributes))
    else:
        (folder / "zarr.json").write_text(json.dumps({"zarr_format": 3, "attributes": {"ome": attributes}}))


def test_slides_are_found_in_all_folders_but_hidden_ones_and_what_was_made_of_them(tmp_path):
    touch(tmp_path, "a.svs", "b/c.TIFF", "b/d.ome.btf", ".hidden.svs", ".cache/a.svs", "notes.txt", "b/.svs")
    touch(tmp_path, "out/a.svs", "study/study.toml", "study/a.png", "stage/stage.json", "stage/a.png")
    touch(tmp_path, "tiled/tiles/stage.json", "tiled/a.png", "marked/.not-slides", "marked/a.png")
    assert found(tmp_path) == ["a.svs", "b/c.TIFF", "b/d.ome.btf"]
    assert found(tmp_path / "b") == ["c.TIFF", "d.ome.btf"]
    assert list(slides_in(tmp_path / "notes.txt", tmp_path)) == [tmp_path / "notes.txt"]


def test_the_parts_of_slides_of_several_files_are_no_slides(tmp_path):
    touch(
        tmp_path,
        "x.mrxs",
        "x/Slidedat.ini",
        "x/Data0000.dat",
        "x/preview.jpg",
        "q.mrxs",
        "q/own.svs",
        "y/z.svs",
        "s.jpg",
        "s(1,0).jpg",
        "other.jpg",
    )
    (tmp_path / "s.vms").write_text("[Virtual Microscope Specimen]\nImageFile=s.jpg\nImageFile(1,0)=s(1,0).jpg\n")
    assert found(tmp_path) == ["other.jpg", "q.mrxs", "q/own.svs", "s.vms", "x.mrxs", "y/z.svs"]


@pytest.mark.parametrize("version", [2, 3])
def test_folders_that_end_in_zarr_are_slides_or_passed_over_and_never_searched(tmp_path, version):
    documents(tmp_path / "image.ome.zarr", IMAGE, version=version)
    documents(tmp_path / "b" / "series.zarr", {"bioformats2raw.layout": 3}, version=version)
    documents(tmp_path / "features.zarr", {"layers": []}, version=version)
    touch(tmp_path, "image.ome.zarr/0/a.png", "features.zarr/a.png", "bare.zarr/a.svs", ".h.zarr/a.svs")
    (tmp_path / "odd.zarr").mkdir()
    (tmp_path / "odd.zarr" / "zarr.json").write_text("[")
    assert found(tmp_path) == ["b/series.zarr", "image.ome.zarr"]
    assert found(tmp_path / "image.ome.zarr") == ["."]
    assert found(tmp_path / "features.zarr") == []


def test_links_to_folders_are_followed_and_no_folder_is_searched_twice(tmp_path):
    store, archive = tmp_path / "store", tmp_path / "archive"
    touch(store, "a/1.svs", "a/deep/2.svs", "b/3.svs", "x/Slidedat.ini", "x/preview.jpg", "z/out/4.png")
    documents(store / "image.zarr", IMAGE)
    touch(archive, "own/5.svs", "x.mrxs", "study/study.toml")
    for link, target in {
        "own/all": store / "a",
        "deep": store / "a" / "deep",
        "twice": store / "a",
        "b": store / "b",
        "alias": archive / "own",
        "loop": archive,
        "own/loop": archive / "own",
        "x": store / "x",
        "image.zarr": store / "image.zarr",
        ".hidden": store / "b",
        "to-study": archive / "study",
        "to-output": store / "z" / "out" / "tiles",
        "to-nothing": store / "nothing",
    }.items():
        (archive / link).symlink_to(target)
    (store / "a" / "back").symlink_to(archive)
    touch(store, "z/out/tiles/4.png")
    names = ["b/3.svs", "deep/2.svs", "image.zarr", "own/5.svs", "own/all/1.svs", "x.mrxs"]
    assert found(archive, store / "z" / "out") == names
    (tmp_path / "link").symlink_to(archive)
    assert found(tmp_path / "link", store / "z" / "out") == names


def test_an_index_that_cannot_be_read_hides_nothing(tmp_path):
    touch(tmp_path, "s.vms", "s.jpg")
    (tmp_path / "s.vms").chmod(0)
    assert found(tmp_path) == ["s.jpg", "s.vms"]
