"""What the augmenters are to show: `python benchmarks/augmenters.py [--only NAME ...] [--json]`.

Each measure is made in a process of its own. Beside a figure stands the bound that it is to keep, and whether it does.

Three are about GMCL, on random images: teacher and student of the paper, 32 px RGB, 4 classes, 64 images in a batch of
the curriculum, 128 real ones. M is the number of inner steps.

gradient    in float64, the meta-gradient by the adjoint against that by PyTorch's graph of all steps, for M = 1, 4 and
            10 (of 64, 32 and 8 images each): the largest relative difference of whole gradients, with respect to the
            student, the log rates, the log momenta, the images of all steps, and the teacher
memory      what the largest resident set grows by in an outer step, once the networks are built: the square root of M
            states kept, M = 4 and 32, and the graph of 32 steps, each in a process of its own; and their seconds
time        CPU seconds of an outer step of M = 10 by both, the better of two in turn

Two are on the file that the environment variable HDGAN_IMAGES names, MedMNIST's `pneumoniamnist.npz`, and are left out
where it names none:

recognised  of dcgan, cvae and cvaedcgan, each fitted in a process of its own: the share of 200 samples of a class that
            a classifier of real images (balanced, as normal ones are few) takes for it, the lower one of the two, how
            many of the real images of the validation part it takes for theirs, and the seconds of the fit. What the
            samples look like: `benchmarks/augmenter_grid.py`
quick       `hdgan augment benchmark --plan quick`, three seeds: wall seconds, and the balanced accuracy of GMCL, of its
            network trained on as many real images, and of classifiers without and with samples
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import Bound, Figures, Stopwatch, peak_gb, run, run_part
from benchmarks.augmenter_grid import METHODS, SETTINGS

CLASSES = ("a", "b", "c", "d")
BATCH_OF = {1: 64, 4: 32, 10: 8}  # inner steps: images in each, for the gradient
OUTER_STEPS = [("sqrt", 4), ("sqrt", 32), ("plain", 32)]

BOUNDS = [
    Bound("gradient", "of_student", at_most=1e-10),
    Bound("gradient", "of_log_rates", at_most=1e-10),
    Bound("gradient", "of_log_momenta", at_most=1e-10),
    Bound("gradient", "of_images", at_most=1e-10),
    Bound("gradient", "of_teacher", at_most=1e-10),
    Bound("memory", "share_of_sqrt_4", at_most=1.5),
    Bound("memory", "share_of_plain_32", at_most=1 / 6),
    Bound("memory", "share_of_cpu_of_plain_32", at_most=1.5),
    Bound("time", "share_of_cpu", at_most=1.5),
    *(Bound("recognised", f"{method}_worst", at_least=0.85) for method in METHODS),
    Bound("quick", "wall_s", at_most=900),
]
SAMPLES = 200  # of a class


def make_images(size: int = 32) -> Any:
    """Random ones, as many of each class."""
    import numpy as np

    from hdgan.augmenters.images import LabelledImages

    pixels = np.random.default_rng(0).integers(0, 256, (256, size, size, 3), np.uint8)
    return LabelledImages(pixels, np.arange(len(pixels)) % len(CLASSES), CLASSES)


def make_trainer(mode: str, steps: int) -> Any:
    from hdgan.augmenters.gmcl import GMCLTrainer
    from hdgan.augmenters.gmcl_config import GMCLConfig
    from training.host import Host

    return GMCLTrainer(GMCLConfig(mode=mode, inner_steps=steps), make_images(), seed=0, host=Host("cpu"))


def measure_gradient() -> Figures:
    """The worst of all cases."""
    import numpy as np

    cases = [differences(steps, batch) for steps, batch in BATCH_OF.items()]
    return {name: float(np.max([case[name] for case in cases])) for name in cases[0]}


def differences(steps: int, batch: int) -> dict[str, float]:
    """|by the adjoint - by the graph| / |by the graph| of each gradient, from a student that has a momentum."""
    by_each, wanted = (meta_gradient(steps, batch, by=way) for way in ("adjoint", "graph"))
    return {name: float((by_each[name] - of_all).norm() / of_all.norm()) for name, of_all in wanted.items()}


def meta_gradient(steps: int, batch: int, *, by: str = "adjoint", device: str = "cpu") -> Figures:
    """With respect to each, in float64, from the same draws for either way and on any device."""
    import torch
    import torch.nn.functional as F

    from hdgan.augmenters.base import Shape
    from hdgan.augmenters.batches import one_hot
    from hdgan.augmenters.classifier_networks import StudentNetwork
    from hdgan.augmenters.gmcl_config import GMCLConfig
    from hdgan.augmenters.gmcl_networks import Curriculum
    from hdgan.augmenters.meta_gradient import Flattened, Inner, State, by_adjoint, by_graph

    torch.manual_seed(steps)
    there: dict[str, Any] = {"device": device, "dtype": torch.float64}
    shape = Shape.of(make_images())
    curriculum = Curriculum(shape, GMCLConfig(inner_steps=steps, inner_batch=batch)).to(**there)
    student = StudentNetwork(shape).to(**there)
    flat = Flattened(student)
    begin = State(flat.vector(), 0.01 * torch.randn(flat.vector().shape).to(**there))
    logs = (curriculum.log_rates, curriculum.log_momenta)
    settings = [each.detach() + 0.1 * torch.randn(each.shape).to(**there) for each in logs]
    labels = [one_hot(each.to(device), len(CLASSES)).to(**there) for each in curriculum.labels]
    real = [(torch.randn(2 * batch, 3, 32, 32).to(**there), torch.cat([labels[0], labels[0]]))]
    images: dict[int, Any] = {}

    @torch.no_grad()
    def drawn(step: int) -> list[Any]:
        return [(curriculum(curriculum.z[step], labels[step]), labels[step])]

    def push(step: int, gradients: Sequence[Any]) -> None:
        images[step] = gradients[0]
        curriculum(curriculum.z[step], labels[step]).backward(gradients[0])

    inner = Inner(lambda theta, x, c: F.cross_entropy(flat.call(theta, x), c), drawn)
    result = {"adjoint": by_adjoint, "graph": by_graph}[by](inner, begin, *settings, real, push)
    return {
        "of_student": result.of_theta,
        "of_log_rates": result.of_log_rates,
        "of_log_momenta": result.of_log_momenta,
        "of_images": torch.stack([images[step] for step in range(steps)]),
        "of_teacher": torch.cat([p.grad.flatten() for p in curriculum.teacher.parameters()]),
    }


def measure_outer_step(mode: str, steps: int) -> Figures:
    trainer = make_trainer(mode, steps)
    before, watch = peak_gb(), Stopwatch()
    trainer.step(0)
    return watch.read() | {"gb": peak_gb() - before}


def measure_memory() -> Figures:
    found: Figures = {}
    for mode, steps in OUTER_STEPS:
        of_step = run_part(__file__, f"{mode} {steps}")
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
            watch = Stopwatch()
            trainer.step(index)
            spent[mode].append(watch.read()["cpu_s"])
    found: Figures = {f"{mode}_cpu_s": min(seconds) for mode, seconds in spent.items()}
    return found | {"share_of_cpu": found["sqrt_cpu_s"] / found["plain_cpu_s"]}


def images_file() -> Path:
    """The file of images; a RuntimeError where none is named, or there is none."""
    named = os.environ.get("HDGAN_IMAGES", "")
    if not Path(named).is_file():
        raise RuntimeError(f"set HDGAN_IMAGES to MedMNIST's pneumoniamnist.npz: there is no file {named!r}")
    return Path(named)


def measure_recognised() -> Figures:
    images_file()
    return {
        f"{method}_{name}": value
        for method in METHODS
        for name, value in run_part(__file__, f"recognised {method}").items()
        if name != "peak_gb"
    }


def measure_recognised_of(method: str) -> Figures:
    """By class, the worst, and the cost of the fit; the classifier that judges is the same for all methods."""
    from hdgan.augmenters import create, open_images
    from hdgan.augmenters.classifier import ClassifierConfig, fit_classifier

    parts = open_images(images_file(), classes=("normal", "pneumonia"))
    images, others = parts["train"], parts["val"]
    with tempfile.TemporaryDirectory() as folder:
        watch = Stopwatch()
        made = create(method, **SETTINGS).fit(images, run=Path(folder, method), device="cpu")
        spent = watch.read()
        config = ClassifierConfig(steps=300, batch=64, width=32, balanced=True)
        judge = fit_classifier(images, run=Path(folder, "judge"), config=config, device="cpu")
    of_class: Figures = {}
    for label, name in enumerate(images.classes):
        taken_for = judge.predict(made.sample(SAMPLES, label, seed=0)).argmax(axis=1)
        of_class[name] = float((taken_for == label).mean())
    right = judge.predict(others.pixels).argmax(axis=1) == others.labels
    real = {f"real_{name}": float(right[others.labels == label].mean()) for label, name in enumerate(images.classes)}
    return of_class | {"worst": min(of_class.values())} | real | spent


def measure_quick() -> Figures:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-P", "-m", "hdgan", "augment", "benchmark", "--images", str(images_file())]
        command += ["--study", folder, "--plan", "quick", "--device", "cpu", "--json"]
        watch = Stopwatch()
        ended = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = {"wall_s": watch.read()["wall_s"]}
    report = json.loads(ended.stdout)
    rows = {**report["classifiers"], **report["students"]}
    return found | {name: of["mean"]["balanced_accuracy"] for name, of in rows.items()}


MEASURES: dict[str, Callable[[], Figures]] = {
    "gradient": measure_gradient,
    "memory": measure_memory,
    "time": measure_time,
    "recognised": measure_recognised,
    "quick": measure_quick,
}
PARTS: dict[str, Callable[[], Figures]] = {
    **{f"{mode} {steps}": partial(measure_outer_step, mode, steps) for mode, steps in OUTER_STEPS},
    **{f"recognised {method}": partial(measure_recognised_of, method) for method in METHODS},
}


if __name__ == "__main__":
    of_file = [] if "HDGAN_IMAGES" in os.environ else ["recognised", "quick"]
    run(__file__, __doc__, MEASURES, BOUNDS, parts=PARTS, left_out=of_file)
