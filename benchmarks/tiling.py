"""What tiling costs: `python benchmarks/tiling.py [--folder FOLDER] [--repeats N] [--only PART] [--json]`.

Reading: draws a phantom, writes it as pyramidal SVS of 20480 x 20480 px with cells of 256 px, 4:2:0 and 4:4:4, and
reads tiles of 4096 x 4096 px from them: by OpenSlide alone, by hdgan, and by decoding the same cells and dropping their
pixels, which is the least that reading can cost. All ways take turns, each read on a fresh handle, so that no cache
helps and a slow minute of the machine falls on all. CPU seconds are of all threads together.

Storing: copies the cells of such tiles into zarr shards, and does what tilers do: OpenSlide, and a shard of zstd.

Archive: tiles 200 slides, some of them broken, empty or corrupt, by two workers; then again, killed five times.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])
# instead of the folder of this file, which would stand for the package `tiling`

import numpy as np
import openslide
import tifffile
from rich.progress import track

from benchmarks.archive import make_archive, measure_archive
from benchmarks.materialising import measure as measure_storing
from hdgan.demo.phantom import make_phantom
from tiling import open_slide
from tiling.backends.tiff import TiffBackend
from tiling.cells import CellPlace
from tiling.files import replacing

SIZE, DRAWN, PART, CELL, TILE, QUALITY = 20480, 4096, 2048, 256, 4096, 80
SUBSAMPLINGS = {"4:2:0": (2, 2), "4:4:4": (1, 1)}


def make_slide(path: Path, part: np.ndarray, subsampling: tuple[int, int]) -> None:
    """A pyramid of four levels whose finest repeats one picture of tissue, ten times across and down."""
    options: dict[str, Any] = {
        "tile": (CELL, CELL),
        "photometric": "rgb",
        "subsampling": subsampling,
        "compression": "jpeg",
        "compressionargs": {"level": QUALITY},
        "metadata": None,
    }
    if path.exists():
        return
    with replacing(path) as partial, tifffile.TiffWriter(partial, bigtiff=True) as writer:
        for level in range(4):
            pixels = part[:: 2**level, :: 2**level]
            shape = (SIZE >> level, SIZE >> level, 3)
            description = f"Aperio Image Library\r\n{shape[1]}x{shape[0]} (256x256) JPEG/RGB Q=80|AppMag = 20|MPP = 0.5"
            cells = _cells(pixels, shape[0] // CELL)
            writer.write(cells, shape=shape, dtype=np.uint8, description=description, **options)


def densest_part(pixels: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The part of a slide with the least glass: glass costs a decoder next to nothing."""
    corners = [(y, x) for y in range(0, DRAWN - PART + 1, CELL) for x in range(0, DRAWN - PART + 1, CELL)]
    tissue = {(y, x): np.count_nonzero(truth[y : y + PART, x : x + PART]) for y, x in corners}
    y, x = max(tissue, key=tissue.__getitem__)
    return pixels[y : y + PART, x : x + PART]


def _cells(pixels: np.ndarray, count: int) -> Iterator[np.ndarray]:
    across = pixels.shape[0] // CELL
    for row in range(count):
        for column in range(count):
            y, x = row % across * CELL, column % across * CELL
            yield np.ascontiguousarray(pixels[y : y + CELL, x : x + CELL])


