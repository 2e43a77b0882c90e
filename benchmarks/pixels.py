"""What features and pixels cost, from latents to pairs: `python benchmarks/pixels.py [--only NAME ...] [--json]`.

Each measure is made in a process of its own: CPU seconds (of all threads), wall seconds, and the largest resident set,
all included. Beside a figure stands the bound that it is to keep, and whether it does. The published way is written out
in `published`: all feature maps are upsampled and concatenated, and one network after another classifies all pixels.

labels      one image of 1024 px, 496 channels, 10 members, 5 classes: the published way against ours, on the same
            features in the same run; microseconds per pixel are those of the better of two rounds in turn
equality    the same labels, uncertainty and features by both ways: 512 and 1024 px, 3 and 5 blocks, windows that no
            map is aligned with
pair        one pair of 4096 px, from a latent to the written image, mask and uncertainty: 496 channels, 10 members, 5
            classes, the widths of StyleGAN2, random weights; beside it the published way at 1024 px, which does not fit
            into memory at 4096; and whether the mask is what the plain definition gives on three crops
pair 8192   the same of 8192 px, where the generator's last five blocks have 248 channels
strip 16384 the first 512 rows of a pair of 16384 px, into the zarr store: with the noise that the generator stores, in
            its file of 2.7 GiB, and with noise that is drawn
fit         an ensemble of 10 members against ten of one, by the same code, on the same pixels
extraction  the store of one latent of 4096 px: its size, and its time beside that of the synthesis alone
loader      pixels a second for a fit, beside the published one-pixel-at-a-time memory map
sampler     what drawing pixels of 16 images of 4096 px holds in memory

Those of stores, loader and sampler are written out, with other kinds of stores, in `benchmarks/feature_stores.py`.
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import Bound, Figures, Stopwatch, peak_gb, run, save_random_generator
from benchmarks.feature_stores import measure_extraction, measure_loader, measure_sampler

FINEST_CHANNELS = 8  # of the last block, as at 4096 px: five blocks have 496 channels, three have 112

BOUNDS = [
    Bound("labels", "share_of_time", at_most=0.2),
    Bound("pair", "share_of_time", at_most=0.3),
    Bound("pair", "wall_s", at_most=90),
    Bound("pair", "pair_gib", at_most=1.2),
    Bound("pair 8192", "pair_gib", at_most=1.6),
    Bound("strip 16384", "gib", at_most=1.6),
    Bound("strip 16384", "gib_with_noise_drawn", at_most=1.6),
    Bound("fit", "share_of_time", at_most=0.8),
    Bound("equality", "features_fp32", at_most=1e-5),
    Bound("equality", "features_fp16", at_most=1e-3),
    Bound("equality", "uncertainty", at_most=1e-4),
    Bound("extraction", "share_of_time", at_most=1.3),
    Bound("extraction", "stored_gib", at_most=0.98),
    Bound("sampler", "mb", at_most=50),
    Bound("equality", "equal_labels", at_least=0.9999),
    Bound("pair", "equal_labels_in_crops", at_least=0.9999),
    Bound("loader", "times_published", at_least=10),
]


def per_pixel(watch: Stopwatch, name: str, pixels: int) -> Figures:
    """CPU and wall microseconds."""
    return {f"{name}_{unit.removesuffix('_s')}_us": value / pixels * 1e6 for unit, value in watch.read().items()}


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
    watch = Stopwatch()
    predictor.predict(patches_of(features, size, y=0, x=0, h=8, w=8))
    found = {"first_call_s": watch.read()["wall_s"], "before_gb": peak_gb()}
    rounds = []
    for _ in range(2):
        watch = Stopwatch()
        ours(features, predictor, size)
        figures = per_pixel(watch, "ours", size**2)
        found.setdefault("ours_gb", peak_gb())
        watch = Stopwatch()
        published(features, ensemble, size)
        figures |= per_pixel(watch, "published", size**2)
        found.setdefault("published_gb", peak_gb())
        rounds.append(figures)
    in_cells, corner = Predictor(ensemble.folded(), ensemble.layers, compiled=False), size // 4
    watch = Stopwatch()
    in_cells.predict(patches_of(features, size, y=0, x=0, h=corner, w=corner))
    rounds.append(per_pixel(watch, "without_numba", corner**2))
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


def published_pair(size: int) -> Figures:
    """An image, its features, labels and uncertainty, whole."""
    import torch

    from hdgan.stylegan2 import Generator

    features = make_features(size, blocks=5)
    ensemble = make_ensemble(features)
    generator = Generator(resolution=size, channel_base=FINEST_CHANNELS * size).eval().requires_grad_(False)
    z = torch.randn(1, 512)
    watch = Stopwatch()
    _, maps = generator.image_and_features(generator.mapping(z), blocks=5)
    published({name: values[0] for name, values in maps.items()}, ensemble, size)
    return per_pixel(watch, "published", size**2)


def labels_of_crop(generator: Any, ensemble: Any, latents: Any, y: int, x: int, edge: int) -> Any:
    """(edge, edge): the vote of `logits` on upsampled features, by the plain definition."""
    import torch

    from hdgan.stylegan2 import synthesize_windows

    for window in synthesize_windows(generator, **latents.synthesis(0, device=torch.device("cpu")), window=512):
        top, left = y - window.y, x - window.x
        if 0 <= top <= window.image.shape[0] - edge and 0 <= left <= window.image.shape[1] - edge:
            pixels = window.upsampled()[:, top : top + edge, left : left + edge].reshape(-1, edge * edge).T
            logits = ensemble.logits(pixels)
            votes = torch.nn.functional.one_hot(logits.argmax(dim=2), logits.shape[2]).sum(dim=0)
            return (votes + logits.softmax(dim=2).mean(dim=0) / 2).argmax(dim=1).view(edge, edge).numpy()
    raise ValueError("the crop lies in no window")


def make_networks(size: int, folder: Path) -> tuple[Any, Any]:
    """A generator of random weights, from its file, and an ensemble of random weights, standardised on a window."""
    import torch

    from hdgan.latents import Latents
    from hdgan.pixels import PixelEnsemble
    from hdgan.stylegan2 import WindowSynthesis, load_generator

    save_random_generator(size, folder / "generator.safetensors")
    generator = load_generator(folder / "generator.safetensors")
    layers = generator.synthesis.layout.feature_channels(5)
    ensemble = PixelEnsemble(layers=layers, classes=list("abcde"), generator=torch.Generator().manual_seed(0))
    asked = Latents.sample(generator, [0]).synthesis(0, device=torch.device("cpu"))
    window = WindowSynthesis(generator, **asked).window(y=size // 2, x=size // 2, h=128, w=128)
    features = torch.as_tensor(window.upsampled()).flatten(1)
    ensemble.mean.copy_(features.mean(dim=1))
    ensemble.deviation.copy_(features.std(dim=1) + 1e-6)
    return generator, ensemble


def measure_strip(size: int) -> Figures:
    import torch

    from hdgan.latents import Latents
    from hdgan.pairs.formats import pair_format
    from hdgan.pairs.making import pair_strips
    from hdgan.pairs.strips import Tally
    from hdgan.provenance import digest

    torch.set_grad_enabled(False)
    found: Figures = {}
    with tempfile.TemporaryDirectory() as folder:
        generator, ensemble = make_networks(size, Path(folder))
        digest(generator.state_dict())
        target = pair_format("zarr", Path(folder), ensemble.class_list)
        target.prepare(2, size)
        for i, (noise, suffix) in enumerate((("const", ""), ("random", "_with_noise_drawn"))):
            watch = Stopwatch()
            strips = pair_strips(generator, ensemble, Latents.sample(generator, [0], noise=noise))
            tally = Tally(len(ensemble.class_list), size, thumbnail=256)
            target.write(i, size, tally.watch(itertools.islice(strips, 1)))
            found |= {
                **{f"{unit}{suffix}": value for unit, value in watch.read().items()},
                f"gib{suffix}": peak_gb() * 1e9 / 2**30,
            }
    return found


def measure_pair(size: int) -> Figures:
    import numpy as np
    import torch

    from hdgan.latents import Latents
    from hdgan.pairs import synthesize

    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        generator, ensemble = make_networks(size, Path(folder))
        latents = Latents.sample(generator, [0])
        watch = Stopwatch()
        pairs = synthesize(generator, ensemble, latents, Path(folder) / "pairs")
        found = {
            "channels": sum(ensemble.layers.values()),
            **watch.read(),
            "pair_gib": peak_gb() * 1e9 / 2**30,
        }
        if size > 4096:
            return found
        mask, rng = pairs[0].mask(), np.random.default_rng(0)
        corners = rng.integers(0, size // 512, (3, 2)) * 512 + rng.integers(0, 512 - 128, (3, 2))
        crops = [
            (np.asarray(mask[y : y + 128, x : x + 128]), labels_of_crop(generator, ensemble, latents, y, x, 128))
            for y, x in corners.tolist()
        ]
    found["equal_labels_in_crops"] = float(np.mean([own == plain for own, plain in crops]))
    found["classes_in_crops"] = len(np.unique([own for own, _ in crops]))
    found["ours_wall_us"] = found["wall_s"] / size**2 * 1e6
    found |= published_pair(1024)
    return found | {"share_of_time": found["ours_wall_us"] / found["published_wall_us"]}


def measure_fit() -> Figures:
    import numpy as np
    import torch

    from hdgan.features import extract
    from hdgan.latents import Latents
    from hdgan.pixels import PRESETS, fit
    from hdgan.stylegan2 import Generator
    from tiling.progress import set_quiet

    set_quiet(True)
    size, recipe = 256, replace(PRESETS["default"], epochs=6, patience=None)
    torch.manual_seed(0)
    generator = Generator(resolution=size, channel_base=FINEST_CHANNELS * size).eval().requires_grad_(False)
    labels = {i: np.random.default_rng(i).integers(0, 5, (size, size), np.uint8) for i in range(8)}
    split = {"train": list(range(6)), "validation": [6], "test": []}
    with tempfile.TemporaryDirectory() as folder:
        store = extract(generator, Latents.sample(generator, range(8)), Path(folder) / "features")
        spent: dict[int, list[float]] = {10: [], 1: []}
        for number, members in enumerate((10, 1, 10, 1)):
            watch = Stopwatch()
            fit(store, labels, Path(folder) / f"fit {number}", split=split, members=members, preset=recipe)
            spent[members].append(watch.read()["wall_s"])
    together, alone = min(spent[10]), min(spent[1])
    return {"ten_members_s": together, "one_member_s": alone, "share_of_time": together / (10 * alone)}


MEASURES: dict[str, Callable[[], Figures]] = {
    "labels": measure_labels,
    "equality": measure_equality,
    "pair": lambda: measure_pair(4096),
    "pair 8192": lambda: measure_pair(8192),
    "strip 16384": lambda: measure_strip(16384),
    "fit": measure_fit,
    "extraction": lambda: measure_extraction("zarr", "float16"),
    "loader": lambda: measure_loader("zarr"),
    "sampler": measure_sampler,
}


if __name__ == "__main__":
    run(__file__, __doc__, MEASURES, BOUNDS)
