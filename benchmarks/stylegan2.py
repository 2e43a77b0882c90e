"""What StyleGAN2-ADA costs: `python benchmarks/stylegan2.py [--only NAME ...] [--json]`.

Each figure comes from a process of its own: CPU seconds (of all threads), wall seconds, and the largest resident set,
all included. Beside it stands the share of what the published reference took on the same kind of machine (2 cores,
float32): of its CPU seconds, and of its largest resident set.

forward     the generator on one latent, channel_base 32768: 256 and 1024 px, and 4096 px window by window
iteration   one training step, averaged over the lazy intervals: main phases of both networks, a quarter of a path
            length phase, a sixteenth of an R1 phase; channel_base 16384, `bgc` at p = 0.6
pipe        the augmentation pipe forward and backward, `bgc` at p = 1: 16 images of 256 px, one of 4096 px
demo        training at 64 px on tiles of the demo's slide: images a second, and the operations that take most
ways        (if asked for) other ways to do what layers do, against ours: weights for each sample in a grouped
            convolution, against scaled activations; the filter's 4 x 4 taps at once, against ours. Forward and backward
compile     (if asked for) a generator's main phase at 64 px, batch 8, by torch.compile, against plain PyTorch

What a GPU takes is in `benchmarks/gpu.py`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import Bound, Figures, Stopwatch, peak_gb, run

# CPU seconds and GB of the reference
REFERENCE = {
    "forward 256": (2.13, 0.68),
    "forward 1024": (6.25, 1.06),
    "forward 4096": (30.3, 4.15),
    "iteration 64": (35.2, 2.8),
    "iteration 256": (52.9, 4.3),
    "pipe 256": (7.8, 3.0),
}
BOUNDS = [
    Bound("forward 256", "share_of_cpu", at_most=0.6),
    Bound("forward 1024", "share_of_cpu", at_most=0.6),
    Bound("forward 4096", "share_of_cpu", at_most=0.6),
    Bound("forward 4096", "peak_gb", at_most=1.0),
    Bound("iteration 64", "share_of_cpu", at_most=0.5),
    Bound("iteration 64", "share_of_memory", at_most=0.6),
    Bound("iteration 256", "share_of_cpu", at_most=0.5),
    Bound("iteration 256", "share_of_memory", at_most=0.6),
    Bound("pipe 256", "share_of_cpu", at_most=0.5),
    Bound("pipe 256", "share_of_memory", at_most=0.5),
    Bound("pipe 4096", "peak_gb", at_most=3.0),
    Bound("demo 64", "largest_other", at_most=0.15),
]


def measure_forward(size: int) -> Figures:
    import torch

    from hdgan.stylegan2 import Generator, synthesize_image

    torch.manual_seed(0)
    generator = Generator(resolution=size).eval().requires_grad_(False)
    best: Figures = {}
    with torch.inference_mode():
        w = generator.mapping(torch.randn(1, 512))
        for _ in range(2 if size > 1024 else 4):
            watch = Stopwatch()
            if size > 1024:
                synthesize_image(generator, w)
            else:
                generator.synthesis(w, noise="const")
            best = min(best or watch.read(), watch.read(), key=lambda figures: figures["cpu_s"])
    return best


class Noise:
    """Tiles of noise, as fast to read as can be."""

    def __init__(self, size: int) -> None:
        import numpy as np

        self._tiles = np.random.default_rng(0).integers(0, 256, (8, size, size, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self._tiles)

    def read(self, index: int) -> Any:
        return self._tiles[index]


def trainer_of(
    size: int, batch: int, *, augment: str, p: float, device: str = "cpu", precision: str = "auto", **settings: Any
) -> Any:
    from hdgan.stylegan2 import train_config
    from hdgan.stylegan2.execution import Execution
    from hdgan.stylegan2.trainer import StyleGAN2Trainer

    config = train_config("auto", resolution=size, kimg=10, batch=batch, augment=augment, **settings)
    execution = Execution(device, precision)
    trainer = StyleGAN2Trainer(replace(config, ada_target=0.6), Noise(size), range(8), execution=execution)
    trainer.augment_p = p
    return trainer


def measure_iteration(size: int, batch: int) -> Figures:
    trainer = trainer_of(size, batch, augment="bgc", p=0.6, channel_base=16384)
    # 1 has the main phases alone, 4 a path length phase besides, 16 an R1 phase, too
    times: dict[int, Figures] = {}
    for step in (16, 1, 4, 16, 1, 4):
        watch = Stopwatch()
        trainer.step(step)
        times[step] = watch.read()  # the second time: buffers of the optimisers are there
    return {
        unit: times[1][unit] + (times[4][unit] - times[1][unit]) / 4 + (times[16][unit] - times[4][unit]) / 16
        for unit in ("cpu_s", "wall_s")
    }


def measure_pipe(size: int, count: int) -> Figures:
    import torch

    from hdgan.stylegan2 import AugmentPipe

    images = (torch.rand(count, 3, size, size) * 2 - 1).requires_grad_()
    pipe = AugmentPipe("bgc")
    best: Figures = {}
    for seed in range(1 if size > 1024 else 3):
        images.grad = None
        watch = Stopwatch()
        pipe(images, p=1.0, generator=torch.Generator().manual_seed(seed)).sum().backward()
        best = min(best or watch.read(), watch.read(), key=lambda figures: figures["cpu_s"])
    return best


def measure_demo(size: int) -> Figures:
    from torch.profiler import ProfilerActivity, profile

    from hdgan.stylegan2 import train_config
    from hdgan.stylegan2.execution import Execution
    from hdgan.stylegan2.trainer import StyleGAN2Trainer
    from tiling import TileSet

    with tempfile.TemporaryDirectory() as folder:
        for verb in (
            f"demo phantom {folder}/slides --size 4096",
            f"tile {folder}/slides --size {size} --study {folder}",
        ):
            subprocess.run([sys.executable, "-m", "hdgan", *verb.split()], check=True, stdout=subprocess.DEVNULL)
        tiles = TileSet.open(Path(folder) / "tiles")
        config = train_config("small", resolution=size, kimg=10)
        trainer = StyleGAN2Trainer(config, tiles, range(len(tiles)), execution=Execution("cpu"))
        trainer.augment_p = 0.3
        for step in range(4):
            trainer.step(step)
        watch = Stopwatch()
        for step in range(4, 20):
            trainer.step(step)
        figures = watch.read()
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for step in range(20, 36):
                trainer.step(step)
    figures["images_per_s"] = 16 * config.batch / figures.pop("wall_s")
    spent = {event.key: event.self_cpu_time_total for event in found.key_averages()}
    others = {name: time_ for name, time_ in spent.items() if "conv" not in name.lower()}
    largest = sorted(others, key=lambda name: -others[name])[:3]
    total = sum(spent.values())
    figures["largest_other"] = others[largest[0]] / total
    figures["convolutions"] = sum(t for name, t in spent.items() if "conv" in name.lower()) / total
    figures["largest_others"] = {name: round(others[name] / total, 3) for name in largest}
    return figures


def seconds_of(function: Callable[[], Any]) -> float:
    """Wall seconds, the least of six."""
    best = float("inf")
    for _ in range(6):
        watch = Stopwatch()
        function()
        best = min(best, watch.read()["wall_s"])
    return best


def measure_ways(size: int, channels: int, batch: int) -> Figures:
    import torch
    import torch.nn.functional as F

    from hdgan.stylegan2.activation import bias_act
    from hdgan.stylegan2.ops import channels_last, modulated_conv2d, resampling_filter, upfirdn2d

    x = channels_last(torch.randn(batch, channels, size, size)).requires_grad_()
    weight = torch.randn(channels, channels, 3, 3).requires_grad_()
    styles = torch.rand(batch, channels).requires_grad_()
    bias, taps = torch.zeros(channels).requires_grad_(), resampling_filter()

    def scaled() -> None:
        y, coefficients = modulated_conv2d(x, weight, styles)
        bias_act(y, bias, activation="lrelu", scale=coefficients).sum().backward()

    def grouped() -> None:
        each = weight * styles[:, None, :, None, None]
        each = (each * (each.square().sum(dim=(2, 3, 4), keepdim=True) + 1e-8).rsqrt()).flatten(0, 1)
        y = F.conv2d(x.reshape(1, -1, size, size), each, padding=1, groups=batch).view(x.shape)
        bias_act(y, bias, activation="lrelu").sum().backward()

    def separable() -> None:
        upfirdn2d(x, taps, padding=2).sum().backward()

    def at_once() -> None:
        kernel = taps.outer(taps).flip(0, 1) if taps.ndim == 1 else taps.flip(0, 1)
        kernel = (kernel / kernel.sum()).expand(channels, 1, -1, -1)
        F.conv2d(x, kernel, padding=2, groups=channels).sum().backward()

    convolution, filtering = seconds_of(scaled), seconds_of(separable)
    return {
        "scaled_s": convolution,
        "grouped_share": seconds_of(grouped) / convolution,
        "filter_s": filtering,
        "at_once_share": seconds_of(at_once) / filtering,
    }


def measure_compile(size: int, batch: int, device: str = "cpu") -> Figures:
    import torch

    from hdgan.stylegan2.losses import generator_loss

    trainer = trainer_of(size, batch, augment="bgc", p=0.6, device=device, channel_base=16384)
    networks = trainer.generator.synthesis, trainer.discriminator
    w = trainer.generator.mapping(torch.randn(batch, 512, device=trainer.device)).detach()
    both = {"plain": networks, "compiled": tuple(torch.compile(network) for network in networks)}
    found: Figures = {}
    for name, (synthesis, discriminator) in both.items():
        times = []
        for _ in range(6):
            watch = Stopwatch()
            generator_loss(discriminator(synthesis(w, noise="const"))).mean().backward()
            if trainer.device.type == "cuda":
                torch.cuda.synchronize()
            times.append(watch.read()["wall_s"])
        found |= {f"{name}_first_s": times[0], f"{name}_s": min(times)}
    return found | {"compiled_share": found["compiled_s"] / found["plain_s"]}


def beside_reference(name: str, figures: Figures) -> Figures:
    seconds, gb = REFERENCE[name]
    return figures | {"share_of_cpu": figures["cpu_s"] / seconds, "share_of_memory": peak_gb() / gb}


MEASURES: dict[str, Callable[[], Figures]] = {
    "forward 256": lambda: beside_reference("forward 256", measure_forward(256)),
    "forward 1024": lambda: beside_reference("forward 1024", measure_forward(1024)),
    "forward 4096": lambda: beside_reference("forward 4096", measure_forward(4096)),
    "iteration 64": lambda: beside_reference("iteration 64", measure_iteration(64, 8)),
    "iteration 256": lambda: beside_reference("iteration 256", measure_iteration(256, 4)),
    "pipe 256": lambda: beside_reference("pipe 256", measure_pipe(256, 16)),
    "pipe 4096": lambda: measure_pipe(4096, 1),
    "demo 64": lambda: measure_demo(64),
    "ways 64 px, 4": lambda: measure_ways(64, 256, 4),
    "ways 64 px, 16": lambda: measure_ways(64, 256, 16),
    "ways 256 px, 4": lambda: measure_ways(256, 64, 4),
    "compile 64": lambda: measure_compile(64, 8),
}


if __name__ == "__main__":
    run(__file__, __doc__, MEASURES, BOUNDS, left_out=["ways", "compile"])
