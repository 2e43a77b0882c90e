"""What it costs to keep tiles: copying a slide's cells, against decoding and compressing them again.

Imported by `benchmarks/tiling.py`, which prints what is measured here.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openslide
import zarr
from zarr.registry import register_codec

from tiling import open_slide
from tiling.choices import Materialise
from tiling.grid import Grid
from tiling.store import STORE_NAMES, StoredTiles, begin_array, finish_store, plan_array, write_tiles
from tiling.store.codec import NAME, CellCodec

TILE, CHUNK, CROP = 4096, 512, 256
register_codec(NAME, CellCodec)


def measure(path: Path, repeats: int) -> dict[str, Any]:
    """Store tiles both ways, in turns; read them back; medians of CPU seconds, bytes, and how they compare."""
    with tempfile.TemporaryDirectory() as folder, open_slide(path) as slide:
        across = (slide.dimensions[0] - TILE) // CHUNK
        draws = np.random.default_rng(0)
        x, y = (draws.choice(across, repeats, replace=False) * CHUNK for _ in range(2))
        grid = Grid(x.astype(np.int64), y.astype(np.int64), TILE)
        store = Path(folder) / STORE_NAMES[Materialise.CELLS]
        plan = plan_array(slide, grid, level=0, kind=Materialise.CELLS)
        begin_array(store, "a", plan, fingerprint="")
        shards = {"shards": (1, TILE, TILE, 3), "chunks": (1, CHUNK, CHUNK, 3), "dtype": "uint8"}
        pixels = zarr.create_array(Path(folder) / "pixels", shape=(repeats, TILE, TILE, 3), **shards)
        seconds: dict[str, list[float]] = {}

        def decode_and_compress(i: int) -> None:
            with openslide.OpenSlide(path) as handle:
                pixels[i] = np.asarray(handle.read_region((int(x[i]), int(y[i])), 0, (TILE, TILE)))[..., :3]

        ways: dict[str, Callable[[int], Any]] = {
            "copying the cells": lambda i: write_tiles(store, "a", plan, slide, start=i, stop=i + 1),
            "OpenSlide, then zstd": decode_and_compress,
        }
        for i in range(repeats):
            for name, way in ways.items():
                seconds.setdefault(name, []).append(_cpu(way, i))
        finish_store(store, {"a.svs": "a"}, Materialise.CELLS)
        stored, array = StoredTiles.open(Path(folder)), zarr.open_array(store / "a", mode="r")
        assert stored is not None
        place = {"fingerprint": "", "size": TILE, "level": 0, "scale": 1.0}

        def tile(i: int) -> np.ndarray:
            return stored.read("a.svs", x=int(x[i]), y=int(y[i]), **place)

        reading: dict[str, Callable[[int], Any]] = {
            "reading a tile of cells": tile,
            "reading a tile of pixels": lambda i: pixels[i],
            f"reading {CROP} px of cells by zarr": lambda i: array[i, CROP : 2 * CROP, CROP : 2 * CROP],
        }
        for i in range(repeats):
            for name, way in reading.items():
                seconds.setdefault(name, []).append(_cpu(way, i))
        exact = all(np.array_equal(tile(i), pixels[i]) for i in range(repeats))
        sizes = {name: _bytes(Path(folder) / name) / repeats for name in (store.name, "pixels")}
    found: dict[str, Any] = {f"CPU s, {name}": statistics.median(each) for name, each in seconds.items()}
    copying, compressing = (statistics.median(seconds[name]) for name in ways)
    return found | {
        "CPU, times less": compressing / copying,
        "MB per tile, cells": sizes[store.name] / 1e6,
        "MB per tile, zstd": sizes["pixels"] / 1e6,
        "size, times less": sizes["pixels"] / sizes[store.name],
        "bit-exact": exact,
    }


def _cpu(way: Callable[[int], Any], i: int) -> float:
    began = time.process_time()
    way(i)
    return time.process_time() - began


def _bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
