"""What a GPU takes, and whether it computes what a CPU does: `python benchmarks/gpu.py [--only WORD ...] [--json]`.

Each measure is made in a process of its own. Where there is no GPU everything is done on the CPU at small sizes, which
shows, but for `values`, no more than that the script works. Real trainings are in `benchmarks/training_run.py`.

values      the largest differences between what GPU and CPU compute from the same weights and draws, in float32 and as
            shares of the largest value: a generator's image and features, augmentation and its gradient, the losses and
            penalties of a training on given images, latents and noise, and the generator's loss in a training's first
            step; gradients of losses and penalties as shares of their norm. Rounding moves activations over the kink of
            their function, so gradients differ more than values: without a GPU it is seen by how much, as PyTorch's own
            convolutions on the CPU are compared with oneDNN's. GMCL's meta-gradient differs by hundredths for that, and
            is compared in float64. Later losses of a training say nothing: each device draws large noise for itself,
            and Adam's first step is little more than the sign of each gradient
labels      one pair of 4096 px: the share of the labels in bfloat16 that are those in float32, and of these that are
            the CPU's
rate        images a second of a training: 256 px, batch 32, and 1024 px, batch 8; `histology` at p = 0.6, all four
            phases at their intervals, bfloat16, and 256 px in float32 beside it
memory      the highest memory of a training of 2 images a step that share a group of the minibatch deviation, all four
            phases: 1024, 2048 and 4096 px, and 4096 px with one image. At 4096 px no more than 24 GB are to be had
pair        one pair of 4096 px from its latent to the written image, mask and uncertainty (zarr), once the networks are
            there; and the strips of one of 16384 px, made and dropped
extraction  the stored features of one latent of 4096 px, beside the synthesis of the same windows alone
pipe        seconds of the augmentation of a batch, forward and backward: 32 images of 256 px, 8 of 1024 px, each time
            drawn anew
filter      milliseconds of the generator's filter, 64 channels of 256 px, batch 32, by layout and type, and by the way
            that cuDNN takes for depthwise convolutions, where PyTorch lets it be chosen
fit         an ensemble of 10 members of the default recipe, on labels of 6 images of 1024 px
augmenters  a hundred steps of each augmenter, 64 px RGB, its own recipe otherwise; samples are the same after loading
compile     a generator's main phase at 256 px, batch 32, by torch.compile, against plain PyTorch; asked for by name
"""

from __future__ import annotations

import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np
import torch

from benchmarks.apart import Bound, Figures, Stopwatch, run
from benchmarks.augmenters import make_images, meta_gradient
from benchmarks.pixels import make_networks
from benchmarks.stylegan2 import measure_compile, trainer_of

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
CARD = 24e9  # bytes
BOUNDS = [
    Bound("values", "image", at_most=1e-4),
    Bound("values", "features", at_most=1e-4),
    Bound("values", "augmented", at_most=1e-4),
    Bound("values", "losses", at_most=1e-4),
    Bound("values", "penalties", at_most=1e-3),
    Bound("values", "gradients", at_most=5e-3),
    Bound("values", "meta_gradient", at_most=1e-8),
    Bound("labels", "float32_as_cpu", at_least=0.999),
    Bound("labels", "bfloat16_as_float32", at_least=0.98),
    Bound("memory 4096", "reserved_gb", at_most=24),
]


