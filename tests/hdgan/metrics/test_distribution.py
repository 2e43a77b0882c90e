"""Frechet and kernel distances, against closed forms and plain implementations."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg

from hdgan.metrics import Moments, frechet_distance, kernel_distance
from tiling.errors import InputError


def draws(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def with_moments(mean: np.ndarray, covariance: np.ndarray, count: int = 60) -> np.ndarray:
    """Vectors that have exactly these moments."""
    raw = draws().normal(size=(count, len(mean)))
    raw -= raw.mean(axis=0)
    white = raw @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


def test_moments_of_batches_are_those_of_the_whole_whatever_the_batches() -> None:
    features = draws().normal(size=(101, 7)) + 1e6  # far from zero: sums of squares would lose ten digits
    streamed, merged, rest = Moments(7), Moments(7), Moments(7)
    for start, stop in ((0, 1), (1, 40), (40, 40), (40, 101)):
        streamed.update(features[start:stop])
    merged.update(features[:30])
    rest.update(features[30:])
    merged.merge(rest)
    merged.merge(Moments(7))
    for moments in (streamed, merged, Moments.of(features)):
        assert moments.count == 101
        np.testing.assert_allclose(moments.mean, features.mean(axis=0), rtol=1e-14)
        np.testing.assert_allclose(moments.covariance, np.cov(features, rowvar=False), rtol=1e-8, atol=1e-9)


def test_half_precision_features_are_summed_in_double() -> None:
    features = np.full((70_000, 1), 0.1, np.float16)
    moments = Moments.of(features)
    assert moments.mean[0] == pytest.approx(float(features[0, 0]), rel=1e-12)
    assert moments.covariance[0, 0] < 1e-20


def test_gaussians_with_commuting_covariances_have_the_distance_of_the_closed_form() -> None:
    first, second = np.array([1.0, 4.0, 0.25]), np.array([9.0, 1.0, 0.25])
    apart = np.array([1.0, -2.0, 0.5])
    real = Moments.of(with_moments(np.zeros(3), np.diag(first)))
    fake = Moments.of(with_moments(apart, np.diag(second)))
    expected = (apart**2).sum() + ((np.sqrt(first) - np.sqrt(second)) ** 2).sum()
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(fake, real) == pytest.approx(expected, rel=1e-10)


def test_the_frechet_distance_is_that_of_the_matrix_root() -> None:
    real = draws(1).normal(size=(400, 12)) @ draws(2).normal(size=(12, 12))
    fake = draws(3).normal(size=(300, 12)) @ draws(4).normal(size=(12, 12)) + 0.3
    first, second = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = scipy.linalg.sqrtm(first @ second).real
    apart = real.mean(axis=0) - fake.mean(axis=0)
    expected = apart @ apart + np.trace(first + second - 2 * root)
    assert frechet_distance(Moments.of(real), Moments.of(fake)) == pytest.approx(expected, rel=1e-9)


def test_singular_covariances_have_a_finite_distance() -> None:
    few = draws().normal(size=(5, 40))
    twins = np.repeat(few[:1], 6, axis=0)
    assert frechet_distance(Moments.of(few), Moments.of(few)) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(Moments.of(twins), Moments.of(twins + 1)) == pytest.approx(40)
    plane = with_moments(np.zeros(2), np.diag([4.0, 1.0]))
    line = Moments.of(np.column_stack([plane[:, 0], np.zeros(60)]))
    assert frechet_distance(Moments.of(plane), line) == pytest.approx(1, rel=1e-9)


def plain_kernel_distance(x: np.ndarray, y: np.ndarray) -> float:
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return (a @ b / len(a) + 1) ** 3

    n, m = len(x), len(y)
    xx = sum(k(x[i], x[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    yy = sum(k(y[i], y[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    return xx + yy - 2 * sum(k(a, b) for a in x for b in y) / (n * m)


def test_the_kernel_distance_is_the_unbiased_estimate() -> None:
    x, y = draws(1).normal(size=(9, 4)), draws(2).normal(size=(9, 4)) + 0.5
    found = kernel_distance(x, y, subsets=3, subset_size=1000)
    assert found.subset_size == 9
    assert found.mean == pytest.approx(plain_kernel_distance(x, y))
    assert found.deviation == pytest.approx(0, abs=1e-12)  # every subset is the whole


def test_the_kernel_distance_of_one_distribution_is_zero_on_average_at_any_size() -> None:
    pool = draws().normal(size=(4000, 8)).astype(np.float32)
    for size in (5, 50):
        found = kernel_distance(pool[:2000], pool[2000:], subsets=400, subset_size=size)
        assert abs(found.mean) < 4 * found.deviation / np.sqrt(found.subsets)
    assert kernel_distance(pool[:2000], pool[2000:] + 1, subset_size=50).mean > 0.5


def test_subsets_of_small_sets_are_half_of_them_so_that_they_differ() -> None:
    x, y = draws(1).normal(size=(40, 4)), draws(2).normal(size=(31, 4))
    found = kernel_distance(x, y)
    assert found.subset_size == 15
    assert found.deviation > 0
    assert kernel_distance(x[:3], y).subset_size == 2
    assert kernel_distance(np.repeat(x, 60, axis=0), np.repeat(y, 80, axis=0), subsets=1).subset_size == 1000


def test_the_kernel_distance_depends_on_its_seed_alone() -> None:
    x, y = draws(1).normal(size=(40, 3)), draws(2).normal(size=(50, 3))
    found = kernel_distance(x, y, subsets=5, subset_size=10, seed=3)
    assert found == kernel_distance(x, y, subsets=5, subset_size=10, seed=3)
    assert found != kernel_distance(x, y, subsets=5, subset_size=10, seed=4)


def test_what_cannot_be_compared_is_refused() -> None:
    good = np.zeros((4, 3))
    with pytest.raises(InputError, match=r"features must be \(N, D\), an image a row, not \(4,\)"):
        Moments.of(np.zeros(4))
    with pytest.raises(InputError, match=r"features must be \(N, 3\)"):
        Moments(3).update(np.zeros((2, 4)))
    with pytest.raises(InputError, match="not finite, first of image 2"):
        Moments.of(np.array([[0.0], [1.0], [np.nan]]))
    with pytest.raises(InputError, match="at least 2 images, not 1"):
        frechet_distance(Moments.of(good[:1]), Moments.of(good))
    with pytest.raises(InputError, match="of 3 and of 2 dimensions"):
        frechet_distance(Moments.of(good), Moments.of(good[:, :2]))
    with pytest.raises(InputError, match="not 1 and 4"):
        kernel_distance(good[:1], good)
    with pytest.raises(InputError, match="subsets must be a whole number"):
        kernel_distance(good, good, subsets=0)
