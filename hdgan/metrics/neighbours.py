"""What nearest neighbours tell of two sets of images: how much they overlap, and whether images were learnt by heart.

Features (N, D), an image a row, as in :mod:`hdgan.metrics.distribution`. Distances are Euclidean, and computed for so
many images at a time that their table takes 128 MiB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdgan.checks import check_number
from hdgan.metrics.distribution import Doubles, Features, check_features, check_pair
from tiling.errors import InputError

_TABLE = 1 << 24  # distances held at a time
COPIED_QUANTILE = 0.05


@dataclass(frozen=True)
class Overlap:
    """How far two sets of images cover each other, all but `density` from 0 to 1.

    Attributes
    ----------
    precision
        Share of the generated images that lie in the neighbourhood of a real one: how many look real.
    recall
        Share of the real images that lie in the neighbourhood of a generated one: how much is there of what there is.
    density
        In how many neighbourhoods of real images a generated one lies, over k: 1 is as dense as real ones lie.
    coverage
        Share of the real images in whose neighbourhood there is a generated one.
    k
        A neighbourhood reaches to the k-th nearest image of the same set.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    k: int


def precision_recall_density_coverage(real: Features, fake: Features, *, k: int = 5) -> Overlap:
    """Precision and recall (Kynkaanniemi et al. 2019, section 2), density and coverage (Naeem et al. 2020, section 3).

    Naeem et al. use k = 5 for all four, Kynkaanniemi et al. k = 3. An image on the edge of a neighbourhood is in it.

    Parameters
    ----------
    real, fake
        Features (N, D) and (M, D), best of equal numbers: recall depends on M, precision and coverage on N.
    k
        Which neighbour a neighbourhood reaches to.

    Raises
    ------
    InputError
        For shapes that do not fit, values that are not finite, and a set of no more than k images.
    """
    check_pair(real, fake)
    check_counts(len(real), len(fake), k)
    real_reach, fake_reach = _reach(real, k), _reach(fake, k)
    precise, inside = 0, 0
    recalled = np.zeros(len(real), bool)
    covered = np.zeros(len(real), bool)
    for rows, squares in _squared_distances(fake, real):
        near_real = squares <= real_reach
        precise += int(near_real.any(axis=1).sum())
        inside += int(near_real.sum())
        covered |= near_real.any(axis=0)
        recalled |= (squares <= fake_reach[rows, None]).any(axis=0)
    return Overlap(precise / len(fake), float(recalled.mean()), inside / (k * len(fake)), float(covered.mean()), k)


def check_counts(real: int, fake: int, k: int) -> None:
    """An :class:`InputError` unless so many images have a neighbour `k`."""
    check_number("k", k, 1, 1_000_000)
    if min(real, fake) <= k:
        raise InputError(
            f"the neighbour {k} of an image takes more than {k} images of each set, not {real} real and {fake} "
            "generated ones; give more images, or a smaller k"
        )


def nearest(queries: Features, references: Features) -> tuple[npt.NDArray[np.int64], Doubles]:
    """The nearest reference of every query.

    Parameters
    ----------
    queries
        Features (N, D), or (N, S, D): S versions of every image (see :class:`Turned`), of which the nearest counts.
    references
        Features (M, D).

    Returns
    -------
    indices, distances
        (N,) int64 rows of `references`, and (N,) float64; a query that is one of them has distance 0.

    Raises
    ------
    InputError
        For shapes that do not fit, values that are not finite, and no references.
    """
    check_features("references", references)
    versions = queries.reshape(-1, queries.shape[-1]) if queries.ndim == 3 else queries
    check_features("queries", versions, dimensions=references.shape[1])
    if len(references) == 0:
        raise InputError("there is nothing to look for neighbours in: no references")
    indices, distances = np.zeros(len(versions), np.int64), np.zeros(len(versions))
    for rows, squares in _squared_distances(versions, references):
        indices[rows] = squares.argmin(axis=1)
        # The squares are differences of large numbers; these distances are exact.
        apart = versions[rows].astype(np.float64) - references[indices[rows]]
        distances[rows] = np.linalg.norm(apart, axis=1)
    if queries.ndim == 2:
        return indices, distances
    by_image = distances.reshape(queries.shape[:2])
    best = np.arange(len(versions)).reshape(queries.shape[:2])[np.arange(len(queries)), by_image.argmin(axis=1)]
    return indices[best], distances[best]


@dataclass(frozen=True)
class Memorisation:
    """Whether generated images lie nearer to the training images than real ones do that were not trained on.

    Attributes
    ----------
    copied
        Share of the generated images whose nearest training image is nearer than that of all but 5% of the held-out
        images. 0.05 is what a generator has that draws as the held-out images were drawn.
    threshold
        That distance.
    median_generated, median_held_out
        Medians of the distances to the nearest training image.
    z
        The statistic C_T of Meehan et al. 2020 (section 3) without their cells: the Mann-Whitney test of both sets
        of distances as a standard normal deviate. Far below 0: training images are copied. Far above 0: generated
        images are farther from the training images than real ones are.
    training
        How many training images there are.
    """

    copied: float
    threshold: float
    median_generated: float
    median_held_out: float
    z: float
    training: int


def memorisation(generated: Features, held_out: Features, training: Features) -> Memorisation:
    """Compare how near generated and held-out images are to the training images.

    Parameters
    ----------
    generated, held_out
        Features (N, D) and (M, D), or of versions of every image, as :func:`nearest` takes them.
    training
        Features (T, D). No patient should be in both held-out and training images.

    Raises
    ------
    InputError
        For shapes that do not fit, values that are not finite, and an empty set.
    """
    if len(generated) == 0 or len(held_out) == 0:
        raise InputError(
            f"memorisation takes generated and held-out images, not {len(generated)} and {len(held_out)}; give more"
        )
    drawn, kept = (nearest(queries, training)[1] for queries in (generated, held_out))
    threshold = float(np.quantile(kept, COPIED_QUANTILE))
    return Memorisation(
        copied=float((drawn < threshold).mean()),
        threshold=threshold,
        median_generated=float(np.median(drawn)),
        median_held_out=float(np.median(kept)),
        z=_mann_whitney(drawn, kept),
        training=len(training),
    )


def _mann_whitney(first: Doubles, second: Doubles) -> float:
    """How much greater `first` is, as a standard normal deviate; of equal values, one half is greater."""
    ordered = np.sort(second)
    greater = np.searchsorted(ordered, first, "left").sum() + np.searchsorted(ordered, first, "right").sum()
    n, m = len(first), len(second)
    return float((greater / 2 - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12))


def _reach(features: Features, k: int) -> Doubles:
    """(N,) squared distance to the k-th nearest other row."""
    reach = np.zeros(len(features))
    for rows, squares in _squared_distances(features, features):
        squares[np.arange(len(squares)), np.arange(rows.start, rows.stop)] = -1.0  # itself comes first
        reach[rows] = np.partition(squares, k, axis=1)[:, k]
    return reach


def _squared_distances(queries: Features, references: Features) -> Iterator[tuple[slice, Doubles]]:
    """Some queries at a time: their rows, and the squares of their distances (rows, M) to all references."""
    centre = references.mean(axis=0, dtype=np.float64)  # the nearer to zero, the less is lost below
    references = references - centre
    sizes = np.einsum("ij,ij->i", references, references)
    step = max(_TABLE // len(references), 1)
    for start in range(0, len(queries), step):
        block = queries[start : start + step] - centre
        squares = np.einsum("ij,ij->i", block, block)[:, None] + sizes - 2 * (block @ references.T)
        yield slice(start, start + len(block)), np.maximum(squares, 0.0, out=squares)
