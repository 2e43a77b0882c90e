"""What the augmenters are to show: `python benchmarks/augmenters.py [--only NAME ...] [--json]`.

Each measure is made in a process of its own, on random images. Beside a figure stands the bound that it is to keep, and
whether it does. All is about GMCL: teacher and student of the paper, 32 px RGB, 4 classes, 64 images in a batch of the
curriculum, 128 real ones. M is the number of inner steps.

gradient    in float64, the meta-gradient by the adjoint against that by PyTorch's graph of all steps, for M = 1, 4 and
            10 (of 64, 32 and 8 images each): the largest relative difference of whole gradients, with respect to the
            student, the log rates, the log momenta, the images of all steps, and the teacher
memory      what the largest resident set grows by in an outer step, once the networks are built: the square root of M
            states kept, M = 4 and 32, and the graph of 32 steps, each in a process of its own; and their seconds
time        CPU seconds of an outer step of M = 10 by both, the better of two in turn
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import peak_gb, run_apart

Figures = dict[str, Any]
CLASSES = ("a", "b", "c", "d")
BATCH_OF = {1: 64, 4: 32, 10: 8}  # inner steps: images in each, for the gradient
OUTER_STEPS = [("sqrt", 4), ("sqrt", 32), ("plain", 32)]

# Figures that are to stay below a bound
AT_MOST = {
    ("gradient", "of_student"): 1e-10,
    ("gradient", "of_log_rates"): 1e-10,
    ("gradient", "of_log_momenta"): 1e-10,
    ("gradient", "of_images"): 1e-10,
    ("gradient", "of_teacher"): 1e-10,
    ("memory", "share_of_sqrt_4"): 1.5,
    ("memory", "share_of_plain_32"): 1 / 6,
    ("memory", "share_of_cpu_of_plain_32"): 1.5,
    ("time", "share_of_cpu"): 1.5,
}


def make_images() -> Any:
    """Random ones, as many of each class."""
    import numpy as np

    from hdgan.augmenters.images import LabelledImages

    pixels = np.random.default_rng(0).integers(0, 256, (256, 32, 32, 3), np.uint8)
    return LabelledImages(pixels, np.arange(len(pixels)) % len(CLASSES), CLASSES)


def make_trainer(mode: str, steps: int) -> Any:
    from hdgan.augmenters.gmcl import GMCLConfig, GMCLTrainer
    from training.host import Host

    return GMCLTrainer(GMCLConfig(mode=mode, inner_steps=steps), make_images(), seed=0, host=Host("cpu"))


def measure_gradient() -> Figures:
    """The worst of all cases."""
    import numpy as np

    cases = [differences(steps, batch) for steps, batch in BATCH_OF.items()]
    return {name: float(np.max([case[name] for case in cases])) for name in cases[0]}


def differences(steps: int, batch: int) -> dict[str, float]:
    """|by the adjoint - by the graph| / |by the graph| of each gradient, from a student that has a momentum."""
    import torch
    import torch.nn.functional as F

    from hdgan.augmenters.base import Shape
    from hdgan.augmenters.batches import one_hot
    from hdgan.augmenters.classifier_networks import StudentNetwork
    from hdgan.augmenters.gmcl import Curriculum, GMCLConfig
    from hdgan.augmenters.meta_gradient import Flattened, Inner, State, by_adjoint, by_graph

    torch.manual_seed(steps)
    shape = Shape.of(make_images())
    curriculum = Curriculum(shape, GMCLConfig(inner_steps=steps, inner_batch=batch)).double()
    student = StudentNetwork(shape).double()
    flat = Flattened(student)
    begin = State(flat.vector(), 0.01 * torch.randn_like(flat.vector()))
    settings = [logs.detach() + 0.1 * torch.randn_like(logs) for logs in (curriculum.log_rates, curriculum.log_momenta)]
    labels = [one_hot(each, len(CLASSES)).double() for each in curriculum.labels]
    real = [(torch.randn(2 * batch, 3, 32, 32).double(), torch.cat([labels[0], labels[0]]))]

    @torch.no_grad()
    def drawn(step: int) -> list[Any]:
        return [(curriculum(curriculum.z[step], labels[step]), labels[step])]

    found = []
    for way in (by_graph, by_adjoint):
        images: dict[int, Any] = {}

        def push(step: int, gradients: Sequence[Any], images: dict[int, Any] = images) -> None:
            images[step] = gradients[0]
            curriculum(curriculum.z[step], labels[step]).backward(gradients[0])

        curriculum.zero_grad()
        inner = Inner(lambda theta, x, c: F.cross_entropy(flat.call(theta, x), c), drawn)
        result = way(inner, begin, *settings, real, push)
        found.append(
            {
                "of_student": result.of_theta,
                "of_log_rates": result.of_log_rates,
                "of_log_momenta": result.of_log_momenta,
                "of_images": torch.stack([images[step] for step in range(steps)]),
                "of_teacher": torch.cat([p.grad.flatten() for p in curriculum.teacher.parameters()]),
            }
        )
    by_all_steps, by_each = found
    return {name: float((by_each[name] - wanted).norm() / wanted.norm()) for name, wanted in by_all_steps.items()}


def measure_outer_step(mode: str, steps: int) -> Figures:
    trainer = make_trainer(mode, steps)
    before, cpu, began = peak_gb(), time.process_time(), time.perf_counter()
    trainer.step(0)
    return {
        "gb": peak_gb() - before,
        "cpu_s": time.process_time() - cpu,
        "wall_s": time.perf_counter() - began,
    }


def measure_memory() -> Figures:
    found: Figures = {}
    for mode, steps in OUTER_STEPS:
        of_step = run_apart(__file__, f"{mode} {steps}")
        if "failed" in of_step:
            raise RuntimeError(of_step["failed"])
        found |= {f"{mode}_{steps}_{name}": of_step[name] for name in ("gb", "cpu_s", "wall_s")}
    found["share_of_sqrt_4"] = found["sqrt_32_gb"] / found["sqrt_4_gb"]
    found["share_of_plain_32"] = found["sqrt_32_gb"] / found["plain_32_gb"]
    found["share_of_cpu_of_plain_32"] = found["sqrt_32_cpu_s"] / found["plain_32_cpu_s"]
    return found


def measure_time(steps: int = 10) -> Figures:
    trainers = {mode: make_trainer(mode, steps) for mode in ("plain", "sqrt")}
    spent: dict[str, list[float]] = {mode: [] for mode in trainers}
    for index in range(2):
        for mode, trainer in trainers.items():
            cpu = time.process_time()
            trainer.step(index)
            spent[mode].append(time.process_time() - cpu)
    found: Figures = {f"{mode}_cpu_s": min(seconds) for mode, seconds in spent.items()}
    return found | {"share_of_cpu": found["sqrt_cpu_s"] / found["plain_cpu_s"]}


MEASURES: dict[str, Callable[[], Figures]] = {
    "gradient": measure_gradient,
    "memory": measure_memory,
    "time": measure_time,
}
PARTS: dict[str, Callable[[], Figures]] = {
    f"{mode} {steps}": partial(measure_outer_step, mode, steps) for mode, steps in OUTER_STEPS
}


def verdicts(results: Figures) -> list[Figures]:
    """Of every bound on what was measured: the figure, None where the measure failed, and whether it is met."""
    found = []
    for (measure, figure), bound in AT_MOST.items():
        if measure in results:
            value = results[measure].get(figure)
            met = value is not None and value <= bound
            found.append({"measure": measure, "figure": figure, "at most": bound, "value": value, "met": met})
    return found


def table(measure: str, figures: Figures) -> str:
    """A line for each figure, with its bound if it has one."""
    bounds = {each["figure"]: each for each in verdicts({measure: figures})}
    lines = []
    for figure, value in figures.items():
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        line = f"{measure:12}{figure:26}{text:>12}"
        if bound := bounds.get(figure):
            line += f"   at most {bound['at most']:.3g}: {'met' if bound['met'] else 'missed'}"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=list(MEASURES), help="what to measure")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", choices=MEASURES | PARTS, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps((MEASURES | PARTS)[asked.measure]() | {"peak_gb": peak_gb()}))
        return
    import torch

    machine = {
        "machine": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
    results: Figures = {}
    for name in asked.only:
        results[name] = run_apart(__file__, name)
        if not asked.json:
            print(table(name, results[name]), flush=True)
    bounds = verdicts(results)
    if asked.json:
        print(json.dumps(machine | results | {"bounds": bounds}))
    else:
        print(f"{sum(each['met'] for each in bounds)} of {len(bounds)} bounds are met")
        print("{machine}, PyTorch {torch}, {threads} threads".format(**machine))


if __name__ == "__main__":
    main()
