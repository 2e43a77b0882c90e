"""Distances between two sets of images, of which each image is a vector of features. Numpy alone.

Every function takes features (N, D), an image a row, from any :class:`hdgan.metrics.FeatureSpace`. All sums are
float64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.checks import check_number
from tiling.errors import InputError

Features = npt.NDArray[np.floating[Any]]
Doubles = npt.NDArray[np.float64]

_ROWS = 4096  # features turned to float64 at a time
_SUBSET_SIZE = 1000


class Moments:
    """Count, mean and covariance of features that come in batches, of which none is kept.

    Batches are merged by their deviations from their own means (Chan, Golub and LeVeque 1983, section 2): no difference
    of large sums is taken, so a mean far from zero costs no digits.

    Parameters
    ----------
    dimensions
        D, the length of a feature vector.

    Examples
    --------
    >>> moments = Moments(2)
    >>> moments.update(np.array([[0.0, 1.0], [2.0, 1.0]]))
    >>> moments.update(np.array([[4.0, 4.0]]))
    >>> moments.mean.tolist(), moments.covariance.tolist()
    ([2.0, 2.0], [[4.0, 3.0], [3.0, 3.0]])
    """

    def __init__(self, dimensions: int) -> None:
        self.count = 0
        self.mean: Doubles = np.zeros(dimensions)
        self._scatter: Doubles = np.zeros((dimensions, dimensions))  # sum of the deviations' outer products

    @classmethod
    def of(cls, features: Features) -> Moments:
        """Those of features (N, D)."""
        check_features("features", features)
        moments = cls(features.shape[1])
        moments.update(features)
        return moments

    def update(self, features: Features) -> None:
        """Take in features (N, D); an :class:`InputError` for other shapes, and for values that are not finite."""
        check_features("features", features, dimensions=len(self.mean))
        for start in range(0, len(features), _ROWS):
            batch = features[start : start + _ROWS].astype(np.float64)
            mean = batch.mean(axis=0)
            batch -= mean
            self._merge(len(batch), mean, batch.T @ batch)

    def merge(self, other: Moments) -> None:
        """Take in what another has seen."""
        self._merge(other.count, other.mean, other._scatter)

    @property
    def covariance(self) -> Doubles:
        """(D, D), of the sample: divided by the count less one. An :class:`InputError` for fewer than two vectors."""
        if self.count < 2:
            raise InputError(f"a covariance takes at least 2 images, not {self.count}; give more")
        return self._scatter / (self.count - 1)

    def _merge(self, count: int, mean: Doubles, scatter: Doubles) -> None:
        if count == 0:
            return
        total, apart = self.count + count, mean - self.mean
        self._scatter += scatter
        self._scatter += np.outer(apart, apart * (self.count * count / total))
        self.mean = self.mean + apart * (count / total)
        self.count = total


def frechet_distance(real: Moments, fake: Moments) -> float:
    """Frechet distance of two Gaussians: FID if the features are Inception's (Heusel et al. 2017, equation 6).

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)). The trace of the root is the sum of the singular values of F1' F2,
    where Fi Fi' = Si: Fi are the eigenvectors of Si times the roots of their eigenvalues, without those that are zero
    but for rounding. So no root of a non-symmetric matrix is taken, and fewer images than dimensions, whose covariances
    are singular, give a real and finite number, too; it then says little, see :func:`kernel_distance`.

    Raises
    ------
    InputError
        For moments of other dimensions, or of fewer than two images.

    Examples
    --------
    >>> near, far = Moments.of(np.array([[0.0], [2.0]])), Moments.of(np.array([[3.0], [5.0]]))
    >>> frechet_distance(near, far)
    9.0
    """
    if len(real.mean) != len(fake.mean):
        raise InputError(
            f"features of {len(real.mean)} and of {len(fake.mean)} dimensions cannot be compared; "
            "take both from one feature space"
        )
    first, second = real.covariance, fake.covariance
    shared = np.linalg.svd(_factor(first).T @ _factor(second), compute_uv=False).sum()
    apart = real.mean - fake.mean
    return max(float(apart @ apart + np.trace(first) + np.trace(second) - 2 * shared), 0.0)


def _factor(covariance: Doubles) -> Doubles:
    """(D, rank): F with F F' = covariance."""
    values, vectors = np.linalg.eigh(covariance)
    kept = values > values[-1] * len(values) * np.finfo(np.float64).eps
    factor: Doubles = vectors[:, kept] * np.sqrt(values[kept])
    return factor


