"""What the augmentation pipe takes on a CPU: `python benchmarks/augment.py [--only WORD] [--json]`.

Every case runs in a fresh process with one thread, at strength p = 1, after the pipe was used on an image of 32 px.
Memory is what the largest resident set then grows by, images and their gradients included. Linux only.

Draws are "seeded"; or those of the geometry are hard: content turned by 45 degrees, moved by an eighth of the size, and
made smaller ("shrunk", by 2^-0.4) or larger ("grown", by 2^0.4). The "first derivative" is the gradient of a weighted
sum; the "second" that of the sum of the squared gradient of a sum of squares, as R1 needs it.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import subprocess
import sys
from itertools import product
from pathlib import Path
from unittest import mock

sys.path[0] = str(Path(__file__).resolve().parents[1])

import torch
from torch import Tensor

from hdgan.stylegan2.augment import AugmentPipe

SIZES = {256: 16, 1024: 1, 4096: 1}  # px: images
DERIVATIVES = ("first", "second")
CASES = [
    *product(("bgc", "histology"), SIZES, DERIVATIVES, ["seeded"]),
    *product(("bgc", "histology"), [4096], DERIVATIVES, ["shrunk", "grown"]),
    *product(["bgcfnc"], SIZES, DERIVATIVES, ["seeded"]),
]


def measure(preset: str, size: int, derivative: str, draws: str) -> tuple[float, float]:
    """GB that the resident set of this process grows by, and seconds of the CPU."""
    pipe = AugmentPipe(preset)
    _differentiate(pipe, torch.rand(1, 3, 32, 32), derivative, draws)
    memory, seconds = _used()
    _differentiate(pipe, torch.rand(SIZES[size], 3, size, size), derivative, draws)
    memory_after, seconds_after = _used()
    return memory_after - memory, seconds_after - seconds


def _differentiate(pipe: AugmentPipe, images: Tensor, derivative: str, draws: str) -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in range(len(images))]
    images.requires_grad_()
    if draws == "seeded":
        augmented = pipe(images, p=1, generator=generators)
    else:
        hard = _hard_affine(len(images), images.shape[3], draws)
        with mock.patch("hdgan.stylegan2.augment.draw_affine", return_value=hard):
            augmented = pipe(images, p=1, generator=generators)
    if derivative == "first":
        augmented.backward(torch.linspace(0, 1, images.shape[3]).expand_as(augmented))
    else:
        (gradient,) = torch.autograd.grad(augmented.square().sum(), images, create_graph=True)
        gradient.square().sum().backward()


def _hard_affine(count: int, size: int, draws: str) -> Tensor:
    turn = 2 ** (-0.4 if draws == "shrunk" else 0.4) * math.sqrt(0.5)
    rows = [[turn, turn, size / 8], [-turn, turn, size / 8], [0, 0, 1]]
    return torch.tensor(rows, dtype=torch.float64).repeat(count, 1, 1)


def _used() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_maxrss * 1024 / 1e9, used.ru_utime + used.ru_stime


def main() -> None:
    """Print a line of figures for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="cases whose name has this word")
    parser.add_argument("--json", action="store_true", help="a JSON object a line, instead of a table")
    parser.add_argument("--case", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        preset, size, derivative, draws = options.case
        torch.set_num_threads(1)
        print(json.dumps(measure(preset, int(size), derivative, draws)))
        return
    for preset, size, derivative, draws in CASES:
        name = f"{preset}, {SIZES[size]} of {size} px, {derivative} derivative, {draws}"
        if options.only not in name:
            continue
        command = [sys.executable, __file__, "--case", preset, str(size), derivative, draws]
        gigabytes, seconds = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        if options.json:
            print(json.dumps({"case": name, "gigabytes": gigabytes, "cpu_seconds": seconds}), flush=True)
        else:
            print(f"| {name} | {gigabytes:.2f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
