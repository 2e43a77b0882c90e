"""What files are like that pairs are streamed into, and that they are streamed."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from test_strips import drawn

from hdgan.labels import ClassList, LabelClass
from hdgan.pairs import formats, pyramid
from hdgan.pairs.formats import FORMATS, pair_format
from hdgan.pairs.pyramid import averaged, majority
from hdgan.pairs.strips import Strip

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
    np.testing.assert_array_equal(target.image(1), pair.image)
    np.testing.assert_array_equal(target.mask(1), pair.mask)
    np.testing.assert_array_equal(target.uncertainty(1), pair.uncertainty)


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
    np.testing.assert_array_equal(target.image(1), pair.image)


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