@dataclass(frozen=True)
class KernelDistance:
    """Squared maximum mean discrepancy over random subsets.

    Attributes
    ----------
    mean, deviation
        Over the subsets. The mean is unbiased, so it may be a little below zero for sets that are alike; the deviation
        is that of one subset's value, and tells which differences between means mean nothing.
    subsets, subset_size
        How many, and of how many images of each set.
    """

    mean: float
    deviation: float
    subsets: int
    subset_size: int


def kernel_distance(
    real: Features, fake: Features, *, subsets: int = 100, subset_size: int | None = None, seed: int = 0
) -> KernelDistance:
    """KID: the unbiased squared MMD with the kernel (x'y / D + 1)^3 (Binkowski et al. 2018, section 4).

    Unlike the Frechet distance it is not biased by the number of images, and is of use where these are few.

    Parameters
    ----------
    real, fake
        Features (N, D) and (M, D).
    subsets
        How many subsets are drawn, without replacement within each.
    subset_size
        Images of a subset; if one of the sets has fewer, as many as it has. None: 1000, or half of the smaller set if
        that is less, since subsets that are nearly the whole are alike, and their deviation then tells nothing.
    seed
        Of the draws.

    Raises
    ------
    InputError
        For shapes that do not fit, values that are not finite, and fewer than two images.
    """
    check_pair(real, fake)
    check_number("subsets", subsets, 1, 1_000_000)
    smaller = min(len(real), len(fake))
    if smaller < 2:
        raise InputError(f"a kernel distance takes at least 2 images of each set, not {len(real)} and {len(fake)}")
    if subset_size is None:
        subset_size = max(min(_SUBSET_SIZE, smaller // 2), 2)
    check_number("subset_size", subset_size, 2, 1_000_000)
    size = min(subset_size, smaller)
    draws = np.random.default_rng(seed)
    values = [
        _squared_discrepancy(
            real[draws.choice(len(real), size, replace=False)].astype(np.float64),
            fake[draws.choice(len(fake), size, replace=False)].astype(np.float64),
        )
        for _ in range(subsets)
    ]
    return KernelDistance(float(np.mean(values)), float(np.std(values)), subsets, size)


def _squared_discrepancy(x: Doubles, y: Doubles) -> float:
    """The unbiased estimate of Gretton et al. 2012 (lemma 6), of two samples of the same size."""
    size, dimensions = x.shape

    def kernel(a: Doubles, b: Doubles) -> Doubles:
        values: Doubles = (a @ b.T / dimensions + 1) ** 3
        return values

    within = [values.sum() - np.trace(values) for values in (kernel(x, x), kernel(y, y))]
    return float(sum(within) / (size * (size - 1)) - 2 * kernel(x, y).mean())


def check_features(name: str, features: Features, *, dimensions: int | None = None) -> None:
    """An :class:`InputError` unless these are finite vectors, of that length if one is given."""
    if features.ndim != 2 or (dimensions is not None and features.shape[1] != dimensions):
        wanted = "D" if dimensions is None else dimensions
        raise InputError(f"{name} must be (N, {wanted}), an image a row, not {features.shape}")
    if not np.isfinite(features).all():
        rows = np.flatnonzero(~np.isfinite(features).all(axis=1))
        raise InputError(f"{name} hold values that are not finite, first of image {rows[0]}; look at that image")


def check_pair(real: Features, fake: Features) -> None:
    """An :class:`InputError` unless these are finite vectors of the same length."""
    check_features("features of real images", real)
    check_features("features of generated images", fake, dimensions=real.shape[1])
