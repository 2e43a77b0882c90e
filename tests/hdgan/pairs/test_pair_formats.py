"""What files are like that pairs are streamed into, and that they are streamed."""

from __future__ import annotations

import gc
import pickle
import tracemalloc
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from test_strips import drawn

from hdgan.labels import UNLABELLED, ClassList, LabelClass
from hdgan.pairs import Pair, formats, pyramid
from hdgan.pairs.formats import FORMATS, pair_format
from hdgan.pairs.pyramid import averaged, majority
from hdgan.pairs.strips import Strip
from tiling import open_slide
from tiling.errors import InputError

CLASSES = ClassList((LabelClass("a", (10, 20, 30)), LabelClass("b", (40, 50, 60)), LabelClass("c", (70, 80, 90))))


def cut_small(monkeypatch: pytest.MonkeyPatch, edge: int) -> None:
    """Let tiles and chunks have another edge than 512 px."""
    monkeypatch.setattr(formats, "_CHUNK", edge)
    monkeypatch.setattr(formats, "_ROWS", 10)
    monkeypatch.setattr(formats, "TILE", edge)
    monkeypatch.setattr(pyramid, "TILE", edge)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pairs of 128 px are as those of 2048 px are otherwise."""
    cut_small(monkeypatch, 32)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("given", [5, 32, 128])
def test_pairs_of_several_chunks_are_read_as_they_were_given(
    small_tiles: None, format: str, given: int, tmp_path: Path
) -> None:
    target = pair_format(format, tmp_path, CLASSES)
    for n in (1, 3):  # room grows
        target.prepare(n, 128)
    pair = drawn(128)
    target.write(1, 128, (pair.rows(y, y + given) for y in range(0, 128, given)))
    read = Pair(1, 0, 0.0, target, 1)
    assert read.size == 128
    np.testing.assert_array_equal(read.image(), pair.image)
    np.testing.assert_array_equal(read.mask(), pair.mask)
    np.testing.assert_array_equal(read.uncertainty(), pair.uncertainty)
    rows = np.s_[29:70, 31:33]
    window = {"y": 29, "x": 31, "h": 41, "w": 2}
    np.testing.assert_array_equal(read.image(**window), pair.image[rows])
    np.testing.assert_array_equal(read.mask(**window), pair.mask[rows])
    np.testing.assert_array_equal(read.uncertainty(**window), pair.uncertainty[rows])
    np.testing.assert_array_equal(read.mask(y=120), pair.mask[120:])
    with pytest.raises(InputError, match="window y=0 x=100 h=128 w=29 is not within the image of 128 x 128 px"):
        read.mask(x=100, w=29)


@pytest.mark.parametrize("format", ["zarr", "ome-tiff"])
def test_of_a_window_no_more_is_read_than_the_tiles_that_it_touches(
    small_tiles: None, format: str, tmp_path: Path
) -> None:
    target = pair_format(format, tmp_path, CLASSES)
    target.prepare(1, 128)
    target.write(0, 128, [drawn(128)])
    pair = Pair(0, 0, 0.0, target, 0)
    if format == "zarr":  # the shard of the lowest rows of chunks
        (tmp_path / "pairs.zarr" / "image" / "c" / "0" / "3" / "0" / "0").write_bytes(b"no shard")
    else:
        path = tmp_path / "images" / "000000.ome.tiff"
        with tifffile.TiffFile(path) as file:
            last = file.pages[0].dataoffsets[-1]
        with path.open("r+b") as file:
            file.seek(last)
            file.write(bytes(16))
    np.testing.assert_array_equal(pair.image(h=32), drawn(128).image[:32])
    with pytest.raises((ValueError, zlib.error, RuntimeError)):
        pair.image(y=96)


def test_the_resolution_is_in_the_headers_of_ome_tiffs_and_in_the_attributes_of_zarr(tmp_path: Path) -> None:
    for format, mpp in (("ome-tiff", 0.5), ("zarr", 0.5), ("zarr", None)):
        target = pair_format(format, tmp_path / f"{format} {mpp}", CLASSES, mpp)
        target.prepare(1, 64)
        target.write(0, 64, [drawn(64)])
    with open_slide(tmp_path / "ome-tiff 0.5" / "images" / "000000.ome.tiff") as slide:
        assert slide.mpp == 0.5
    for kind in ("masks", "uncertainty"):
        with tifffile.TiffFile(tmp_path / "ome-tiff 0.5" / kind / "000000.ome.tiff") as file:
            assert 'PhysicalSizeX="0.5" PhysicalSizeXUnit="µm"' in file.ome_metadata
    assert zarr.open_group(tmp_path / "zarr 0.5" / "pairs.zarr", mode="r").attrs["mpp"] == 0.5
    assert "mpp" not in zarr.open_group(tmp_path / "zarr None" / "pairs.zarr", mode="r").attrs


def test_where_a_store_holds_no_pair_nothing_looks_like_data(tmp_path: Path) -> None:
    target = pair_format("zarr", tmp_path, CLASSES)
    target.prepare(3, 64)
    target.write(1, 64, [drawn(64)])
    target.settle(np.array([-1, 1]), np.array([-1, 11]))
    group = zarr.open_group(tmp_path / "pairs.zarr", mode="r")
    assert (group["index"][:].tolist(), group["seed"][:].tolist()) == ([-1, 1, -1], [-1, 11, -1])
    assert (group["mask"][::2] == UNLABELLED).all()
    names = {name: group[name].metadata.dimension_names for name in group.array_keys()}
    assert names == {
        "image": ("pair", "y", "x", "channel"),
        "mask": ("pair", "y", "x"),
        "uncertainty": ("pair", "y", "x"),
        "index": ("pair",),
        "seed": ("pair",),
    }


def test_open_arrays_are_not_sent_to_workers(tmp_path: Path) -> None:
    target = pair_format("zarr", tmp_path, CLASSES, 0.5)
    before = pickle.dumps(target)
    target.prepare(1, 64)
    target.write(0, 64, [drawn(64)])
    np.testing.assert_array_equal(Pair(0, 0, 0.0, target, 0).mask(), drawn(64).mask)
    assert pickle.dumps(target) == before
    np.testing.assert_array_equal(Pair(0, 0, 0.0, pickle.loads(before), 0).mask(), drawn(64).mask)


def test_a_large_ome_tiff_is_tiled_with_levels_down_to_one_tile(small_tiles: None, tmp_path: Path) -> None:
    pair = drawn(128)
    pair_format("ome-tiff", tmp_path, CLASSES).write(0, 128, [pair])
    whole = {"images": (pair.image, averaged), "masks": (pair.mask, majority)}
    whole["uncertainty"] = (pair.uncertainty.astype(np.float32), averaged)
    for kind, (expected, halve) in whole.items():
        with tifffile.TiffFile(tmp_path / kind / "000000.ome.tiff") as file:
            assert file.is_ome
            assert len(file.series) == 1
            levels = file.series[0].levels
            assert [level.shape[0] for level in levels] == [128, 64, 32]
            assert {level.keyframe.tilewidth for level in levels} == {32}
            assert {level.keyframe.compression for level in levels} == {tifffile.COMPRESSION.ADOBE_DEFLATE}
            for level in levels:
                np.testing.assert_array_equal(level.asarray(), expected)
                expected = halve(expected)


def test_a_coarser_level_is_the_mean_or_the_class_of_most_pixels() -> None:
    image = np.array([[[0, 10], [1, 20]], [[1, 30], [1, 41]]], np.uint8)
    np.testing.assert_array_equal(averaged(image), [[[1, 25]]])
    assert averaged(np.array([[0, 1], [2, 4]], np.float32)) == np.float32(1.75)
    for quarters, most in (("1222", 2), ("2122", 2), ("2212", 2), ("2221", 2), ("1233", 3), ("3123", 3), ("1322", 2)):
        assert majority(np.array([int(q) for q in quarters], np.uint8).reshape(2, 2)) == most
    for quarters in ("1122", "1212", "1221", "1234"):
        assert majority(np.array([int(q) for q in quarters], np.uint8).reshape(2, 2)) == 1


def test_a_large_pair_in_zarr_is_chunks_in_a_shard_for_every_row_of_them(small_tiles: None, tmp_path: Path) -> None:
    target = pair_format("zarr", tmp_path, CLASSES)
    target.prepare(2, 128)
    pair = drawn(128)
    target.write(0, 128, [pair])
    image = zarr.open_array(tmp_path / "pairs.zarr" / "image", mode="r")
    assert (image.chunks, image.shards) == ((1, 32, 32, 3), (1, 32, 128, 3))
    shards = [path for path in (tmp_path / "pairs.zarr" / "image" / "c").rglob("*") if path.is_file()]
    assert len(shards) == 4


def test_pairs_go_on_in_arrays_of_other_chunks(tmp_path: Path) -> None:
    for name, dtype, colours in (("image", "uint8", (3,)), ("mask", "uint8", ()), ("uncertainty", "float16", ())):
        zarr.create_array(
            tmp_path / "pairs.zarr" / name, shape=(1, 64, 64, *colours), chunks=(1, 48, 48, *colours), dtype=dtype
        )
    target = pair_format("zarr", tmp_path, CLASSES)
    target.prepare(2, 64)
    pair = drawn(64)
    target.write(1, 64, [pair.rows(0, 20), pair.rows(20)])
    np.testing.assert_array_equal(Pair(1, 0, 0.0, target, 1).image(), pair.image)


@pytest.mark.parametrize("format", FORMATS)
def test_memory_for_writing_grows_with_a_row_of_windows_not_with_the_image(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_small(monkeypatch, 64)

    def strips(size: int) -> Iterator[Strip]:
        window = drawn(64)
        for _ in range(0, size, 64):
            yield Strip(*(np.concatenate([array] * (size // 64), axis=1) for array in window.arrays))

    def peak(size: int) -> int:
        target = pair_format(format, tmp_path / str(size), CLASSES)
        target.prepare(1, size)
        gc.collect()
        tracemalloc.start()
        target.write(0, size, strips(size))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(64)  # what is loaded and kept once
    small, large = peak(128), peak(512)
    assert large < 5 * small  # 4 times as wide, 16 times as large
    assert large < 6 * 512**2  # bytes of a pair
