"""One seed of a benchmark of augmenters: every fit, and every measure."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from hdgan.augmenters.base import Augmenter
from hdgan.augmenters.batches import Transform, as_rgb
from hdgan.augmenters.benchmark_plan import Arm, Plan, arms_of
from hdgan.augmenters.classifier import CLASSIFIER, Classifier, ClassifierConfig, fit_classifier
from hdgan.augmenters.geometric import GeometricConfig
from hdgan.augmenters.gmcl import STUDENT
from hdgan.augmenters.gmcl_config import GMCLConfig
from hdgan.augmenters.images import LabelledImages
from hdgan.augmenters.presets import preset
from hdgan.augmenters.registry import create
from hdgan.augmenters.selection import (
    CentroidDistance,
    Centroids,
    Criterion,
    LabelConfidence,
    NearestCentroid,
    Selection,
    select,
)
from hdgan.augmenters.transforms import CropAndFlip
from hdgan.metrics import FeatureSpace, Moments, classification_report, frechet_distance, kernel_distance
from hdgan.metrics.distribution import Features
from tiling.files import read_json, write_json
from tiling.progress import note
from tiling.stage import RECORD, Stage, read_record
from training.devices import choose_device
from training.errors import DivergedError
from training.metrics import PACE, read_metrics

STUDENTS: Mapping[str, Mapping[str, bool]] = {
    "gtn": {"reset_student": True},
    "gmcl-fixed-rates": {"adaptive": False},
    "gmcl": {},
}
"""GMCL in its kinds, by the names of their rows."""

DIVERGED = "diverged"
"""Of what could not be trained: why."""

_MEMORY = PACE[1]  # in the metrics, GiB, of a GPU where there is one
_SUBSETS = 20  # of the kernel distance
_PEAK = Path("/proc/self/clear_refs")  # "5" written there begins the process's peak memory anew (Linux)


class Round:
    """All fits and measures of one seed, each kept in a file once it is there."""

    def __init__(
        self,
        images: Mapping[str, LabelledImages],
        plan: Plan,
        stage: Stage,
        seed: int,
        space: FeatureSpace,
        device: str,
    ) -> None:
        self.real, self.test, self.plan, self.stage = images["train"], images["test"], plan, stage
        self.folder, self.seed, self.space, self.device = stage.folder / f"seed-{seed}", seed, space, device
        self._augmenters: dict[str, Augmenter] = {}
        self._diverged: dict[str, str] = {}
        self._rows = 0
        self._last: tuple[tuple[str, float, bool], Selection] | None = None

    def results(self, methods: Sequence[str], students: bool) -> dict[str, dict[str, Any]]:
        """{kind: {row: measures}}."""
        self._rows = len(arms_of(methods, self.plan)) + (len(self._untaught()) + len(STUDENTS) if students else 0)
        arms = {arm.name: self._kept(arm.name, partial(self._arm, arm)) for arm in arms_of(methods, self.plan)}
        taught = self._students() if students else {}
        diverged = {name: of[DIVERGED] for name, of in (arms | taught).items() if DIVERGED in of}
        return {
            "classifiers": {name: of.get("measures", {}) for name, of in arms.items()},
            "students": {name: {} if name in diverged else of for name, of in taught.items()},
            "augmenters": {name: self._cost(self._run_of(name)) for name in fits_of(methods, students)},
            "selections": {name: of["selection"] for name, of in arms.items() if of.get("selection")},
            DIVERGED: diverged,
        }

    def _kept(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        path = self.folder / "measures" / f"{_file_name(name)}.json"
        if not path.exists():
            row = 1 + sum(1 for _ in path.parent.glob("*.json"))
            note(f"seed {self.seed}: {name}, row {row} of {self._rows}")
            write_json(path, self._made_or_diverged(name, make))
        return read_json(path)

    def _made_or_diverged(self, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What a row is, or of one that cannot be trained, why: the others are measured all the same.

        The classifier of real images, by which all samples are judged, cannot be done without.
        """
        try:
            return make()
        except DivergedError as error:
            if name == Arm().name:
                raise
            note(f"seed {self.seed}: {name} is left out: {error}")
            return {DIVERGED: str(error)}

    def _arm(self, arm: Arm) -> dict[str, Any]:
        chosen = None if arm.method is None else self._select(arm.method, arm.ratio, arm.selected)
        trained_on = self.real if chosen is None else chosen.added_to(self.real)
        transform = GeometricConfig() if arm.geometric else None
        classifier, cost = self._classifier(arm.name, trained_on, self.plan.classifier, transform)
        shown = chosen
        if arm.geometric:  # with samples they are those of another row
            shown = self._select("geometric", self.plan.reference, False) if chosen is None else None
        measures = {**self._judged(classifier), **cost, **self._of_samples(shown)}
        return {"measures": measures, "selection": None if chosen is None else chosen.to_dict()}

    def _students(self) -> dict[str, Any]:
        """Of GMCL's students, and of their network trained on real images."""
        plain = {name: self._kept(name, partial(self._plain, name, *how)) for name, how in self._untaught().items()}
        return plain | {name: self._kept(f"{name} student", partial(self._taught, name)) for name in STUDENTS}

    def _untaught(self) -> dict[str, tuple[ClassifierConfig, Transform | None]]:
        """How the students' network is trained on real images: plainly, as GMCL shows them, and as many."""
        gmcl = create("gmcl", **preset(self.plan.preset, "gmcl")).config
        config = replace(self.plan.classifier, network="student", width=gmcl.student_width)
        as_many = replace(config, steps=gmcl.steps, batch=gmcl.batch)
        return {
            "student": (config, None),
            "student + crops and flips": (config, CropAndFlip()),
            "student + crops and flips + as many images": (as_many, CropAndFlip()),
            "student + crops and flips + as many images + balanced": (replace(as_many, balanced=True), CropAndFlip()),
        }

    def _plain(self, name: str, config: ClassifierConfig, transform: Transform | None) -> dict[str, Any]:
        classifier, cost = self._classifier(name, self.real, config, transform)
        return {**self._judged(classifier), **_shown(config, config.steps), **cost}

    def _taught(self, name: str) -> dict[str, Any]:
        gmcl, run = self._augmenter(name).config, self._run_of(name)
        of_each = gmcl.inner_steps + (not gmcl.reset_student)
        updates = of_each * (1 if gmcl.reset_student else gmcl.steps)
        student = Classifier.load(run / STUDENT, device=choose_device(self.device))
        return {**self._judged(student), **_shown(gmcl, updates), **self._cost(run)}

    def _classifier(
        self, name: str, images: LabelledImages, config: ClassifierConfig, transform: Transform | None
    ) -> tuple[Classifier, dict[str, float]]:
        run = self._run_of_classifier(name)
        self._forget_peak()
        classifier = fit_classifier(
            images, run=run, config=config, seed=self.seed, transform=transform, device=self.device,
            precision="fp32" if config.network == "student" else "auto",  # GMCL's students are trained in float32
        )  # fmt: skip
        return classifier, self._cost(run)

    def _augmenter(self, name: str) -> Augmenter:
        """Fitted; GMCL in one of its kinds."""
        if name in self._diverged:
            raise DivergedError(self._diverged[name])
        if name not in self._augmenters:
            made = augmenter_of(name, self.plan)
            self._forget_peak()
            try:
                made.fit(self.real, run=self._run_of(name), seed=self.seed, device=self.device)
            except DivergedError as error:
                self._diverged[name] = str(error)  # not itself, with all that was trained
                raise
            self._augmenters[name] = made
        return self._augmenters[name]

    def _run_of(self, name: str) -> Path:
        return self.folder / "augmenters" / name

    def _run_of_classifier(self, row: str) -> Path:
        return self.folder / "classifiers" / _file_name(row)

    def _forget_peak(self) -> None:
        """Begin the peak memory of this process anew, where the system can; that of the benchmark is kept."""
        self.stage.keep_peak()
        with contextlib.suppress(OSError):
            _PEAK.write_text("5")

    def _cost(self, run: Path) -> dict[str, float]:
        if not (run / RECORD).exists():  # a row that diverged before
            return {}
        record = read_record(run)
        cost = {"seconds": record["seconds"], "peak_bytes": record["peak_rss_bytes"]}
        if choose_device(self.device).type == "cuda":
            cost["gpu_peak_bytes"] = 2**30 * max((line[_MEMORY] for line in read_metrics(run)), default=0.0)
        return cost

    @cached_property
    def _judge(self) -> Classifier:
        """The classifier of real images alone, of the first row, which samples are judged and chosen by."""
        return Classifier.load(self._run_of_classifier(Arm().name) / CLASSIFIER, device=choose_device(self.device))

    @cached_property
    def _criteria(self) -> list[Criterion]:
        centroids = Centroids(self.real, self._judge.embed)
        sure = LabelConfidence(self._judge, least=self.plan.least, passes=self.plan.passes)
        return [NearestCentroid(centroids), sure, CentroidDistance(centroids)]

    @cached_property
    def _real_features(self) -> Features:
        return self.space.embed(as_rgb(self.real.pixels[np.arange(len(self.real))]))

    def _select(self, method: str, ratio: float, selected: bool) -> Selection:
        key = method, ratio, selected
        if self._last is None or self._last[0] != key:  # the next row may be of the same samples
            chosen = select(
                self._augmenter(method), self.real.counts, ratio=ratio, criteria=self._criteria if selected else (),
                among=self.plan.among, most=self.plan.most, seed=self.seed,
            )  # fmt: skip
            self._last = key, chosen
        return self._last[1]

    def _judged(self, classifier: Classifier) -> dict[str, float | None]:
        """Measures on the test images."""
        chances = classifier.predict(self.test.pixels)
        return classification_report(self.test.labels, chances, self.test.classes).measures

    def _of_samples(self, chosen: Selection | None) -> dict[str, float | None]:
        """How far samples are from the real training images, and what the judge thinks of them."""
        if chosen is None:
            return {}
        if len(chosen.labels) < 2:
            return {"samples": len(chosen.labels)}
        features = self.space.embed(as_rgb(chosen.pixels))
        kernel = kernel_distance(self._real_features, features, subsets=_SUBSETS, seed=self.seed)
        chances = self._judge.predict(chosen.pixels)
        return {
            "samples": len(chosen.labels),
            "frechet": frechet_distance(Moments.of(self._real_features), Moments.of(features)),
            "kernel": kernel.mean,
            "sample_confidence": float(chances.max(axis=1).mean()),
            "recognised": float((chances.argmax(axis=1) == chosen.labels).mean()),
        }


def _shown(config: ClassifierConfig | GMCLConfig, updates: int) -> dict[str, int]:
    """Real images that a training shows, and the steps that a student has made in the end."""
    return {"real_images": config.steps * config.batch, "updates": updates}


def fits_of(methods: Sequence[str], students: bool) -> list[str]:
    """Names of all augmenters that are fitted for a seed."""
    return list(dict.fromkeys(["geometric", *methods, *(STUDENTS if students else ())]))


def augmenter_of(name: str, plan: Plan) -> Augmenter:
    """An augmenter that is to be fitted; GMCL in one of its kinds."""
    method = "gmcl" if name in STUDENTS else name
    return create(method, **{**preset(plan.preset, method), **STUDENTS.get(name, {})})


def _file_name(row: str) -> str:
    """ "geometric + dcgan 100 % selected" as "geometric-dcgan-100-selected"."""
    return "-".join(row.replace("+", " ").replace("%", " ").split())