def ways(path: Path) -> dict[str, Callable[[int, int], tuple[float, float, np.ndarray | None]]]:
    """Each way of reading a tile: (x, y) to CPU seconds, wall seconds, pixels."""

    def by_openslide(x: int, y: int) -> tuple[float, float, np.ndarray | None]:
        with openslide.OpenSlide(path) as slide:
            return timed(lambda: np.asarray(slide.read_region((x, y), 0, (TILE, TILE))))

    def by_hdgan(x: int, y: int) -> tuple[float, float, np.ndarray | None]:
        with open_slide(path) as slide:
            return timed(lambda: slide.read(x=x, y=y, width=TILE, height=TILE))

    def decoding_only(x: int, y: int) -> tuple[float, float, np.ndarray | None]:
        with TiffBackend.open(path) as backend, path.open("rb") as file:
            grid, n = backend.grids[0], TILE // CELL
            places = [CellPlace(y // CELL + i // n, x // CELL + i % n) for i in range(n * n)]
            memory = np.empty(CELL * CELL * 3 + 32, np.uint8)
            start = (16 - memory.ctypes.data) % 32  # between multiples of 32, where libjpeg-turbo is quickest
            out = memory[start : start + CELL * CELL * 3].reshape(CELL, CELL, 3)

            def decode() -> None:
                for place in places:
                    grid.decode(grid.encoded(file.fileno(), place), out)

            return timed(decode)

    return {"OpenSlide, read_region": by_openslide, "hdgan": by_hdgan, "decoding the cells only": decoding_only}


def timed(read: Callable[[], Any]) -> tuple[float, float, Any]:
    """CPU seconds, wall seconds, result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = read()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def measure_reading(path: Path, repeats: int) -> dict[str, dict[str, float]]:
    """Median CPU and wall seconds of each way, over tiles at random places of the cells' grid."""
    draws = np.random.default_rng(0)
    found: dict[str, list[tuple[float, float]]] = {}
    for _ in track(range(repeats), path.name):
        x, y = (int(v) * CELL for v in draws.integers(0, (SIZE - TILE) // CELL, 2))
        pixels = {}
        for name, read in ways(path).items():
            cpu, wall, pixels[name] = read(x, y)
            found.setdefault(name, []).append((cpu, wall))
        np.testing.assert_array_equal(pixels["hdgan"], pixels["OpenSlide, read_region"][..., :3])
    return {
        name: {"cpu_s": statistics.median(c for c, _ in times), "wall_s": statistics.median(w for _, w in times)}
        for name, times in found.items()
    }


PARTS = ("reading", "storing", "archive")


def drawn_slides(folder: Path) -> tuple[dict[str, Path], np.ndarray]:
    """The slides by their subsampling, made if they are not there; and the piece of tissue that they repeat."""
    drawn, truth = folder / "phantom.tiff", folder / "phantom-truth.tiff"
    if not drawn.exists():
        make_phantom(drawn, truth, size=DRAWN, seed=0)
    part = densest_part(tifffile.imread(drawn, level=0), tifffile.imread(truth))
    paths = {name: folder / f"slide-{name.replace(':', '')}.svs" for name in SUBSAMPLINGS}
    for name, path in paths.items():
        make_slide(path, part, SUBSAMPLINGS[name])
    return paths, part


def main() -> None:
    """Make the slides if they are not there, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-slides"))
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", choices=PARTS, action="append")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    asked = arguments.only or PARTS
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    result: dict[str, Any] = {"machine": machine}
    paths, part = drawn_slides(arguments.folder)
    if "reading" in asked:
        result["reading"] = {name: measure_reading(path, arguments.repeats) for name, path in paths.items()}
    if "storing" in asked:
        result["storing"] = {name: measure_storing(path, arguments.repeats) for name, path in paths.items()}
    if "archive" in asked:
        make_archive(arguments.folder / "archive", part)
        result["archive"] = measure_archive(arguments.folder)
    print(json.dumps(result, indent=2) if arguments.json else tables(result))


def tables(result: dict[str, Any]) -> str:
    """What was measured, as tables in Markdown."""
    lines = [result["machine"]]
    if "reading" in result:
        lines += [
            "",
            "| reading 4096 x 4096 | CPU s | wall s | CPU, OpenSlide = 1 | CPU, decoding = 1 |",
            "|---|---|---|---|---|",
        ]
    for subsampling, times in result.get("reading", {}).items():
        slowest, limit = (times[way]["cpu_s"] for way in ("OpenSlide, read_region", "decoding the cells only"))
        for way, cost in times.items():
            relative = f"{slowest / cost['cpu_s']:.1f} times less | {cost['cpu_s'] / limit:.2f}"
            lines.append(f"| {subsampling}, {way} | {cost['cpu_s']:.3f} | {cost['wall_s']:.3f} | {relative} |")
    for name in ("storing", "archive"):
        if name in result:
            lines += ["", f"| {name} | |", "|---|---|", *_rows(result[name])]
    return "\n".join(lines)


def _rows(found: dict[str, Any], above: str = "") -> Iterator[str]:
    for name, value in found.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{above}{name}, ")
        else:
            shown = f"{value:.4g}" if isinstance(value, float) else str(value)
            yield f"| {above}{name.replace('_', ' ')} | {shown} |"


if __name__ == "__main__":
    main()