def px(size: int) -> int:
    """A size on a GPU, or a smaller one that shows that this works."""
    return size if GPU else max(size // 8, 64)


def measured(watch: Stopwatch) -> Figures:
    """Wall seconds since a stopwatch was made, once the GPU has done it all, and its highest memory."""
    if not GPU:
        return {"wall_s": watch.read()["wall_s"]}
    torch.cuda.synchronize()
    return {
        "wall_s": watch.read()["wall_s"],
        "gpu_gb": torch.cuda.max_memory_allocated() / 1e9,
        "reserved_gb": torch.cuda.max_memory_reserved() / 1e9,
    }


def difference(values: Any, wanted: Any, *, by_norm: bool = False) -> float:
    """|values - wanted| / |wanted|, both at their largest, or by their norms."""
    values, wanted = (torch.as_tensor(each).detach().double().cpu().flatten() for each in (values, wanted))
    order = 2 if by_norm else torch.inf
    return float((values - wanted).norm(order) / wanted.norm(order))


def measure_values(size: int = px(256)) -> Figures:
    from training.devices import choose_device

    choose_device(DEVICE)
    with torch.backends.mkldnn.flags(enabled=GPU):
        of_gpu = values_on(DEVICE, size)
    of_cpu = values_on("cpu", size)
    found: Figures = {}
    for name, wanted in of_cpu.items():
        figure, _, _ = name.partition(":")
        by_norm = figure == "gradients"
        found[figure] = max(found.get(figure, 0.0), difference(of_gpu[name], wanted, by_norm=by_norm))
    return found


def values_on(device: str, size: int) -> dict[str, Any]:
    """By "figure: what", all computed on a device in float32."""
    from hdgan.stylegan2 import AugmentPipe, Generator

    torch.manual_seed(0)
    generator = Generator(resolution=size).eval().requires_grad_(False)
    w = generator.mapping(torch.randn(1, 512)).to(device)
    image, features = generator.to(device).image_and_features(w, blocks=5)
    found = {"image": image, **{f"features: {name}": values for name, values in features.items()}}

    images = (torch.rand(4, 3, size, size) * 2 - 1).to(device).requires_grad_()
    weights = torch.randn(4, 3, size, size).to(device)
    for kind in ("histology", "bgcfnc"):
        augmented = AugmentPipe(kind).to(device)(images, p=0.8, generator=torch.Generator().manual_seed(0))
        (gradient,) = torch.autograd.grad((augmented * weights).sum(), images)
        found |= {f"augmented: {kind}": augmented, f"augmented: gradient of {kind}": gradient}

    trainer = trainer_of(64, 8, augment="histology", p=0.6, device=device, precision="fp32", channel_base=16384)
    found |= losses_of(trainer) | {"losses: of the first step": trainer.step(0)["loss_g"]}
    for name, value in meta_gradient(steps=4, batch=32, device=device).items():
        found[f"meta_gradient: {name}"] = value
    return found


def losses_of(trainer: Any) -> dict[str, torch.Tensor]:
    """Of the four phases, from the trainer's networks, and images, latents and noise drawn on the CPU."""
    from hdgan.stylegan2 import losses

    generator, discriminator, size = trainer.generator, trainer.discriminator, trainer.config.resolution
    draws = torch.Generator().manual_seed(0)
    shapes = (8, generator.config.z_dim), (8, 3, size, size), (8, 3, size, size)
    z, real, noise = (torch.randn(shape, generator=draws).to(trainer.device) for shape in shapes)
    w, real = generator.mapping(z), real.requires_grad_()
    fake, real_logits = generator.synthesis(w, noise="const"), discriminator(real)
    fake_logits = discriminator(fake)
    phases = {
        "losses: generator": (losses.generator_loss(fake_logits), generator),
        "losses: discriminator": (losses.fake_loss(fake_logits) + losses.real_loss(real_logits), discriminator),
        "penalties: path length": (losses.path_lengths(fake, w, noise / size), generator),
        "penalties: R1": (losses.r1_penalty(real_logits, real), discriminator),
    }
    found = {name: values for name, (values, _) in phases.items()}
    for name, (values, network) in phases.items():
        parts = torch.autograd.grad(values.mean(), [*network.parameters()], retain_graph=True, materialize_grads=True)
        found[f"gradients: {name}"] = torch.cat([part.flatten() for part in parts])
    return found


def measure_labels(size: int = px(4096)) -> Figures:
    from hdgan.latents import Latents
    from hdgan.stylegan2 import WindowSynthesis

    torch.set_grad_enabled(False)
    with tempfile.TemporaryDirectory() as folder:
        generator, ensemble = make_networks(size, Path(folder))
        latents, place = Latents.sample(generator, [0]), {"y": size // 4, "x": size // 4, "h": 128, "w": 128}
        asked = latents.synthesis(0, device=torch.device("cpu"))
        of_cpu = ensemble.predict(WindowSynthesis(generator, **asked).window(**place).features)[0]
        generator, ensemble = generator.to(DEVICE), ensemble.to(DEVICE)
        window = WindowSynthesis(generator, **latents.synthesis(0, device=torch.device(DEVICE))).window(**place)
        full, half = (
            ensemble.predictor(dtype=dtype).predict(window.features)[0] for dtype in (torch.float32, torch.bfloat16)
        )
    return {"float32_as_cpu": float(np.mean(full == of_cpu)), "bfloat16_as_float32": float(np.mean(half == full))}


def measure_rate(size: int, batch: int, precision: str = "auto") -> Figures:
    batch = batch if GPU else 4
    trainer = trainer_of(size, batch, augment="histology", p=0.6, device=DEVICE, precision=precision)
    for step in range(17 if GPU else 1):
        trainer.step(step)
    steps = range(32, 64 if GPU else 33)
    if GPU:
        torch.cuda.synchronize()
    watch = Stopwatch()
    for step in steps:
        trainer.step(step)
    figures = measured(watch)
    return {"images_per_s": len(steps) * batch / figures.pop("wall_s"), **figures}


def measure_memory(size: int, batch: int, *, limited: bool = False) -> Figures:
    if GPU and limited:
        torch.cuda.set_per_process_memory_fraction(CARD / torch.cuda.get_device_properties(0).total_memory)
    trainer = trainer_of(size, batch, augment="histology", p=0.6, device=DEVICE, mbstd_group=batch)
    trainer.step(16)  # all four phases, and convolutions are chosen
    watch = Stopwatch()
    trainer.step(32)
    found = {"all_phases_s" if name == "wall_s" else name: value for name, value in measured(watch).items()}
    watch = Stopwatch()
    trainer.step(33)
    return found | {"main_phases_s": measured(watch)["wall_s"]}


def measure_pair(size: int = px(4096)) -> Figures:
    from hdgan.latents import Latents
    from hdgan.pairs import synthesize

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        generator, ensemble = (network.to(DEVICE) for network in make_networks(size, Path(folder)))
        synthesize(generator, ensemble, Latents.sample(generator, [0]), Path(folder) / "first")
        watch = Stopwatch()
        synthesize(generator, ensemble, Latents.sample(generator, [1, 2]), Path(folder) / "pairs")
        figures = measured(watch)
        figures["wall_s"] /= 2
    return figures | {"wall_us_per_px": figures["wall_s"] / size**2 * 1e6}


def measure_strips(size: int) -> Figures:
    from hdgan.latents import Latents
    from hdgan.pairs.making import pair_strips

    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        generator, ensemble = (network.to(DEVICE) for network in make_networks(size, Path(folder)))
        latents = Latents.sample(generator, [0])
        exhaust(itertools.islice(pair_strips(generator, ensemble, latents), 1))  # kernels are chosen
        watch = Stopwatch()
        exhaust(pair_strips(generator, ensemble, latents))
        figures = measured(watch)
    return figures | {"wall_us_per_px": figures["wall_s"] / size**2 * 1e6}


def exhaust(made: Iterator[Any]) -> None:
    for _ in made:
        pass


def measure_extraction(size: int = px(4096)) -> Figures:
    from hdgan.features import extract
    from hdgan.latents import Latents
    from hdgan.stylegan2 import Generator, synthesize_windows

    torch.manual_seed(0)
    generator = Generator(resolution=size).eval().requires_grad_(False).to(DEVICE)
    latents = Latents.sample(generator, [0])
    asked = latents.synthesis(0, device=torch.device(DEVICE))
    for _ in range(2):
        watch = Stopwatch()
        exhaust(synthesize_windows(generator, **asked))
        synthesis = measured(watch)["wall_s"]
    with tempfile.TemporaryDirectory() as folder:
        watch = Stopwatch()
        extract(generator, latents, Path(folder) / "features")
        figures = measured(watch)
    return {"synthesis_s": synthesis, **figures}


def measure_pipe() -> Figures:
    from hdgan.stylegan2 import AugmentPipe
    from training.devices import suit_convolutions

    suit_convolutions(torch.device(DEVICE))
    pipe, found = AugmentPipe("histology").to(DEVICE), {}
    for size, batch in ((px(256), 32), (px(1024), 8)):
        images = (torch.rand(batch, 3, size, size, device=DEVICE) * 2 - 1).requires_grad_()
        for seed in range(24 if GPU else 2):
            if seed == (8 if GPU else 1):
                measured(Stopwatch())
                watch = Stopwatch()
            pipe(images, p=0.6, generator=torch.Generator().manual_seed(seed)).sum().backward()
        found[f"of_{size}_px_s"] = measured(watch)["wall_s"] / (16 if GPU else 1)
    return found


def measure_filter(size: int = px(256), channels: int = 64, batch: int = 32) -> Figures:
    from hdgan.stylegan2.ops import resampling_filter, upfirdn2d

    taps, found = resampling_filter().to(DEVICE), {}
    choices = ("auto", "native") if hasattr(torch.backends.cudnn, "depthwise_kernel") else ("auto",)
    for kernel in choices:
        if len(choices) > 1:
            torch.backends.cudnn.depthwise_kernel = kernel
        for dtype in (torch.float32, torch.bfloat16):
            for layout in (torch.contiguous_format, torch.channels_last):
                x = torch.randn(batch if GPU else 2, channels, size, size, device=DEVICE, dtype=dtype)
                x = x.contiguous(memory_format=layout).requires_grad_()
                for turn in range(12 if GPU else 2):
                    if turn == (2 if GPU else 1):
                        measured(Stopwatch())
                        watch = Stopwatch()
                    upfirdn2d(x, taps, padding=2).sum().backward()
                name = f"{kernel}_{str(dtype)[6:]}_{str(layout)[6:]}"
                found[f"{name}_ms"] = 1e3 * measured(watch)["wall_s"] / (10 if GPU else 1)
    return found


def measure_fit(size: int = px(1024)) -> Figures:
    from hdgan.features import extract
    from hdgan.latents import Latents
    from hdgan.pixels import PRESETS, fit
    from hdgan.stylegan2 import Generator

    torch.manual_seed(0)
    generator = Generator(resolution=size, channel_base=8 * size).eval().requires_grad_(False).to(DEVICE)
    labels = {i: np.random.default_rng(i).integers(0, 5, (size, size), np.uint8) for i in range(8)}
    split = {"train": list(range(6)), "validation": [6], "test": []}
    recipe = replace(PRESETS["default"], patience=None)
    with tempfile.TemporaryDirectory() as folder:
        store = extract(generator, Latents.sample(generator, range(8)), Path(folder) / "features")
        watch = Stopwatch()
        fit(store, labels, Path(folder) / "fit", split=split, members=10, preset=recipe, device=DEVICE)
        return measured(watch)


def measure_augmenters() -> Figures:
    from hdgan.augmenters.registry import create, load, names

    images, found = make_images(size=64 if GPU else 32), {}
    for name in names():
        if name == "geometric":
            continue
        with tempfile.TemporaryDirectory() as folder:
            settings = {"kimg": 3.2 if GPU else 0.1} if name == "stylegan2" else {"steps": 100 if GPU else 2}
            watch = Stopwatch()
            made = create(name, **settings).fit(images, run=Path(folder) / "run", device=DEVICE)
            found[f"{name}_s"] = measured(watch)["wall_s"]
            made.save(Path(folder) / "saved")
            again = load(Path(folder) / "saved", device=DEVICE)
            found[f"{name}_same_samples"] = bool(np.array_equal(made.sample(8, 1, seed=0), again.sample(8, 1, seed=0)))
    return found


MEASURES: dict[str, Callable[[], Figures]] = {
    "values": measure_values,
    "labels": measure_labels,
    "rate 256": lambda: measure_rate(px(256), 32),
    "rate 256 float32": lambda: measure_rate(px(256), 32, "fp32"),
    "rate 1024": lambda: measure_rate(px(1024), 8),
    "memory 1024": lambda: measure_memory(px(1024), 2),
    "memory 2048": lambda: measure_memory(px(2048), 2),
    "memory 4096": lambda: measure_memory(px(4096), 2, limited=True),
    "memory 4096 one image": lambda: measure_memory(px(4096), 1, limited=True),
    "pair 4096": measure_pair,
    "pair 16384": lambda: measure_strips(px(16384)),
    "extraction": measure_extraction,
    "pipe": measure_pipe,
    "filter": measure_filter,
    "fit": measure_fit,
    "augmenters": measure_augmenters,
    "compile": lambda: measure_compile(px(256), 32 if GPU else 2, DEVICE),
}

if __name__ == "__main__":
    run(__file__, __doc__, MEASURES, BOUNDS, left_out=["compile"], gpu=True)
