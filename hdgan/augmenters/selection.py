"""Which samples of an augmenter are taken: those near real images of their class, or those a classifier is sure of."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hdgan.augmenters.base import Augmenter
from hdgan.augmenters.batches import as_rgb
from hdgan.augmenters.classifier import Classifier, require_dropout
from hdgan.augmenters.images import Indices, LabelledImages
from hdgan.checks import check_choice, check_number
from hdgan.labels import Image
from hdgan.metrics import FeatureSpace
from tiling.errors import InputError
from tiling.progress import note
from tiling.wording import first_few

Costs = npt.NDArray[np.float64]
Embed = Callable[[Image], npt.NDArray[np.floating[Any]]]
"""Features (N, F) of images (N, H, W, C) uint8: :meth:`Classifier.embed`, or :func:`in_space`."""

RANDOM = "random"
CONFIDENCE = "confidence"
BY_CENTROIDS = ("centroid", "distance")
RULES = (*BY_CENTROIDS, CONFIDENCE, RANDOM)
"""Names of :class:`NearestCentroid`, :class:`CentroidDistance`, :class:`LabelConfidence`, and of no criterion."""

_FEWEST_AT_ONCE, _AT_ONCE = 32, 256


class Criterion(Protocol):
    """What is asked of samples. Several are a list: a sample must pass all, and what it costs by each is added up."""

    @property
    def name(self) -> str:
        """What those that it rejects are counted under."""

    @property
    def ranks(self) -> bool:
        """Whether it prefers some of those that it does not reject."""

    def costs(self, images: Image, label: int, *, seed: int) -> Costs:
        """(n,) of images (n, H, W, C) uint8 drawn for a class: infinite for one to reject, low for one to prefer."""


class Centroids:
    """The mean features of real images of each class.

    Parameters
    ----------
    images
        Real images, of every class one at least.
    embed
        Their features.
    """

    def __init__(self, images: LabelledImages, embed: Embed) -> None:
        images.require_classes()
        self.embed = embed
        count = len(images.classes)
        sums: Costs | float = 0.0
        for start in range(0, len(images), _AT_ONCE):
            places = np.arange(start, min(start + _AT_ONCE, len(images)))
            of = np.eye(count)[images.labels[places]]  # (n, K)
            sums = sums + of.T @ np.asarray(embed(images.pixels[places]), np.float64)
        self.means: Costs = sums / np.bincount(images.labels, minlength=count)[:, None]

    def distances(self, images: Image) -> Costs:
        """(n, K): Euclidean, of each image from each class."""
        apart = np.asarray(self.embed(images), np.float64)[:, None] - self.means
        distances: Costs = np.linalg.norm(apart, axis=2)
        return distances


@dataclass(frozen=True)
class NearestCentroid:
    """Reject a sample that is nearer to the real images of another class, by their centroids, than to its own."""

    centroids: Centroids
    name: str = "nearest centroid"
    ranks: bool = False

    def costs(self, images: Image, label: int, *, seed: int) -> Costs:
        """Nothing, or infinite."""
        return _unless(self.centroids.distances(images).argmin(axis=1) == label)


@dataclass(frozen=True)
class CentroidDistance:
    """Prefer samples near the centroid of the real images of their class."""

    centroids: Centroids
    name: str = "centroid distance"
    ranks: bool = True

    def costs(self, images: Image, label: int, *, seed: int) -> Costs:
        """The distance."""
        return self.centroids.distances(images)[:, label]


@dataclass(frozen=True)
class LabelConfidence:
    """Reject a sample whose class a classifier is not sure of, by its mean probability over passes with dropout.

    What is dropped depends on the seed and on a sample's place among those that are asked for together.

    Attributes
    ----------
    classifier
        Trained on real images.
    least
        Probability that a sample must have.
    passes
        How many (Gal and Ghahramani 2016).

    Raises
    ------
    InputError
        For numbers out of range, and a classifier without dropout.
    """

    classifier: Classifier
    least: float = 0.8
    passes: int = 10
    name: str = "label confidence"
    ranks: bool = False

    def __post_init__(self) -> None:
        check_confidence(self.least, self.passes)
        require_dropout(self.classifier.network)

    def costs(self, images: Image, label: int, *, seed: int) -> Costs:
        """Nothing, or infinite."""
        chances = self.classifier.passes(images, count=self.passes, seed=seed)
        return _unless(chances[..., label].mean(axis=0) >= self.least)


def criteria_named(
    rules: Sequence[str], images: LabelledImages, classifier: Classifier, *, least: float = 0.8
) -> list[Criterion]:
    """Criteria by their names in :data:`RULES`, in the order given; "random" is none.

    Features of real images are computed for those alone that measure by centroids.

    Parameters
    ----------
    rules
        See :func:`check_rules`.
    images
        Real ones, for centroids.
    classifier
        Whose features are measured, and whose confidence.
    least
        See :class:`LabelConfidence`.
    """
    check_rules(rules)
    centroids = functools.cache(lambda: Centroids(images, classifier.embed))
    make: dict[str, Callable[[], Criterion]] = {
        "centroid": lambda: NearestCentroid(centroids()),
        "distance": lambda: CentroidDistance(centroids()),
        CONFIDENCE: lambda: LabelConfidence(classifier, least=least),
    }
    return [make[rule]() for rule in rules if rule != RANDOM]


def check_rules(rules: Sequence[str]) -> None:
    """An :class:`InputError` unless rules are of :data:`RULES`, each once, and "random" alone."""
    for rule in rules:
        check_choice("a rule of selection", rule, RULES)
    if len(set(rules)) < len(rules) or not rules:
        raise InputError(f"rules of selection are given each once, and one at least, not {', '.join(rules) or 'none'}")
    if RANDOM in rules and len(rules) > 1:
        raise InputError("random takes samples as they come: give it without other rules")


def check_confidence(least: float, passes: int) -> None:
    """An :class:`InputError` for what :class:`LabelConfidence` does not take."""
    check_number("least", least, 0, 1, whole=False)
    check_number("passes", passes, 1, 10_000)


def check_search(among: float, most: float) -> None:
    """An :class:`InputError` for numbers of samples that :func:`select` does not draw among."""
    check_number("among", among, 1, 1000, whole=False)
    check_number("most", most, 1, 1_000_000, whole=False)


def in_space(space: FeatureSpace) -> Embed:
    """Features in any space of :mod:`hdgan.embedding`, of images in grey or RGB."""
    return lambda images: space.embed(as_rgb(images))


@dataclass(frozen=True)
class Account:
    """What came of the samples drawn for a class: `drawn = taken + spare + all that are rejected`.

    Attributes
    ----------
    wanted, drawn, taken
        Samples.
    spare
        Samples that passed and were not needed, as others came first.
    rejected
        By each criterion: samples that the criteria before it had let pass.
    """

    wanted: int
    drawn: int
    taken: int
    spare: int
    rejected: dict[str, int]

    @property
    def passed(self) -> dict[str, int]:
        """By each criterion: samples that it and those before it let pass."""
        left = self.drawn - np.cumsum(list(self.rejected.values()), dtype=np.int64)
        return dict(zip(self.rejected, left.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """JSON-able values, `passed` with them."""
        return asdict(self) | {"passed": self.passed}


@dataclass(frozen=True, eq=False)
class Selection:
    """Samples that were taken.

    Attributes
    ----------
    pixels, labels
        (N, H, W, C) uint8 and (N,) int64, class after class; N is 0 if none passed.
    numbers
        (N,): each sample's number among those of its class.
    accounts
        {class: what came of those drawn}.
    licence
        Terms of what the augmenter was fitted on.
    """

    pixels: Image
    labels: Indices
    numbers: Indices
    accounts: dict[str, Account]
    licence: tuple[str, ...]

    def __repr__(self) -> str:
        taken = ", ".join(f"{of.taken} of {of.wanted} {name}" for name, of in self.accounts.items())
        return f"Selection({taken})"

    def added_to(self, images: LabelledImages) -> LabelledImages:
        """Real images, and these after them."""
        if not len(self.labels):
            return images
        return images.joined(LabelledImages(self.pixels, self.labels, images.classes, self.licence))

    def to_dict(self) -> dict[str, Any]:
        """{class: :meth:`Account.to_dict`}."""
        return {name: account.to_dict() for name, account in self.accounts.items()}


def select(
    augmenter: Augmenter,
    counts: Mapping[str, int],
    *,
    ratio: float,
    criteria: Sequence[Criterion] = (),
    among: float = 2.0,
    most: float = 10.0,
    seed: int = 0,
) -> Selection:
    """Draw from an augmenter until there are so many samples as real images, class by class.

    Samples are drawn in the order of their numbers. Without criteria the first are taken: a random choice, the control
    for all others.

    Parameters
    ----------
    augmenter
        Fitted.
    counts
        Real images by class: :attr:`LabelledImages.counts`. Classes with none get none.
    ratio
        Samples for each real image: 1 is 100 %.
    criteria
        Tried in this order on each sample.
    among
        Where a criterion ranks: how many that pass there are to be, for one that is taken.
    most
        Draw so many, for one that is wanted, at most. If too few of them pass there are fewer samples, and a note.
    seed
        Of all draws.

    Raises
    ------
    InputError
        For numbers out of range, classes that are not the augmenter's, and where no sample is asked for.
    """
    wanted_of_each = wanted_of(counts, ratio)
    check_search(among, most)
    if strangers := [name for name in counts if name not in augmenter.classes]:
        raise InputError(f"the augmenter knows no {first_few(strangers)}; it has: {', '.join(augmenter.classes)}")
    enough = among if any(criterion.ranks for criterion in criteria) else 1.0
    pixels, labels, numbers, accounts = [], [], [], {}
    for label, name in enumerate(augmenter.classes):
        wanted = wanted_of_each.get(name, 0)
        if not wanted:
            continue
        pool = _Pool(augmenter, label, criteria, seed)
        limit = round(max(most, enough) * wanted)
        while (lacking := math.ceil(enough * wanted) - len(pool.numbers)) > 0 and pool.drawn < limit:
            fewest = _FEWEST_AT_ONCE if criteria else 1
            pool.draw(min(_AT_ONCE, max(lacking, fewest), limit - pool.drawn))
        best = np.sort(np.argsort(pool.costs, kind="stable")[:wanted])
        accounts[name] = Account(wanted, pool.drawn, len(best), len(pool.numbers) - len(best), pool.rejected)
        _tell(name, accounts[name])
        pixels.append(np.concatenate(pool.images)[best])
        labels.append(np.full(len(best), label))
        numbers.append(np.array(pool.numbers, np.int64)[best])
    return Selection(
        np.concatenate(pixels), np.concatenate(labels), np.concatenate(numbers), accounts, augmenter.licence
    )


def wanted_of(counts: Mapping[str, int], ratio: float) -> dict[str, int]:
    """How many samples :func:`select` takes of each class; an :class:`InputError` for a ratio that asks for none."""
    check_number("ratio", ratio, 0, 1000, whole=False)
    wanted = {name: round(ratio * count) for name, count in counts.items()}
    if not any(wanted.values()):
        raise InputError(f"no sample is asked for: {ratio:g} times {dict(counts)}")
    return wanted


class _Pool:
    """Samples of a class that passed."""

    def __init__(self, augmenter: Augmenter, label: int, criteria: Sequence[Criterion], seed: int) -> None:
        self._augmenter, self._label, self._criteria, self._seed = augmenter, label, criteria, seed
        self.drawn = 0
        self.images: list[Image] = []
        self.numbers: list[int] = []
        self.costs: list[float] = []
        self.rejected = {criterion.name: 0 for criterion in criteria}

    def draw(self, count: int) -> None:
        """Draw some more, and keep those that pass."""
        images = self._augmenter.sample(count, self._label, seed=self._seed, first=self.drawn)
        left, costs = np.arange(count), np.zeros(count)
        for criterion in self._criteria:
            if len(left):
                costs[left] += criterion.costs(images[left], self._label, seed=self._seed)
            passed = left[np.isfinite(costs[left])]
            self.rejected[criterion.name] += len(left) - len(passed)
            left = passed
        self.images.append(images[left])
        self.numbers += (self.drawn + left).tolist()
        self.costs += costs[left].tolist()
        self.drawn += count


def _tell(name: str, account: Account) -> None:
    """Note where there are fewer than wanted, and why."""
    if account.taken < account.wanted:
        why = ", ".join(f"{count} by {criterion}" for criterion, count in account.rejected.items() if count)
        note(
            f"of {account.drawn} samples of {name}, {account.taken} are taken, and {account.wanted} were wanted: "
            f"rejected are {why}"
        )


def _unless(passed: npt.NDArray[np.bool_]) -> Costs:
    return np.where(passed, 0.0, np.inf)
