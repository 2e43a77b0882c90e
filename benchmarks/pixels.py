"""What labels of pixels cost: `python benchmarks/pixels.py [--only NAME ...] [--json]`.

Each measure is made in a process of its own: CPU seconds (of all threads), wall seconds, and the largest resident set,
all included. Figures that issue 5 sets a bound for are told with it. The published way is written out in `published`:
all feature maps are upsampled and concatenated, and one network after another classifies all pixels.

labels      one image of 1024 px, 496 channels, 10 members, 5 classes: the published way against ours, on the same
            features in the same run; microseconds per pixel are those of the better of two rounds in turn
equality    the same labels, uncertainty and features by both ways: 512 and 1024 px, 3 and 5 blocks, windows that no
            map is aligned with
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

Figures = dict[str, Any]
FINEST_CHANNELS = 8  # of the last block, as at 4096 px: five blocks have 496 channels, three have 112

# Figures that are to stay below, or above, a bound
AT_MOST = {
    ("labels", "share_of_time"): 0.2,
    ("equality", "features_fp32"): 1e-5,
    ("equality", "features_fp16"): 1e-3,
    ("equality", "uncertainty"): 1e-4,
}
AT_LEAST = {("equality", "equal_labels"): 0.9999}


class Stopwatch:
    """CPU and wall microseconds per pixel since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self, name: str, pixels: int) -> Figures:
        cpu, wall = time.process_time() - self._cpu, time.perf_counter() - self._wall
        return {f"{name}_cpu_us": cpu / pixels * 1e6, f"{name}_wall_us": wall / pixels * 1e6}


def peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def make_features(size: int, blocks: int) -> dict[str, Any]:
    """{layer: (C, h, w)} of a random generator, at native resolution."""
    import torch

    from hdgan.stylegan2 import Generator

    torch.manual_seed(0)
    generator = Generator(resolution=size, channel_base=FINEST_CHANNELS * size).eval().requires_grad_(False)
    return {
        name: values[0]
        for name, values in generator.features(generator.mapping(torch.randn(1, 512)), blocks=blocks).items()
    }


def make_ensemble(features: dict[str, Any]) -> Any:
    """Ten members with random weights, standardised to the features."""
    import torch

    from hdgan.pixels import PixelEnsemble

    layers = {name: len(values) for name, values in features.items()}
    ensemble = PixelEnsemble(layers=layers, classes=list("abcde"), generator=torch.Generator().manual_seed(0))
    ensemble.mean.copy_(torch.cat([values.mean(dim=(1, 2)) for values in features.values()]))
    ensemble.deviation.copy_(torch.cat([values.std(dim=(1, 2)) for values in features.values()]))
    return ensemble


def upsampled(features: dict[str, Any], size: int) -> Any:
    """(C, size, size): every map upsampled, and all of them concatenated."""
    import torch
    import torch.nn.functional as F

    return torch.cat(
        [F.interpolate(v[None], (size, size), mode="bilinear", align_corners=False)[0] for v in features.values()]
    )


def published(features: dict[str, Any], ensemble: Any, size: int) -> tuple[Any, Any]:
    """Labels and uncertainty as DatasetGAN and HDGAN compute them, on the whole image."""
    import torch
    import torch.nn.functional as F

    pixels = upsampled(features, size).flatten(1).T
    pixels = pixels.sub_(ensemble.mean).div_(ensemble.deviation)
    votes, mean, entropy = 0, 0, 0
    for member in range(ensemble.members):
        x = pixels
        for depth, linear in enumerate(ensemble.linear):
            x = F.linear(x, linear.weight[member], linear.bias[member, :, 0])
            if depth < len(ensemble.norm):
                norm, own = ensemble.norm[depth], slice(member * x.shape[1], (member + 1) * x.shape[1])
                x = F.batch_norm(
                    x.relu_(), norm.running_mean[own], norm.running_var[own], norm.weight[own], norm.bias[own]
                )
        probability = x.softmax(dim=1)
        votes = votes + F.one_hot(probability.argmax(dim=1), x.shape[1])
        mean = mean + probability / ensemble.members
        entropy = entropy - torch.xlogy(probability, probability).sum(dim=1) / ensemble.members
    labels = (votes + mean / 2).argmax(dim=1).view(size, size)
    uncertainty = (-torch.xlogy(mean, mean).sum(dim=1) - entropy).view(size, size)
    return labels.numpy(), uncertainty.numpy()


