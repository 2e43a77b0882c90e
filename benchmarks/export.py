"""What exporting a pair costs: CPU seconds, memory and room, by format.

    python benchmarks/export.py [--only geojson]

A pair of 4096 px and five classes is drawn: smooth areas, with so much noise that their borders are ragged and specks
lie around. It is kept as zarr, in strips, and exported in a process of its own for each format. `before` is the peak of
that process when the export begins: Python, its packages, and the pair's strips.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import peak_gb, run_apart

if TYPE_CHECKING:
    from hdgan.pairs import PairSet
    from hdgan.pairs.strips import Strip

_SIZE, _ROWS = 4096, 256  # px
_NOISE = {"": 0.05, "ragged ": 0.15}  # standard deviations, of an area's own
_SPECKS = 50  # px
_FORMATS = ("zarr", "png", "ome-tiff", "geojson", f"geojson without {_SPECKS} px", "ragged geojson")


def strips(noise: float) -> Iterator[Strip]:
    import numpy as np
    from scipy.ndimage import gaussian_filter

    from hdgan.pairs.strips import Strip

    for y in range(0, _SIZE, _ROWS):
        rng = np.random.default_rng(y)
        areas = gaussian_filter(rng.standard_normal((_ROWS, _SIZE), np.float32), 12)
        areas = areas / areas.std() + noise * rng.standard_normal((_ROWS, _SIZE), np.float32)
        mask = np.digitize(areas, [-1, -0.3, 0.3, 1]).astype(np.uint8)
        image = (40 * mask[..., None] + rng.integers(0, 40, (_ROWS, _SIZE, 3))).astype(np.uint8)
        yield Strip(image, mask, np.abs(areas).astype(np.float16))


def drawn_pair(folder: Path, noise: float) -> PairSet:
    import numpy as np

    from hdgan.labels import KIDNEY
    from hdgan.pairs import PairSet
    from hdgan.pairs.formats import pair_format
    from hdgan.pairs.manifest import PairRecord, append_to_ledger, read_ledger, write_manifest
    from tiling.stage import Stage

    with Stage.begin(folder, name="synthesize", config={"format": "zarr"}, inputs={}) as stage:
        KIDNEY.save(folder / "classes.json")
        target = pair_format("zarr", folder, KIDNEY)
        target.prepare(1, _SIZE)
        target.write(0, _SIZE, strips(noise))
        target.settle(np.zeros(1, np.int64), np.zeros(1, np.int64))
        append_to_ledger(folder, PairRecord(0, 0, 1.0, "latent", 0.0, (0.2,) * 5))
        write_manifest(folder, read_ledger(folder), KIDNEY.names, "", None)
        stage.finish(principal=[folder / "manifest.parquet"])
    return PairSet.open(folder)


def measure(name: str) -> dict[str, Any]:
    from hdgan.pairs import export_pairs
    from tiling.progress import set_quiet

    set_quiet(True)
    ragged = name.startswith("ragged ")
    format = name.removeprefix("ragged ").split()[0]
    least = _SPECKS if "without" in name else 0
    with tempfile.TemporaryDirectory() as made:
        pairs = drawn_pair(Path(made) / "pairs", _NOISE["ragged " if ragged else ""])
        before, began = peak_gb(), time.process_time()
        export_pairs(pairs, Path(made) / "out", format=format, least_region=least)
        spent, peak = time.process_time() - began, peak_gb()
        regions = sum(len(path.read_text().splitlines()) for path in Path(made).rglob("*.geojson"))  # a line each
        return {
            "cpu_s": spent,
            "before_gb": before,
            "peak_gb": peak,
            "regions": regions,
            "files_mb": sum(path.stat().st_size for path in (Path(made) / "out").rglob("*") if path.is_file()) / 1e6,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=_FORMATS, default=list(_FORMATS))
    parser.add_argument("--measure", choices=_FORMATS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(measure(asked.measure)))
        return
    print(platform.processor() or platform.machine())
    for name in asked.only:
        figures = run_apart(__file__, name)
        told = (
            f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in figures.items()
        )
        print(f"{name:24}" + "  ".join(told), flush=True)


if __name__ == "__main__":
    main()
