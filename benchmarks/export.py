"""What exporting a pair costs, by format: `python benchmarks/export.py [--only FORMAT ...] [--json]`.

A pair of 4096 px and five classes is drawn: smooth areas, with so much noise that their borders are ragged and specks
lie around. It is kept as zarr, in strips, and exported in a process of its own for each format: CPU and wall seconds,
the peak of memory, and the size of the files. `before_gb` is the peak when the export begins: Python, its packages, and
the pair's strips.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import Figures, Stopwatch, peak_gb, run

if TYPE_CHECKING:
    from hdgan.pairs import PairSet
    from hdgan.pairs.strips import Strip

_SIZE, _ROWS = 4096, 256  # px
_EVEN, _RAGGED = 0.05, 0.15  # noise: standard deviations, of an area's own


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


def measure(format: str, noise: float = _EVEN, least_region: int = 0) -> Figures:
    from hdgan.pairs import export_pairs
    from tiling.progress import set_quiet

    set_quiet(True)
    with tempfile.TemporaryDirectory() as made:
        pairs, out = drawn_pair(Path(made) / "pairs", noise), Path(made) / "out"
        before, watch = peak_gb(), Stopwatch()
        export_pairs(pairs, out, format=format, least_region=least_region)
        spent = watch.read()
        regions = sum(1 for path in out.rglob("*.geojson") for _ in path.open())  # a line each
        files = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return {**spent, "before_gb": before, "regions": regions, "files_mb": files / 1e6}


MEASURES: dict[str, Callable[[], Figures]] = {
    "zarr": partial(measure, "zarr"),
    "png": partial(measure, "png"),
    "ome-tiff": partial(measure, "ome-tiff"),
    "geojson": partial(measure, "geojson"),
    "geojson without 50 px": partial(measure, "geojson", least_region=50),
    "geojson ragged": partial(measure, "geojson", _RAGGED),
}


if __name__ == "__main__":
    run(__file__, __doc__, MEASURES)
