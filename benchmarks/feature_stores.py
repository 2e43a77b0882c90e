"""What stored features cost: `python benchmarks/feature_stores.py [--only NAME ...] [--json]`.

Each figure comes from a process of its own, with the largest resident set of it (files that are mapped count in it
while the system leaves them in memory). The generator has random weights and the widths of StyleGAN2: 496 channels at
4096 px. What of it the bounds are on is part of `benchmarks/pixels.py`.

extraction  one latent of 4096 px written to every kind of store, beside the synthesis of the same windows alone
reading     windows of 512 px and single pixels of 4096 px, by kind of store, and without one
loader      pixels a second of 496 channels, beside the published way (Rizvi et al. 2022): a memory map (H x W, C) of
            upsampled features in half precision, a row for each `__getitem__`, then stacked. Balanced, standardised, at
            1024 px, where that map takes 1 GB and stays in memory: at 2048 px it takes 4, and may not. The ways take
            turns: of the published one the faster of two batches counts, of ours the mean of 16, blocks that come and
            go included
sampler     what a sampler holds in memory for label maps of 16 images of 4096 px: as Python counts it, and by itself
int8        error of features in 8 bits beside half precision, and on how many pixels the labels of an ensemble change
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import Figures, Stopwatch, run

SCRATCH = os.environ.get("TMPDIR")  # needs some GB


def generator_of(size: int, **settings: Any) -> Any:
    import torch

    from hdgan.stylegan2 import Generator

    torch.manual_seed(0)
    return Generator(resolution=size, **settings).eval().requires_grad_(False)


def latents_of(generator: Any, count: int = 1) -> Any:
    from hdgan.latents import Latents

    return Latents.sample(generator, range(count))


def annotation(size: int, seed: int) -> Any:
    """(size, size) uint8 of five classes, in blobs as an expert draws them, with an unlabelled rim."""
    import numpy as np

    coarse = size // 8  # circles are drawn there: their steps of 8 px are harder to compress than an expert's lines
    labels = np.zeros((coarse, coarse), np.uint8)
    rng = np.random.default_rng(seed)
    rows, columns = np.ogrid[:coarse, :coarse]
    for k in rng.permutation(np.repeat([1, 2, 3, 4], 30)):
        y, x, radius = rng.integers(0, coarse), rng.integers(0, coarse), rng.integers(coarse // 80, coarse // 10)
        labels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = k
    labels[: coarse // 40] = 255
    return labels.repeat(8, axis=0).repeat(8, axis=1)


def measure_extraction(store: str, dtype: str, size: int = 4096) -> Figures:
    """Beside the synthesis of image and features, and beside that of the features alone, in the same windows."""
    import torch

    from hdgan.features import extract
    from hdgan.features.writing import WINDOW
    from hdgan.stylegan2 import WindowSynthesis, synthesize_windows

    generator = generator_of(size)
    latents = latents_of(generator)
    rounds = []
    for _ in range(2):
        watch = Stopwatch()
        for _ in synthesize_windows(generator, **latents.synthesis(0, device=torch.device("cpu"))):
            pass
        figures = {f"synthesis_{unit}": value for unit, value in watch.read().items()}
        watch = Stopwatch()
        synthesis = WindowSynthesis(generator, **latents.synthesis(0, device=torch.device("cpu")))
        for y, x in itertools.product(range(0, size, WINDOW), repeat=2):
            synthesis.features(y=y, x=x, h=WINDOW, w=WINDOW)
        figures |= {f"features_alone_{unit}": value for unit, value in watch.read().items()}
        with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
            watch = Stopwatch()
            extract(generator, latents, Path(folder) / "features", dtype=dtype, store=store)
            rounds.append(figures | watch.read())
            stored = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
    found = {name: min(figures[name] for figures in rounds) for name in rounds[0]}
    return found | {
        "share_of_cpu": found["cpu_s"] / found["synthesis_cpu_s"],
        "share_of_time": found["wall_s"] / found["synthesis_wall_s"],
        "times_features_alone": found["wall_s"] / found["features_alone_wall_s"],
        "stored_gib": stored / 2**30,
    }


def measure_reading(store: str, size: int = 4096) -> Figures:
    import numpy as np

    from hdgan.features import extract

    generator = generator_of(size)
    latents, rng = latents_of(generator), np.random.default_rng(0)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        features = extract(generator, latents, Path(folder) / "features", store=store)
        corners = rng.integers(0, size - 512, (2 if store == "none" else 16, 2)).tolist()
        watch = Stopwatch()
        for y, x in corners:
            features.patch(0, y=y, x=x, h=512, w=512)
        found = {"patch_512_ms": 1000 * watch.read()["wall_s"] / len(corners)}
        watch = Stopwatch()
        features.window(0, y=corners[0][0], x=corners[0][1], h=512, w=512)
        found["window_512_ms"] = 1000 * watch.read()["wall_s"]
        ys, xs = rng.integers(0, size, (2, 4096))
        watch = Stopwatch()
        features.pixels(0, ys, xs)
        return found | {"pixels_per_s": 4096 / watch.read()["wall_s"]}


def measure_loader(store: str, size: int = 1024, batch: int = 65536) -> Figures:
    """Widths chosen so that the last five blocks have 496 channels, as at 4096 px."""
    import numpy as np
    import torch
    from torch.utils.data import default_collate

    from hdgan.features import extract
    from hdgan.pixels.sampling import PixelSampler
    from hdgan.pixels.statistics import upsampled_statistics

    generator = generator_of(size, channel_base=8 * size)
    labels = {0: annotation(size, 0)}
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        features = extract(generator, latents_of(generator), Path(folder) / "features", store=store)
        watch = Stopwatch()
        statistics = upsampled_statistics(features, [0])
        statistics_s = watch.read()["wall_s"]
        published = np.lib.format.open_memmap(
            Path(folder) / "upsampled.npy", mode="w+", dtype=np.float16, shape=(size * size, features.channels)
        )
        for y in range(0, size, 32):
            rows = features.window(0, y=y, x=0, h=32, w=size).reshape(features.channels, -1).T
            published[y * size : (y + 32) * size] = rows
        del published
        rows = np.load(Path(folder) / "upsampled.npy", mmap_mode="r")
        np.save(Path(folder) / "labels.npy", labels[0].ravel())
        flat = np.load(Path(folder) / "labels.npy", mmap_mode="r")
        rng = np.random.default_rng(0)

        class PublishedPixels(torch.utils.data.Dataset[Any]):
            def __getitem__(self, index: int) -> Any:
                return torch.from_numpy(rows[index].astype(np.float32)), int(flat[index])

        dataset, mean, deviation = PublishedPixels(), *map(torch.from_numpy, (statistics.mean, statistics.deviation))
        sampler = PixelSampler(features, labels, [0], classes=5, balanced=True, statistics=statistics, pool_bytes=2**25)

        def published_batch(chosen: list[int]) -> None:
            values = default_collate([dataset[i] for i in chosen])[0]
            ((values - mean) / deviation).sum()

        def bare_rows(chosen: list[int]) -> None:
            np.stack([rows[i] for i in chosen]).astype(np.float32)

        rounds = []
        for repeat in range(3):  # side by side: the machine's other work meets all
            figures: Figures = {}
            for way in (published_batch, bare_rows):
                twice = []
                for _ in range(2):
                    chosen = rng.permutation(np.flatnonzero(flat != 255))[:batch].tolist()
                    watch = Stopwatch()
                    way(chosen)
                    twice.append(watch.read())
                figures |= {f"{way.__name__}_{unit}": min(each[unit] for each in twice) / batch for unit in twice[0]}
            stream = sampler.batches(range(16 * repeat, 16 * repeat + 16), size=batch, seed=0)
            watch = Stopwatch()
            for _ in stream:
                pass
            rounds.append(figures | {f"ours_{unit}": value / 16 / batch for unit, value in watch.read().items()})
    best = {name: min(figures[name] for figures in rounds) for name in rounds[0]}
    return {
        "published_pixels_per_s": 1 / best["published_batch_wall_s"],
        "ours_pixels_per_s": 1 / best["ours_wall_s"],
        "times_published": median(each["published_batch_wall_s"] / each["ours_wall_s"] for each in rounds),
        "times_published_cpu": median(each["published_batch_cpu_s"] / each["ours_cpu_s"] for each in rounds),
        "times_bare_rows": median(each["bare_rows_wall_s"] / each["ours_wall_s"] for each in rounds),
        "ours_cpu_us": best["ours_cpu_s"] * 1e6,
        "published_cpu_us": best["published_batch_cpu_s"] * 1e6,
        "blocks": len(sampler._blocks),
        "slots": sampler._pool.slots,
        "statistics_s": statistics_s,
    }


def measure_sampler(size: int = 4096, images: int = 16) -> Figures:
    import tracemalloc

    from hdgan.features.resynthesis import ResynthesisedFeatures
    from hdgan.lazy import LazyMapping
    from hdgan.pixels.sampling import PixelSampler
    from hdgan.pixels.statistics import Statistics

    generator = generator_of(size)
    features = ResynthesisedFeatures(generator, latents_of(generator, images))
    neutral = Statistics.neutral(features.channels)
    labels = LazyMapping(range(images), lambda i: annotation(size, i))
    tracemalloc.start()
    sampler = PixelSampler(features, labels, range(images), classes=5, balanced=True, statistics=neutral)
    return {"mb": tracemalloc.get_traced_memory()[0] / 1e6, "by_itself_mb": sampler.memory / 1e6}


def measure_int8(size: int = 1024) -> Figures:
    import numpy as np
    import torch

    from hdgan.features import extract
    from hdgan.pixels import PixelEnsemble

    generator = generator_of(size, channel_base=8 * size)
    latents, found = latents_of(generator), {}
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        stores = {
            dtype: extract(generator, latents, Path(folder) / dtype, dtype=dtype)
            for dtype in ("float32", "float16", "int8")
        }
        exact = stores["float32"].window(0, y=0, x=0, h=512, w=512)
        deviation = exact.std(axis=(1, 2))
        ensemble = PixelEnsemble(
            layers=stores["int8"].layers, classes=list("abcde"), generator=torch.Generator().manual_seed(0)
        )
        ensemble.mean.copy_(torch.from_numpy(exact.mean(axis=(1, 2))))
        ensemble.deviation.copy_(torch.from_numpy(deviation))
        truth = ensemble.predict(exact)[0]
        for dtype in ("float16", "int8"):
            stored = stores[dtype].window(0, y=0, x=0, h=512, w=512)
            error = np.sqrt(((stored - exact) ** 2).mean(axis=(1, 2))) / deviation
            found[f"{dtype}_error_share_of_deviation"] = float(np.median(error))
            found[f"{dtype}_largest_channel_error"] = float(error.max())
            found[f"{dtype}_labels_changed"] = float((ensemble.predict(stored)[0] != truth).mean())
    return found


MEASURES: dict[str, Callable[[], Figures]] = {
    "extraction zarr": lambda: measure_extraction("zarr", "float16"),
    "extraction memmap": lambda: measure_extraction("memmap", "float16"),
    "extraction zstd": lambda: measure_extraction("zarr-zstd", "float16"),
    "extraction int8": lambda: measure_extraction("zarr", "int8"),
    "reading zarr": lambda: measure_reading("zarr"),
    "reading memmap": lambda: measure_reading("memmap"),
    "reading zstd": lambda: measure_reading("zarr-zstd"),
    "reading none": lambda: measure_reading("none"),
    "loader zarr": lambda: measure_loader("zarr"),
    "loader memmap": lambda: measure_loader("memmap"),
    "sampler": measure_sampler,
    "int8": measure_int8,
}


if __name__ == "__main__":
    run(__file__, __doc__, MEASURES)
