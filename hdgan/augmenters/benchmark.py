"""The benchmark of augmenters: what a classifier of real test images gains by training with their samples.

All classifiers are trained for the same steps, on real images alone or with samples. GMCL's own students stand beside
their network trained on real images: as the classifiers are, and on as many images as GMCL is shown. Everything is done
for several seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from hdgan.augmenters.base import LAST_SEED, ORIGINS, Shape
from hdgan.augmenters.benchmark_plan import Plan, plan_named
from hdgan.augmenters.benchmark_round import DIVERGED, Round, augmenter_of, fits_of
from hdgan.augmenters.benchmark_table import explanations, tables
from hdgan.augmenters.images import LabelledImages
from hdgan.augmenters.registry import names
from hdgan.checks import check_choice, check_number
from hdgan.embedding import random_space
from hdgan.metrics import (
    FeatureSpace,
)
from tiling.errors import InputError
from tiling.files import read_json, write_bytes, write_json
from tiling.stage import Stage
from training.host import processes

REPORT, TABLES = "report.json", "tables.md"
_PARTS = ("train", "test")
_ONLY_IF_ASKED = ("geometric", "gmcl", "stylegan2")


def run_benchmark(
    images: Mapping[str, LabelledImages],
    out: Path | str,
    *,
    methods: Sequence[str] | None = None,
    students: bool = True,
    plan: str | Plan = "full",
    seed: int = 0,
    space: FeatureSpace | None = None,
    device: str = "auto",
    inputs: Mapping[str, Path] | None = None,
    redo: bool = False,
) -> dict[str, Any]:
    """Fit augmenters and classifiers, and measure; the same call goes on with one that was killed.

    Parameters
    ----------
    images
        By part: "train" and "test" of :func:`hdgan.augmenters.open_images`.
    out
        Folder for `report.json`, `tables.md`, and a run folder of each fit: `seed-0/augmenters/dcgan/`,
        `seed-0/classifiers/real/`.
    methods
        Whose samples are tried; None: all that are trained to draw images, which GMCL's teacher is not, but for
        StyleGAN2, which takes far longer than all the others.
    students
        Whether GMCL's students are trained, in all their kinds.
    plan
        Of :data:`hdgan.augmenters.benchmark_plan.PLANS`, or another.
    seed
        Number k of the seeds is `seed + k`: of the fits, the samples and their selection.
    space
        Where distances of samples from the real training images are measured; None: `random-conv-v1`.
    device, inputs, redo
        As for :meth:`Augmenter.fit`.

    Returns
    -------
    dict
        What `report.json` holds: `plan`, `images`, `space`, and under `classifiers` and `students`, by row, `mean`,
        `deviation` (of the sample; None for one seed) and `of_seeds` of: the measures on the test images; `samples`,
        `frechet`, `kernel`, `sample_confidence` and `recognised` (the share that the classifier of real images
        takes for what they were asked to be), unknown of fewer than two samples; `real_images` shown and `updates` of
        students; seconds and peak bytes of the fit. `augmenters` has the cost of theirs, `selections` by seed what was
        wanted, taken and rejected of each class, `diverged` by seed the rows whose training did, and why. Peak bytes
        are the whole process's; where its peak cannot be set back, as outside of Linux, the highest so far. On a GPU
        `gpu_peak_bytes` are those that it held for the fit.

    Raises
    ------
    InputError
        Without test images, or other than two classes or more, and for what a method cannot make; in one of several
        processes.
    """
    if (started := processes()) > 1:
        raise InputError(f"a benchmark is for one process, and {started} were started: start it alone")
    settings = plan if isinstance(plan, Plan) else plan_named(plan)
    chosen = [name for name in names() if name not in _ONLY_IF_ASKED] if methods is None else list(methods)
    for name in chosen:
        check_choice("method", name, [name for name in names() if name != "geometric"])
    if lacking := [part for part in _PARTS if part not in images]:
        raise InputError(f"a benchmark needs images to train and to test on, and there is no part {lacking[0]}")
    check_number("seed", seed, 0, LAST_SEED + 1 - settings.seeds)
    for part, of in images.items():
        if Shape.of(of) != Shape.of(images["train"]):
            raise InputError(f"images of {part} are {Shape.of(of)}; those to train on are {Shape.of(images['train'])}")
    images = {part: images[part].subset(range(len(images[part]))) for part in _PARTS}  # read once, for all fits
    images["train"].require_batch(settings.classifier.batch)
    for name in fits_of(chosen, students):
        augmenter_of(name, settings).check(images["train"])
    space = space or random_space()
    config = {
        "plan": asdict(settings),
        "methods": chosen,
        "students": students,
        "seed": seed,
        "space": space.name,
        "images": {part: of.fingerprint() for part, of in images.items()},
    }
    out = Path(out)
    with Stage.begin(
        out, name="augment benchmark", config=config, inputs=dict(inputs or {}), origins=ORIGINS, redo=redo
    ) as stage:
        if not stage.complete:
            rounds = [
                Round(images, settings, stage, seed + k, space, device).results(chosen, students)
                for k in range(settings.seeds)
            ]
            report = {
                "plan": asdict(settings),
                "images": {part: of.counts for part, of in images.items()},
                "space": space.name,
                **{kind: _over([of[kind] for of in rounds]) for kind in ("classifiers", "students", "augmenters")},
                **{kind: [of[kind] for of in rounds] for kind in ("selections", DIVERGED)},
            }
            write_json(out / REPORT, report)
            write_bytes(out / TABLES, _as_markdown(report).encode())
            stage.finish(principal=[out / REPORT], licence=images["train"].licence)
    return dict(read_json(out / REPORT))


def _over(rounds: Sequence[Mapping[str, Mapping[str, float | None]]]) -> dict[str, Any]:
    """{row: mean, deviation and the values over the seeds of each measure}."""
    found = {}
    for row in rounds[0]:
        of_seeds = [of[row] for of in rounds]
        known: dict[str, list[float]] = {name: [] for of in of_seeds for name in of}
        for of in of_seeds:
            for name, value in of.items():
                known[name] += [] if value is None else [value]
        found[row] = {
            "mean": {name: float(np.mean(values)) if values else None for name, values in known.items()},
            "deviation": {
                name: float(np.std(values, ddof=1)) if len(values) > 1 else None for name, values in known.items()
            },
            "of_seeds": of_seeds,
        }
    return found


def _as_markdown(report: Mapping[str, Any]) -> str:
    parts = []
    for title, rows in tables(report).items():
        lines = [list(rows[0]), ["---"] * len(rows[0]), *(list(row.values()) for row in rows)]
        parts.append("\n".join([f"{title}:", "", *(f"| {' | '.join(line)} |" for line in lines), ""]))
    return "\n".join([*parts, *(f"- {line}" for line in explanations(report)), ""])
