from __future__ import annotations

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from damaged import CHANGES, jpeg_slide, spoil

import tiling.job
from tiling import InputError, TileSet, tile_archive
from tiling.files import read_json
from tiling.fingerprint import slide_fingerprint
from tiling.parts import Parts


def ledger(out):
    return {row["slide"]: row for row in pq.read_table(out / "ledger.parquet").to_pylist()}


@pytest.fixture
def archive(tmp_path, stained):
    """Three slides, one of which has a corrupt cell in its tissue, row 3 column 4."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for number, name in enumerate(["a.svs", "b 🔬.svs", "corrupt.svs"]):
        jpeg_slide(folder / name, [stained(1024, 768, number)])
    spoil(folder / "corrupt.svs", 3, 4, CHANGES["all zeros"])
    return folder


CELL = {"level": 0, "row": 3, "column": 4, "x": 512, "y": 384, "width": 128, "height": 128}


def test_a_corrupt_cell_is_told_with_its_place_and_its_tile_kept_with_those_pixels_masked(archive, tmp_path):
    tiles = tile_archive(archive, tmp_path / "tiles", size=256)
    row = ledger(tmp_path / "tiles")["corrupt.svs"]
    assert row["status"] == "done"
    assert row["corrupt_cells"] == [CELL]
    assert ledger(tmp_path / "tiles")["a.svs"]["corrupt_cells"] == []
    (hurt,) = [i for i, tile in enumerate(tiles) if tile.corrupt]
    assert (tiles[hurt].slide, tiles[hurt].x, tiles[hurt].y, tiles[hurt].corrupt) == ("corrupt.svs", 512, 256, 0.25)
    expected = np.ones((256, 256), bool)
    expected[128:, :128] = False
    np.testing.assert_array_equal(tiles.valid(hurt), expected)
    assert (tiles.read(hurt)[~expected] == 255).all()
    assert tiles.valid(0).all()
    assert 0 < tiles[hurt].blur < 1


def test_a_tile_with_a_corrupt_cell_is_dropped_where_that_is_asked_for(archive, tmp_path):
    kept = tile_archive(archive, tmp_path / "kept", size=256)
    dropped = tile_archive(archive, tmp_path / "dropped", size=256, corrupt="drop")
    assert len(dropped) == len(kept) - 1
    row = ledger(tmp_path / "dropped")["corrupt.svs"]
    assert row["damaged"] == 1
    assert row["candidates"] == row["tiles"] + row["below_tissue"] + row["damaged"]
    assert row["corrupt_cells"] == [CELL]
    assert not any(tile.corrupt for tile in dropped)


def test_a_slide_whose_every_tile_is_corrupt_is_empty_with_the_reason(archive, tmp_path):
    for row in range(6):
        for column in range(8):
            spoil(archive / "corrupt.svs", row, column, CHANGES["all zeros"]) if (row, column) != (0, 0) else None
    tile_archive(archive, tmp_path / "tiles", size=256, corrupt="drop", tissue=0)
    row = ledger(tmp_path / "tiles")["corrupt.svs"]
    assert (row["status"], row["tiles"]) == ("empty", 0)
    assert row["reason"].startswith("all 12 tiles with tissue have pixels that cannot be decoded")


@pytest.fixture
def copied_anew(archive, stained):
    """The slide with a corrupt cell, one that its fingerprint does not look at; and its content when it was whole."""
    slide = jpeg_slide(archive / "corrupt.svs", [stained(1024, 768, 2)])
    content, mark = slide.read_bytes(), slide_fingerprint(slide)
    spoil(slide, 3, 3, CHANGES["all zeros"])
    assert slide_fingerprint(slide) == mark
    return slide, content


@pytest.mark.parametrize("materialise", [None, "cells"])
def test_a_slide_that_was_copied_anew_is_looked_at_again_though_its_fingerprint_is_the_same(
    archive, tmp_path, copied_anew, materialise
):
    out, (slide, content) = tmp_path / "tiles", copied_anew
    tile_archive(archive, out, size=256, materialise=materialise)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.parquet")}
    slide.write_bytes(content)
    tiles = tile_archive(archive, out, size=256, materialise=materialise)
    assert ledger(out)["corrupt.svs"]["corrupt_cells"] == []
    assert not any(tile.corrupt for tile in tiles)
    after = {path.name: path.stat().st_mtime_ns for path in (out / "parts").glob("*.parquet")}
    assert len(before.items() & after.items()) == 2
    whole = tile_archive(archive, tmp_path / "whole", size=256)
    for i in range(len(whole)):
        np.testing.assert_array_equal(tiles.read(i), whole.read(i))


def test_a_slide_that_was_copied_anew_is_read_from_there_and_not_from_a_copy_that_is_missing(
    archive, tmp_path, copied_anew
):
    out, (slide, content) = tmp_path / "tiles", copied_anew
    missing = shutil.copy(slide, archive / "a copy.svs")
    tile_archive(archive, out, size=256)
    missing.unlink()
    slide.write_bytes(content)
    tiles = tile_archive(archive, out, size=256, missing="keep")
    assert {row["status"] for row in ledger(out).values()} == {"done"}
    assert not any(tile.corrupt for tile in tiles)
    assert [tile.slide for tile in tiles].count("a copy.svs") == [tile.slide for tile in tiles].count("corrupt.svs") > 0


def test_a_slide_with_corrupt_cells_that_cannot_be_read_now_keeps_its_tiles(archive, tmp_path):
    out = tmp_path / "tiles"
    before = tile_archive(archive, out, size=256, materialise="cells")
    (archive / "corrupt.svs").unlink()
    (archive / "corrupt.svs").symlink_to("/gone/corrupt.svs")
    again = tile_archive(archive, out, size=256, materialise="cells")
    assert again.table().equals(before.table())
    assert all(again.read(i).shape == (256, 256, 3) for i in range(len(again)))


def test_a_slide_that_was_cut_off_gives_what_is_left_of_it_and_tells_every_cell_that_is_lost(archive, tmp_path):
    content = (archive / "a.svs").read_bytes()
    (archive / "a.svs").write_bytes(content[: len(content) // 2])
    tiles = tile_archive(archive, tmp_path / "tiles", size=256)
    row = ledger(tmp_path / "tiles")["a.svs"]
    assert (row["status"], row["backend"]) == ("done", "plain-tiff")
    lost = {(cell["row"], cell["column"]) for cell in row["corrupt_cells"]}
    assert len(lost) > 15
    assert {(5, column) for column in range(8)} <= lost
    assert 0 < len([tile for tile in tiles if tile.slide == "a.svs"]) < len([t for t in tiles if t.slide == "b 🔬.svs"])


def test_without_inspection_nothing_is_read_and_a_corrupt_cell_is_met_later(archive, tmp_path):
    tiles = tile_archive(archive, tmp_path / "tiles", size=256, inspect=False)
    assert {(tile.blur, tile.corrupt) for tile in tiles} == {(None, None)}
    (hurt,) = [i for i, tile in enumerate(tiles) if (tile.slide, tile.x, tile.y) == ("corrupt.svs", 512, 256)]
    with pytest.raises(InputError, match=r"cannot read .* cannot decode the cell at row 3 column 4"):
        tiles.read(hurt)


@pytest.mark.parametrize("kind", ["cells", "pixels"])
@pytest.mark.parametrize("corrupt", ["mask", "drop"])
def test_materialised_tiles_are_those_of_the_slides_and_need_them_no_more(archive, tmp_path, kind, corrupt):
    plain = tile_archive(archive, tmp_path / "plain", size=256, corrupt=corrupt)
    expected = [plain.read(i) for i in range(len(plain))]
    tiles = tile_archive(archive, tmp_path / "tiles", size=256, corrupt=corrupt, materialise=kind)
    assert {row["stored"] for row in ledger(tmp_path / "tiles").values()} == {kind}
    (tmp_path / "archive").rename(tmp_path / "elsewhere")
    assert tiles.table().equals(plain.table())
    for i, pixels in enumerate(expected):
        np.testing.assert_array_equal(tiles.read(i), pixels)
        np.testing.assert_array_equal(tiles.valid(i), plain.valid(i))


def test_slides_that_go_take_their_stored_tiles_with_them(archive, tmp_path):
    out = tmp_path / "tiles"
    tile_archive(archive, out, size=256, materialise="cells")
    before = {path.name for path in (out / "cells.zarr").iterdir()}
    (archive / "a.svs").unlink()
    tile_archive(archive, out, size=256, materialise="cells", missing="drop")
    assert len({path.name for path in (out / "cells.zarr").iterdir()}) == len(before) - 1
    assert sorted(path.name for path in (out / "pictures").iterdir()) == ["b 🔬.svs.jpg", "corrupt.svs.jpg"]


def test_a_slide_that_several_tasks_share_gives_what_one_task_gives(archive, tmp_path, monkeypatch):
    whole = tile_archive(archive, tmp_path / "whole", size=128, materialise="cells", workers=0)
    monkeypatch.setattr(tiling.job, "_PIXELS_PER_TASK", 5 * 128 * 128)
    shared = tile_archive(archive, tmp_path / "shared", size=128, materialise="cells", workers=0)
    assert len(whole) > 3 * 5 * 3
    assert shared.table().equals(whole.table())
    for name in ("ledger.parquet", "index.html", "pictures/corrupt.svs.jpg"):
        assert (tmp_path / "shared" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert all(path.is_file() for path in (tmp_path / "shared" / "parts").iterdir())
    np.testing.assert_array_equal(shared.read(7), whole.read(7))


def test_a_shared_slide_goes_on_with_the_stretches_that_it_lacks(archive, tmp_path, monkeypatch, stopped):
    monkeypatch.setattr(tiling.job, "_PIXELS_PER_TASK", 5 * 128 * 128)
    out, read, inspect = tmp_path / "tiles", [], tiling.job._inspect

    def noted(slide, job, *arguments):
        read.append((job.key, arguments[-1]))
        return inspect(slide, job, *arguments)

    with stopped(Parts, "add", after=4):
        tile_archive(archive, out, size=128, workers=0)
    kept = {(path.parent.name, int(path.stem)) for path in (out / "parts").glob("*/*.json")}
    assert len(kept) == 4
    monkeypatch.setattr(tiling.job, "_inspect", noted)
    tiles = tile_archive(archive, out, size=128, workers=0)
    assert not kept & set(read)
    assert tiles.table().equals(tile_archive(archive, tmp_path / "whole", size=128).table())


def test_pictures_and_a_page_show_every_slide(archive, tmp_path):
    (archive / "broken <b>.svs").write_bytes(b"no slide")
    tile_archive(archive, tmp_path / "tiles", size=256)
    page = (tmp_path / "tiles" / "index.html").read_text()
    assert "broken &lt;b&gt;.svs" in page
    assert page.index("broken &lt;b&gt;.svs") < page.index("corrupt.svs") < page.index(">a.svs")
    assert sorted(path.name for path in (tmp_path / "tiles" / "pictures").iterdir()) == [
        "a.svs.jpg",
        "b 🔬.svs.jpg",
        "corrupt.svs.jpg",
    ]
    tile_archive(archive, tmp_path / "without", size=256, pictures=False)
    assert not (tmp_path / "without" / "pictures").exists()


def test_a_failed_slide_is_told_with_its_error_and_a_traceback_without_places(archive, tmp_path):
    (archive / "broken.svs").write_bytes(b"no slide")
    tile_archive(archive, tmp_path / "tiles", size=256)
    row = ledger(tmp_path / "tiles")["broken.svs"]
    assert (row["status"], row["error"]) == ("failed", "InputError")
    assert 'File "tiling/slide.py", line ' in row["traceback"]
    assert str(tmp_path) not in row["traceback"] + row["reason"]


def test_anonymised_tiles_are_read_where_their_names_are_and_tell_nobody(archive, tmp_path):
    (archive / "Ada Lovelace.svs").write_bytes(b"no slide")
    out = tmp_path / "tiles"
    tiles = tile_archive(archive, out, size=256, patient="^(.)", anonymise=True)
    plain = tile_archive(archive, tmp_path / "plain", size=256, patient="^(.)")
    assert len(tiles) == len(plain)
    means = read_json(out / "names.json")["slides"]
    first = [(tile.slide, tile.x, tile.y) for tile in plain].index((means[tiles[0].slide], tiles[0].x, tiles[0].y))
    np.testing.assert_array_equal(tiles.read(0), plain.read(first))
    assert all("/" not in tile.slide and tile.slide.endswith(".svs") for tile in tiles)
    for path in [path for path in out.rglob("*") if path.is_file() and path.name != "names.json"]:
        for told in ("Ada", "Lovelace", "corrupt", "🔬", str(archive)):
            assert told == "corrupt" or told.encode() not in path.read_bytes(), path
            assert told not in path.name
    assert [tile.slide for tile in tiles] == sorted(tile.slide for tile in tiles)
    assert sorted(read_json(out / "names.json")["patients"].values()) == ["A", "a", "b", "c"]
    assert tile_archive(archive, out, size=256, patient="^(.)", anonymise=True).table().equals(tiles.table())
    (out / "names.json").rename(tmp_path / "names.json")
    with pytest.raises(InputError, match=r"tiles is anonymised, and names.json, .* is not there"):
        TileSet.open(out).read(0)
