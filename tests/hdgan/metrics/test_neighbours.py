"""Overlap, nearest neighbours and memorisation, against plain implementations and sets that are known."""

from __future__ import annotations

import numpy as np
import pytest

from hdgan.metrics import memorisation, nearest, neighbours, precision_recall_density_coverage
from tiling.errors import InputError


def normal(seed: int, count: int, dimensions: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions))


def plain_overlap(real: np.ndarray, fake: np.ndarray, k: int) -> tuple[float, float, float, float]:
    """As the papers write it, with every distance at once."""

    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(a[:, None] - b[None], axis=2)

    def reach(a: np.ndarray) -> np.ndarray:
        return np.sort(distances(a, a), axis=1)[:, k]  # the first is itself

    between = distances(real, fake)
    in_real, in_fake = between <= reach(real)[:, None], between <= reach(fake)[None]
    return (
        in_real.any(axis=0).mean(),
        in_fake.any(axis=1).mean(),
        in_real.sum() / (k * len(fake)),
        (between.min(axis=1) <= reach(real)).mean(),
    )


@pytest.mark.parametrize("table", [1 << 24, 500, 1])
def test_overlap_is_that_of_the_papers_however_many_rows_are_held(monkeypatch: pytest.MonkeyPatch, table: int) -> None:
    monkeypatch.setattr(neighbours, "_TABLE", table)
    real, fake = normal(1, 60), normal(2, 45) * 0.8 + 0.5
    for k in (1, 3, 5):
        found = precision_recall_density_coverage(real, fake, k=k)
        np.testing.assert_allclose(
            (found.precision, found.recall, found.density, found.coverage), plain_overlap(real, fake, k)
        )


def test_a_set_overlaps_itself_wholly() -> None:
    found = precision_recall_density_coverage(normal(1, 80), normal(1, 80))
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


def test_sets_far_apart_do_not_overlap() -> None:
    found = precision_recall_density_coverage(normal(1, 80), normal(2, 80) + 100)
    assert (found.precision, found.recall, found.density, found.coverage) == (0, 0, 0, 0)


def test_a_collapsed_generator_is_precise_and_recalls_nothing() -> None:
    real = normal(1, 400)
    found = precision_recall_density_coverage(real, real[:1] + 0.001 * normal(2, 400))
    assert found.precision == 1
    assert found.recall < 0.01
    assert found.coverage < 0.1


def test_density_of_the_same_distribution_is_about_one() -> None:
    assert precision_recall_density_coverage(normal(1, 600), normal(2, 600)).density == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("table", [1 << 24, 200])
def test_the_nearest_are_found_and_copies_have_no_distance(monkeypatch: pytest.MonkeyPatch, table: int) -> None:
    monkeypatch.setattr(neighbours, "_TABLE", table)
    references = normal(1, 50) + 1e4  # where the difference of squares keeps few digits
    queries = np.concatenate([references[[7, 31]], normal(2, 20) + 1e4])
    indices, distances = nearest(queries, references)
    apart = np.linalg.norm(queries[:, None] - references[None], axis=2)
    assert indices.tolist() == apart.argmin(axis=1).tolist()
    np.testing.assert_allclose(distances, apart.min(axis=1))
    assert distances[:2].tolist() == [0, 0]


def test_of_versions_of_an_image_the_nearest_counts() -> None:
    references, versions = normal(1, 30), normal(2, 60).reshape(20, 3, 5)
    versions[4, 2] = references[17]
    indices, distances = nearest(versions, references)
    apart = np.linalg.norm(versions[:, :, None] - references, axis=3)
    np.testing.assert_allclose(distances, apart.min(axis=(1, 2)))
    assert indices.tolist() == apart.min(axis=1).argmin(axis=1).tolist()
    assert (indices[4], distances[4]) == (17, 0)


def test_an_honest_generator_copies_as_often_as_held_out_images_do() -> None:
    found = memorisation(normal(1, 2000), normal(2, 2000), normal(3, 300))
    assert found.copied == pytest.approx(0.05, abs=0.02)
    assert abs(found.z) < 3
    assert found.training == 300
    assert found.median_generated == pytest.approx(found.median_held_out, rel=0.05)


def test_copies_of_training_images_are_found() -> None:
    training = normal(3, 300)
    copies = np.concatenate([training[:50] + 1e-3, normal(1, 50)])
    found = memorisation(copies, normal(2, 200), training)
    assert 0.5 <= found.copied < 0.6
    assert found.z < -3
    assert memorisation(normal(1, 200) + 9, normal(2, 200), training).z > 3


def test_the_statistic_of_copying_is_the_mann_whitney_deviate() -> None:
    found = memorisation(np.array([[1.0], [3.0]]), np.array([[2.0], [3.0], [4.0]]), np.array([[0.0]]))
    # of six pairs the generated one is farther in one, (3, 2), and (3, 3) counts half
    assert found.z == pytest.approx((1.5 - 3) / np.sqrt(2 * 3 * 6 / 12))


def test_too_few_images_are_refused() -> None:
    with pytest.raises(InputError, match="takes more than 5 images of each set, not 5 real and 80"):
        precision_recall_density_coverage(normal(1, 5), normal(2, 80))
    with pytest.raises(InputError, match="no references"):
        nearest(normal(1, 3), normal(1, 0))
    with pytest.raises(InputError, match="not 0 and 4"):
        memorisation(normal(1, 0), normal(1, 4), normal(1, 4))
