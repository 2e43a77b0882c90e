"""What a tile set costs its readers: `python benchmarks/tile_sets.py [--slides N] [--reads N] [--rows N] [--json]`.

Reading: tiles of 128 px of N slides of 1024 x 1024 px, from the slides and from their stored cells: slide by slide,
which opens each once; in random order, the first time in a process and again, by one thread, by four, by two processes.
Milliseconds of wall time per tile, and how many times those of the first way.

Holding: a manifest of N rows on a slide for every 200 of them: opening it, its pickle, and memory of a new process.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import pickle
import platform
import sys
import tempfile
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
# instead of the folder of this file, which would stand for the package `tiling`

import numpy as np
import psutil
import pyarrow as pa
import tifffile

from tiling import TileSet, open_slide
from tiling.choices import Materialise
from tiling.fingerprint import slide_fingerprint
from tiling.grid import make_grid
from tiling.manifest import COLUMNS, MANIFEST, write_manifest
from tiling.store import STORE_NAMES, begin_array, finish_store, plan_array, write_tiles

SIZE, CELL, TILE, TILES_PER_SLIDE = 1024, 256, 128, 200
THREADS, PROCESSES = 4, 2


def make_slides(folder: Path, count: int) -> None:
    """Slides of noise on pink, as SVS of two levels."""
    folder.mkdir()
    draws = np.random.default_rng(0)
    pixels = np.clip(np.array([205, 110, 165]) + draws.integers(-20, 20, (SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
    description = f"Aperio Image Library\r\n{SIZE}x{SIZE} (256x256) JPEG/RGB Q=80|AppMag = 20|MPP = 0.5"
    options: dict[str, Any] = {"tile": (CELL, CELL), "photometric": "rgb", "compression": "jpeg", "metadata": None}
    for i in range(count):
        moved = np.roll(pixels, draws.integers(0, SIZE, 2), (0, 1))
        with tifffile.TiffWriter(folder / f"{i:05}.svs") as writer:
            for level in range(2):
                writer.write(moved[:: 2**level, :: 2**level], description=description, **options)


def store_tiles(slides: Path, out: Path) -> Path:
    """A tile set of all tiles of all slides; gives the same without the stored cells."""
    store, arrays, rows = out / STORE_NAMES[Materialise.CELLS], {}, []
    for path in sorted(slides.iterdir()):
        fingerprint, grid = slide_fingerprint(path), make_grid(SIZE, SIZE, size=TILE)
        with open_slide(path) as slide:
            plan = plan_array(slide, grid, level=0, kind=Materialise.CELLS)
            begin_array(store, path.stem, plan, fingerprint=fingerprint)
            write_tiles(store, path.stem, plan, slide, start=0, stop=len(grid))
        arrays[path.name] = path.stem
        columns: dict[str, Any] = {name: [None] * len(grid) for name in COLUMNS.names} | {"x": grid.x, "y": grid.y}
        constant = {"slide": path.name, "fingerprint": fingerprint, "size": TILE, "level": 0, "scale": 1.0, "fold": 0}
        columns |= {name: [value] * len(grid) for name, value in constant.items()}
        rows.append(pa.table(columns, schema=COLUMNS))
    finish_store(store, arrays, Materialise.CELLS)
    for folder in (out, out.with_name("references")):
        write_manifest(folder / MANIFEST, pa.concat_tables(rows), root=slides, icc="none")
    return out.with_name("references")


def measure_reading(path: Path, reads: int) -> dict[str, float]:
    """Milliseconds per tile, each way in processes of its own, on the same tiles."""
    tiles = TileSet.open(path)
    chosen = np.random.default_rng(0).choice(len(tiles), min(reads, len(tiles)), replace=False).tolist()
    with multiprocessing.get_context("spawn").Pool(PROCESSES, maxtasksperchild=1) as pool:
        return {
            "slide by slide": pool.apply(timed, (tiles, sorted(chosen))),
            "random order, first time": pool.apply(timed, (tiles, chosen)),
            "random order, again": pool.apply(timed, (tiles, chosen, 1, 2)),
            f"random order, again, {THREADS} threads": pool.apply(timed, (tiles, chosen, THREADS, 2)),
            f"random order, again, {PROCESSES} processes": max(
                pool.starmap(timed, [(tiles, chosen[i::PROCESSES], 1, 2) for i in range(PROCESSES)], chunksize=1)
            )
            / PROCESSES,
        }


def timed(tiles: TileSet, order: list[int], threads: int = 1, passes: int = 1) -> float:
    """Milliseconds per tile of the last pass."""
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(passes):
            began = time.perf_counter()
            deque(pool.map(tiles.read, order), maxlen=0)
            seconds = time.perf_counter() - began
    return seconds / len(order) * 1e3


def make_manifest(path: Path, rows: int) -> None:
    """Tiles of slides with the names of a public archive, and three labels."""
    draws = np.random.default_rng(0)
    slide = np.arange(rows) // TILES_PER_SLIDE
    columns: dict[str, Any] = {
        "slide": [f"batch-{i % 20:02}/TCGA-{i:05}-01Z-00-DX1.{i * 7919:012x}.svs" for i in slide.tolist()],
        "fingerprint": [f"{i * 2654435761:032x}" for i in slide.tolist()],
        "patient": [f"TCGA-{i // 2:05}" for i in slide.tolist()],
        "fold": slide % 5,
        **{name: draws.integers(0, 100_000, rows) for name in ("x", "y")},
        **{name: draws.random(rows) for name in ("tissue", "pen", "blur")},
        **{name: np.full(rows, value) for name, value in (("size", 512), ("level", 0), ("scale", 1.0), ("mpp", 0.5))},
        "corrupt": np.zeros(rows),
    }
    table = pa.table(columns, schema=COLUMNS)
    for label, values in {
        "stain": ["HE", "PAS"],
        "organ": ["kidney"],
        "diagnosis": ["IgA nephropathy", "lupus"],
    }.items():
        table = table.append_column(label, pa.array([values[i % len(values)] for i in slide.tolist()]))
    write_manifest(path, table, root=path.parent, icc="none")


def measure_holding(path: Path) -> dict[str, float]:
    """What the manifest costs; for a process of its own."""
    before, began = psutil.Process().memory_info().rss, time.perf_counter()
    tiles = TileSet.open(path)
    opened, memory = time.perf_counter() - began, psutil.Process().memory_info().rss - before
    pickled = pickle.dumps(tiles)
    began = time.perf_counter()
    pickle.loads(pickled)
    loaded = time.perf_counter() - began
    began = time.perf_counter()
    for index in range(0, len(tiles), max(1, len(tiles) // 1000)):
        assert tiles[index].size
    told = (time.perf_counter() - began) / min(1000, len(tiles)) * 1e6
    return {
        "opening, s": opened,
        "memory, MB": memory / 1e6,
        "pickle, MB": len(pickled) / 1e6,
        "unpickling, s": loaded,
        "telling about a tile, microseconds": told,
    }


def main() -> None:
    """Make slides and manifest, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slides", type=int, default=400)
    parser.add_argument("--reads", type=int, default=4000)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    result: dict[str, Any] = {"machine": machine}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_slides(folder / "slides", arguments.slides)
        references = store_tiles(folder / "slides", folder / "stored")
        result["from the slides"] = measure_reading(references, arguments.reads)
        result["from stored cells"] = measure_reading(folder / "stored", arguments.reads)
        make_manifest(folder / MANIFEST, arguments.rows)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            result[f"{arguments.rows} rows"] = pool.apply(measure_holding, (folder / MANIFEST,))
    print(json.dumps(result, indent=2) if arguments.json else tables(result))


def tables(result: dict[str, Any]) -> str:
    """What was measured, as tables in Markdown."""
    lines = [result["machine"]]
    for title, found in result.items():
        if not isinstance(found, dict):
            continue
        reading = title.startswith("from")
        first = next(iter(found.values()))
        lines += ["", f"| {title} | ms per tile | times the first |" if reading else f"| {title} | |"]
        lines.append("|---|---|---|" if reading else "|---|---|")
        for name, value in found.items():
            lines.append(f"| {name} | {value:.3g} |" + (f" {value / first:.2f} |" if reading else ""))
    return "\n".join(lines)


if __name__ == "__main__":
    main()
