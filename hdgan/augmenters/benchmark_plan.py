"""What a benchmark of augmenters compares, and how long it takes for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from hdgan.augmenters.classifier import ClassifierConfig
from hdgan.augmenters.presets import classifier_preset
from hdgan.augmenters.selection import check_confidence, check_search
from hdgan.checks import check_choice, check_number
from tiling.errors import InputError


@dataclass(frozen=True)
class Plan:
    """How a benchmark is done.

    Attributes
    ----------
    seeds
        How many.
    ratios
        Samples for each real image, class by class.
    preset
        Of the methods' settings.
    classifier
        How all are trained.
    least, passes, among, most
        Of the selection: see :class:`hdgan.augmenters.selection.LabelConfidence`, and `select` there.
    """

    seeds: int = 3
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0)
    preset: str = "default"
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)
    least: float = 0.8
    passes: int = 10
    among: float = 2.0
    most: float = 10.0

    def __post_init__(self) -> None:
        check_number("seeds", self.seeds, 1, 1000)
        if not self.ratios:
            raise InputError("a benchmark needs a ratio of samples to real images, 1 say")
        for ratio in self.ratios:
            check_number("a ratio of samples to real images", ratio, 0.01, 1000, whole=False)
        shown = [f"{ratio:.0%}" for ratio in self.ratios]
        if len(set(shown)) < len(shown):
            raise InputError(f"ratios of samples to real images must differ by 1 % at least, not {', '.join(shown)}")
        check_confidence(self.least, self.passes)
        check_search(self.among, self.most)
        if self.classifier.network != "strided" or not self.classifier.dropout:
            raise InputError("samples are chosen by passes with dropout: take a strided classifier that has some")

    @property
    def reference(self) -> float:
        """The ratio of what is done at one alone: that nearest to 1."""
        return min(self.ratios, key=lambda ratio: abs(ratio - 1))


PLANS: Mapping[str, Plan] = {
    "full": Plan(),
    "quick": Plan(
        ratios=(1.0,),
        preset="quick",
        classifier=classifier_preset("quick"),
        passes=5,
        most=5.0,
    ),
}


def plan_named(name: str, **changed: Any) -> Plan:
    """One of :data:`PLANS`, with some settings changed."""
    check_choice("plan", name, tuple(PLANS))
    return replace(PLANS[name], **changed)


@dataclass(frozen=True)
class Arm:
    """What a classifier is trained on: real images, and samples if a method is named.

    Attributes
    ----------
    method, ratio, selected
        Whose samples, how many for each real image, and whether they are chosen.
    geometric
        Whether all are turned, shifted and mirrored whenever they are shown.
    """

    method: str | None = None
    ratio: float = 0.0
    selected: bool = False
    geometric: bool = False

    @property
    def name(self) -> str:
        """Of its row: "geometric + dcgan 100 % selected"."""
        samples = f"{self.method} {self.ratio:.0%}{' selected' * self.selected}".replace("%", " %")
        parts = ["geometric"] * self.geometric + [samples] * (self.method is not None)
        return " + ".join(parts) or "real"


def arms_of(methods: Sequence[str], plan: Plan) -> list[Arm]:
    """All rows of a benchmark but the students'."""
    arms = [Arm(), Arm(geometric=True)]
    for method in methods:
        for ratio in plan.ratios:
            arms += [Arm(method, ratio), Arm(method, ratio, selected=True)]
            arms += [Arm(method, ratio, selected=True, geometric=True)] * (ratio == plan.reference)
    return arms
