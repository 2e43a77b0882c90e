"""Which samples are taken."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from small_augmenters import small, two_classes

from hdgan.augmenters import Augmenter
from hdgan.augmenters.classifier import Classifier, ClassifierConfig, fit_classifier
from hdgan.augmenters.selection import (
    CentroidDistance,
    Centroids,
    LabelConfidence,
    NearestCentroid,
    criteria_named,
    in_space,
    select,
)
from hdgan.embedding import ModuleSpace
from tiling.errors import InputError

COUNTS = {"left": 20, "right": 20}


def brightness(images: np.ndarray) -> np.ndarray:
    """(n, 2): of the left half, and of the right one."""
    half = images.shape[2] // 2
    return np.stack([images[:, :, part].mean(axis=(1, 2, 3)) for part in (slice(half), slice(half, None))], axis=1)


@pytest.fixture(scope="module")
def augmenter(tmp_path_factory: pytest.TempPathFactory) -> Augmenter:
    """Turns images, so that half of its samples look like the other class."""
    return small("geometric", rotation=0.0).fit(two_classes(), run=tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    settings = ClassifierConfig(steps=40, batch=8, width=8)
    return fit_classifier(two_classes(), run=tmp_path_factory.mktemp("judge"), config=settings)


def test_centroids_are_the_means_of_real_images_in_any_space() -> None:
    images = two_classes()
    means = Centroids(images, brightness).means
    for label in (0, 1):
        np.testing.assert_allclose(means[label], brightness(images.pixels[images.labels == label]).mean(axis=0))
    module = ModuleSpace(lambda x: x[:, :1].mean(dim=(2, 3)), name="mean", dimensions=1, span=(0, 255))
    found = Centroids(images, in_space(module)).distances(images.pixels[:2])
    whole = images.pixels.mean(axis=(1, 2, 3))
    wanted = np.abs(whole[:2, None] - [whole[images.labels == label].mean() for label in (0, 1)])
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_without_criteria_the_first_are_taken_at_any_ratio_and_a_higher_one_has_those_of_a_lower(
    augmenter: Augmenter,
) -> None:
    few, many = (select(augmenter, COUNTS, ratio=ratio, seed=4) for ratio in (0.5, 2.0))
    assert [np.bincount(found.labels).tolist() for found in (few, many)] == [[10, 10], [40, 40]]
    np.testing.assert_array_equal(few.pixels[10:], augmenter.sample(10, "right", seed=4))
    np.testing.assert_array_equal(many.pixels[40:50], few.pixels[10:])
    assert few.to_dict()["left"] == {
        "wanted": 10, "drawn": 10, "taken": 10, "spare": 0, "rejected": {}, "passed": {}
    }  # fmt: skip
    assert select(augmenter, {"right": 3}, ratio=1).labels.tolist() == [1, 1, 1]
    assert few.added_to(two_classes()).counts == {"left": 30, "right": 30}


def test_samples_nearer_to_another_class_are_rejected_and_the_nearest_of_the_others_taken(augmenter: Augmenter) -> None:
    centroids = Centroids(two_classes(), brightness)
    criteria = [NearestCentroid(centroids), CentroidDistance(centroids)]
    found = select(augmenter, COUNTS, ratio=3, criteria=criteria, among=1.5, seed=4)
    for label, name in enumerate(augmenter.classes):
        account = found.accounts[name]
        drawn = augmenter.sample(account.drawn, label, seed=4)
        distances = centroids.distances(drawn)
        passed = np.flatnonzero(distances.argmin(axis=1) == label)
        assert 0 < account.rejected["nearest centroid"] == len(drawn) - len(passed)
        assert account.rejected["centroid distance"] == 0
        assert account.taken == account.wanted == 60
        assert account.drawn == account.taken + account.spare + account.rejected["nearest centroid"]
        wanted = np.sort(passed[np.argsort(distances[passed, label])[:60]])
        np.testing.assert_array_equal(found.numbers[found.labels == label], wanted)
        np.testing.assert_array_equal(found.pixels[found.labels == label], drawn[wanted])


def test_samples_that_a_classifier_is_not_sure_of_are_rejected(augmenter: Augmenter, classifier: Classifier) -> None:
    sure = LabelConfidence(classifier, least=0.7, passes=3)
    found = select(augmenter, COUNTS, ratio=1, criteria=[sure], seed=1)
    assert all(account.rejected["label confidence"] > 0 for account in found.accounts.values())
    same = select(augmenter, COUNTS, ratio=1, criteria=[sure], seed=1)
    np.testing.assert_array_equal(found.pixels, same.pixels)
    chances = classifier.predict(found.pixels)[np.arange(40), found.labels]
    unchosen = select(augmenter, COUNTS, ratio=1, seed=1)
    assert chances.min() > 0.3
    assert chances.mean() > classifier.predict(unchosen.pixels)[np.arange(40), unchosen.labels].mean() + 0.1


def test_real_images_are_embedded_for_rules_that_measure_by_centroids_alone(
    classifier: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    embed = Classifier.embed
    monkeypatch.setattr(Classifier, "embed", lambda self, pixels: seen.append(len(pixels)) or embed(self, pixels))
    criteria_named(["confidence"], two_classes(), classifier)
    assert seen == []
    names = [each.name for each in criteria_named(["distance", "confidence", "centroid"], two_classes(), classifier)]
    assert names == ["centroid distance", "label confidence", "nearest centroid"]
    assert seen == [40]


def test_a_classifier_without_dropout_has_no_confidence(tmp_path: Path) -> None:
    plain = fit_classifier(two_classes(), run=tmp_path, config=ClassifierConfig(steps=1, batch=8, width=4, dropout=0))
    with pytest.raises(InputError, match="choose by centroid or distance, or take a classifier with dropout"):
        LabelConfidence(plain)


@dataclass(frozen=True)
class Number:
    """Lets the first so many of those that it sees together pass."""

    share: float
    name: str = "number"
    ranks: bool = False

    def costs(self, images: np.ndarray, label: int, *, seed: int) -> np.ndarray:
        return np.where(np.arange(len(images)) < self.share * len(images), 0.0, np.inf)


def test_few_that_are_lacking_are_drawn_together_with_more(augmenter: Augmenter) -> None:
    seen = []

    class Seen(Number):
        def costs(self, images: np.ndarray, label: int, *, seed: int) -> np.ndarray:
            seen.append(len(images))
            return super().costs(images, label, seed=seed)

    found = select(augmenter, {"left": 20}, ratio=1, criteria=[Seen(0.5)])
    assert seen == [32, 32]
    assert found.to_dict()["left"] == {
        "wanted": 20, "drawn": 64, "taken": 20, "spare": 12, "rejected": {"number": 32}, "passed": {"number": 32}
    }  # fmt: skip
    assert found.numbers.tolist() == [*range(16), *range(32, 36)]


def test_draws_are_bounded_and_what_is_lacking_is_told(
    augmenter: Augmenter, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = select(augmenter, COUNTS, ratio=1, criteria=[Number(0.5), Number(0.1, "last")], most=2)
    assert found.to_dict()["left"] == {
        "wanted": 20, "drawn": 40, "taken": 3, "spare": 0, "rejected": {"number": 20, "last": 17},
        "passed": {"number": 20, "last": 3},
    }  # fmt: skip
    told = "of 40 samples of left, 3 are taken, and 20 were wanted: rejected are 20 by number, 17 by last"
    assert told in capsys.readouterr().err
    nothing = select(augmenter, COUNTS, ratio=1, criteria=[Number(0.0)], most=2)
    assert nothing.pixels.shape == (0, 16, 16, 1)
    assert nothing.added_to(two_classes()).counts == COUNTS
    with pytest.raises(InputError, match="the augmenter knows no up; it has: left, right"):
        select(augmenter, {"up": 1}, ratio=1)
    with pytest.raises(InputError, match="no sample is asked for"):
        select(augmenter, COUNTS, ratio=0)
    with pytest.raises(InputError, match="least must be a number from 0 to 1, not 2"):
        LabelConfidence(Classifier.__new__(Classifier), least=2)