def patches_of(features: dict[str, Any], size: int, **window: int) -> dict[str, Any]:
    from hdgan.features.patch import cut

    return {name: cut(values, scale=size // values.shape[1], **window) for name, values in features.items()}


def ours(features: dict[str, Any], predictor: Any, size: int, *, window: int = 512) -> tuple[Any, Any]:
    """Labels and uncertainty window by window."""
    import numpy as np

    labels, uncertainty = np.empty((size, size), np.uint8), np.empty((size, size), np.float32)
    for y in range(0, size, window):
        for x in range(0, size, window):
            here = np.s_[y : y + window, x : x + window]
            h, w = labels[here].shape
            labels[here], uncertainty[here] = predictor.predict(patches_of(features, size, y=y, x=x, h=h, w=w))
    return labels, uncertainty


def measure_labels(size: int = 1024) -> Figures:
    import torch

    from hdgan.pixels.folded import Predictor

    torch.set_grad_enabled(False)
    features = make_features(size, blocks=5)
    ensemble = make_ensemble(features)
    predictor = ensemble.predictor()
    started = time.perf_counter()
    predictor.predict(patches_of(features, size, y=0, x=0, h=8, w=8))
    found = {"first_call_s": time.perf_counter() - started, "before_gb": peak_gb()}
    rounds = []
    for _ in range(2):
        watch = Stopwatch()
        ours(features, predictor, size)
        figures = watch.read("ours", size**2)
        found.setdefault("ours_gb", peak_gb())
        watch = Stopwatch()
        published(features, ensemble, size)
        figures |= watch.read("published", size**2)
        found.setdefault("published_gb", peak_gb())
        rounds.append(figures)
    in_cells, corner = Predictor(ensemble.folded(), ensemble.layers, compiled=False), size // 4
    watch = Stopwatch()
    in_cells.predict(patches_of(features, size, y=0, x=0, h=corner, w=corner))
    rounds.append(watch.read("without_numba", corner**2))
    found |= {name: min(r[name] for r in rounds if name in r) for r in rounds for name in r}
    found["share_of_cpu"] = found["ours_cpu_us"] / found["published_cpu_us"]
    found["share_of_time"] = found["ours_wall_us"] / found["published_wall_us"]
    return found


def measure_equality() -> Figures:
    """The worst of all cases."""
    import numpy as np
    import torch

    from hdgan.features.patch import upsample

    torch.set_grad_enabled(False)
    found: Figures = {"equal_labels": 1.0, "uncertainty": 0.0, "features_fp32": 0.0, "features_fp16": 0.0}
    for size in (512, 1024):
        for blocks in (3, 5):
            features = make_features(size, blocks)
            ensemble = make_ensemble(features)
            labels, uncertainty = ours(features, ensemble.predictor(), size, window=200)
            wanted_labels, wanted_uncertainty = published(features, ensemble, size)
            found["equal_labels"] = min(found["equal_labels"], float(np.mean(labels == wanted_labels)))
            difference = float(np.abs(uncertainty - wanted_uncertainty).max())
            found["uncertainty"] = max(found["uncertainty"], difference)
            found["classes_seen"] = min(found.get("classes_seen", 5), len(np.unique(labels)))
            window = {"y": 3, "x": size - 131, "h": 200, "w": 131}
            for name, values in features.items():
                exact = upsampled({name: values}, size)[:, 3:203, -131:].numpy()
                for figure, kind in (("features_fp32", torch.float32), ("features_fp16", torch.float16)):
                    patch = patches_of({name: values.to(kind)}, size, **window)[name]
                    difference = np.abs(upsample(patch, **window) - exact).max() / np.abs(exact).max()
                    found[figure] = max(found[figure], float(difference))
    return found


MEASURES: dict[str, Callable[[], Figures]] = {
    "labels": measure_labels,
    "equality": measure_equality,
}


def run_apart(name: str) -> Figures:
    """A measure in a process of its own."""
    ended = subprocess.run([sys.executable, __file__, "--measure", name], capture_output=True, text=True, check=False)
    if ended.returncode:
        return {"failed": (ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"])[-1]}
    figures: Figures = json.loads(ended.stdout.splitlines()[-1])
    return figures


def shown(measure: str, figure: str, value: Any) -> str:
    """A line of the table: the figure, and its bound if it has one."""
    text = f"{value:.4g}" if isinstance(value, float) and value != 1 else str(value)
    bound, word = AT_MOST.get((measure, figure)), "at most"
    met = bound is None or value <= bound
    if (measure, figure) in AT_LEAST:
        bound, word = AT_LEAST[measure, figure], "at least"
        met = value >= bound
    return f"{measure:12}{figure:26}{text:>12}" + (f"   {word} {bound}{'' if met else ': missed'}" if bound else "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), help="what to measure")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", choices=MEASURES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps(MEASURES[asked.measure]() | {"peak_gb": peak_gb()}))
        return
    import torch

    machine = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    results: Figures = {}
    for name in asked.only:
        results[name] = run_apart(name)
        if not asked.json:
            print("\n".join(shown(name, *item) for item in results[name].items()), flush=True)
    print(
        json.dumps(machine | results)
        if asked.json
        else "{machine}, PyTorch {torch}, {threads} threads".format(**machine)
    )


if __name__ == "__main__":
    main()
