"""Whether GMCL's student is ahead: `python benchmarks/gmcl_students.py [--only NAME ...] [--json]`.

On the file that the environment variable HDGAN_IMAGES names, MedMNIST's `pneumoniamnist.npz`: balanced accuracy and AUC
on its validation part. The networks are alike, of width 16, and are shown crops and flips of real images, 64 in a step.

students    three seeds, mean and deviation: a student trained by Adam on as many images as GMCL's of the quick plan, on
            as many as the plan's classifiers, and on as many as GMCL's of classes shown evenly; on these by SGD, with
            the rate and momentum that GMCL's begins with; and GMCL's
tried       (if asked for) GMCL with other settings, seed 0, and the CPU seconds of the fit
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

from benchmarks.apart import Figures, Stopwatch, run
from benchmarks.augmenters import images_file

SEEDS, STEPS, BATCH, WIDTH = 3, 150, 64, 16
RATE, MOMENTUM = 0.1, 0.5
BALANCED = {"rate": RATE, "outer_rate": 0.005, "balanced": True}
TRIED: list[Mapping[str, Any]] = [
    {"steps": 20, "inner_steps": 8, "inner_batch": 16},
    {"steps": 40, "inner_steps": 8, "inner_batch": 16},
    {"steps": 60, "inner_steps": 4, "inner_batch": 16},
    {"steps": 60, "inner_steps": 4, "inner_batch": 16, "outer_rate": 0.002},
    {"steps": 60, "inner_steps": 4, "inner_batch": 16, "outer_rate": 0.002, "rate": RATE},
    {"steps": 60, "inner_steps": 4, "inner_batch": 16, "outer_rate": 0.005, "rate": RATE, "momentum": 0.9},
    {"steps": 120, "inner_steps": 2, "inner_batch": 16, "outer_rate": 0.005, "rate": RATE},
    {"steps": 60, "inner_steps": 4, "inner_batch": 16, **BALANCED},
    {"steps": 120, "inner_steps": 2, "inner_batch": 16, **BALANCED},
    {"steps": 90, "inner_steps": 2, "inner_batch": 16, **BALANCED, "outer_rate": 0.001},
    {"steps": 90, "inner_steps": 2, "inner_batch": 16, **BALANCED, "carry_momentum": True},
    {"steps": 90, "inner_steps": 2, "inner_batch": 16, **BALANCED, "rate": 0.05, "batch": 128},
    {"steps": 100, "inner_steps": 4, "inner_batch": 8, **BALANCED},
    {"steps": 150, "inner_steps": 2, "inner_batch": 8, **BALANCED},
    {"steps": 60, "inner_steps": 4, "inner_batch": 8, **BALANCED, "reset_student": True},
    {"steps": 60, "inner_steps": 2, "inner_batch": 8, **BALANCED, "reset_student": True},
]

Train = Callable[[Any, Path, int], Any]
"""A classifier of images, a folder and a seed."""


def by_adam(images: Any, folder: Path, seed: int, **settings: Any) -> Any:
    from hdgan.augmenters.classifier import ClassifierConfig, fit_classifier
    from hdgan.augmenters.transforms import CropAndFlip

    config = ClassifierConfig(**{"steps": STEPS, "batch": BATCH, "network": "student", "width": WIDTH, **settings})
    return fit_classifier(images, run=folder, config=config, seed=seed, transform=CropAndFlip(), device="cpu")


def by_sgd(images: Any, folder: Path, seed: int) -> Any:
    import torch
    from torch.nn.functional import cross_entropy

    from hdgan.augmenters.base import Shape
    from hdgan.augmenters.batches import Batches, to_tensor
    from hdgan.augmenters.classifier import Classifier
    from hdgan.augmenters.classifier_networks import StudentNetwork
    from hdgan.augmenters.normalisation import settle
    from hdgan.augmenters.transforms import CropAndFlip

    torch.manual_seed(seed)
    network = StudentNetwork(Shape.of(images), width=WIDTH)
    optimiser = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    batches = Batches(images, batch=BATCH, seed=seed, transform=CropAndFlip(), balanced=True)
    shown = []
    for step in range(STEPS):
        pixels, labels = batches.read(step, range(BATCH))
        shown.append((to_tensor(pixels, torch.device("cpu")),))
        optimiser.zero_grad()
        cross_entropy(network(*shown[-1]), torch.from_numpy(labels)).backward()
        optimiser.step()
    settle(network, shown[:16])
    return Classifier(network, Shape.of(images), {"kind": "student", "width": WIDTH})


def by_gmcl(images: Any, folder: Path, seed: int, **settings: Any) -> Any:
    from hdgan.augmenters import create
    from hdgan.augmenters.classifier import Classifier
    from hdgan.augmenters.gmcl import STUDENT

    create("gmcl", **{"batch": BATCH, "student_width": WIDTH, **settings}).fit(
        images, run=folder, seed=seed, device="cpu"
    )
    return Classifier.load(folder / STUDENT)


def on_validation(train: Train, seed: int) -> tuple[float, float]:
    """Balanced accuracy and AUC of a classifier."""
    from hdgan.augmenters import open_images
    from hdgan.metrics import classification_report

    images = open_images(images_file())
    with tempfile.TemporaryDirectory() as folder:
        classifier = train(images["train"], Path(folder), seed)
    val = images["val"]
    measures = classification_report(val.labels, classifier.predict(val.pixels), val.classes).measures
    return measures["balanced_accuracy"], measures["auc"]


def measure_students() -> Figures:
    import numpy as np

    from hdgan.augmenters.presets import preset

    ways: dict[str, Train] = {
        "adam": by_adam,
        "adam_200_steps": partial(by_adam, steps=200),
        "adam_evenly": partial(by_adam, balanced=True),
        "sgd_evenly": by_sgd,
        "gmcl": partial(by_gmcl, **preset("quick", "gmcl")),
    }
    found: Figures = {}
    for name, train in ways.items():
        of_seeds = np.array([on_validation(train, seed) for seed in range(SEEDS)])
        for measure, values in zip(("balanced_accuracy", "auc"), of_seeds.T, strict=True):
            found[f"{name}_{measure}"] = float(values.mean())
            found[f"{name}_{measure}_deviation"] = float(values.std(ddof=1))
    return found


def measure_tried() -> Figures:
    found: Figures = {}
    for settings in TRIED:
        name = ",".join(f"{key}={value}" for key, value in settings.items())
        watch = Stopwatch()
        found[f"{name} balanced_accuracy"], found[f"{name} auc"] = on_validation(partial(by_gmcl, **settings), 0)
        found[f"{name} cpu_s"] = watch.read()["cpu_s"]
    return found


MEASURES: dict[str, Callable[[], Figures]] = {"students": measure_students, "tried": measure_tried}


if __name__ == "__main__":
    run(__file__, __doc__, MEASURES, left_out=("tried",))
