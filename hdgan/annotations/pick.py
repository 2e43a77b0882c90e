"""Which images the expert should label: few, and as unlike each other as the whole set is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage

from hdgan.labels import Image
from tiling.errors import InputError
from tiling.progress import track
from tiling.wording import counted

_RESTARTS = 8
_ROUNDS = 50
_GRID = 8  # cells along each side for the colour layout


def pick(images_or_w: Sequence[Image] | npt.NDArray[Any], n: int, *, seed: int) -> list[int]:
    """Choose a diverse and representative subset: the medoids of `n` clusters.

    Images are compared by the mean colour of 8 x 8 cells, the contrast of each channel and the mean size and
    spread of brightness gradients at three scales; latents by w itself. Every dimension is standardised and the
    three kinds of image features weigh alike. Clusters start at k-means++ draws (Arthur & Vassilvitskii 2007),
    alternate between assignment and the member nearest to the cluster's mean, and the tightest of 8 starts is taken.

    Parameters
    ----------
    images_or_w
        N images (H, W, 3) uint8 of one size, as an array or anything indexed like one (read one at a time), or
        latents (N, w_dim) of floats.
    n
        How many to choose, 1 to N.
    seed
        Of the clusters' starts; the same seed chooses the same images.

    Returns
    -------
    list of int
        n different indices, ascending.

    Examples
    --------
    >>> w = np.array([[0.0], [0.1], [0.2], [5.0], [9.0], [9.1], [9.2]])
    >>> pick(w, 3, seed=0)
    [1, 3, 5]
    """
    count = len(images_or_w)
    check_number(n, count)
    if isinstance(images_or_w, np.ndarray) and images_or_w.ndim == 2:
        points = _standardised(images_or_w.astype(np.float64))
    else:
        points = _describe(images_or_w)
    generator = np.random.default_rng(seed)
    found = [_medoids(points, _spread(points, n, generator)) for _ in range(_RESTARTS)]
    return sorted(min(found, key=lambda medoids: _looseness(points, medoids)).tolist())


def check_number(n: int, count: int) -> None:
    """An :class:`InputError` unless `n` of `count` images can be chosen."""
    if not 1 <= n <= count:
        raise InputError(f"cannot pick {n} of {counted(count, 'image')}; ask for 1 to {count}")


def _describe(images: Sequence[Image] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(N, D): layout of colours, contrast and texture, each standardised and of equal weight."""
    parts = [_features(images[index]) for index in track(range(len(images)), "comparing images")]
    kinds = [np.stack(kind) for kind in zip(*parts, strict=True)]
    return np.concatenate([_standardised(kind) / np.sqrt(kind.shape[1]) for kind in kinds], axis=1)


def _features(image: Image) -> tuple[npt.NDArray[np.float64], ...]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    picture = PillowImage.fromarray(image)
    layout = np.asarray(picture.resize((_GRID, _GRID), PillowImage.Resampling.BOX), np.float64).ravel()
    grey = picture.convert("L")
    texture: list[float] = []
    for scale in (1, 2, 4):
        reduced = np.asarray(grey.reduce(min(scale, *image.shape[:2])), np.float64)
        for axis in (0, 1):
            step = np.abs(np.diff(reduced, axis=axis, prepend=reduced.take([0], axis)))
            texture += [float(step.mean()), float(step.std())]
    return layout, image.std(axis=(0, 1)), np.array(texture)


def _standardised(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    deviation = values.std(axis=0)
    standardised: npt.NDArray[np.float64] = (values - values.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    return standardised


def _squared_distances(points: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(N, K) squared Euclidean distances, one centre at a time: no (N, K, D) array."""
    return np.stack([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=1)


def _spread(points: npt.NDArray[np.float64], n: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Draw n different points, each with a chance that grows with its squared distance from those drawn."""
    chosen = [int(generator.integers(len(points)))]
    nearest = _squared_distances(points, points[chosen])[:, 0]
    while len(chosen) < n:
        free = np.ones(len(points), bool)
        free[chosen] = False
        weights = np.where(free, nearest, 0.0)
        weights = weights if weights.sum() > 0 else free.astype(np.float64)  # only copies are left
        chosen.append(int(generator.choice(len(points), p=weights / weights.sum())))
        nearest = np.minimum(nearest, _squared_distances(points, points[chosen[-1:]])[:, 0])
    return np.array(chosen)


def _medoids(points: npt.NDArray[np.float64], medoids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Move each medoid to the member nearest to its cluster's mean, until none moves."""
    for _ in range(_ROUNDS):
        cluster = _squared_distances(points, points[medoids]).argmin(axis=1)
        cluster[medoids] = np.arange(len(medoids))  # a medoid stays in its own cluster beside its copies
        moved = medoids.copy()
        for k in range(len(medoids)):
            members = np.flatnonzero(cluster == k)
            centre = points[members].mean(axis=0)
            moved[k] = members[_squared_distances(points[members], centre[None])[:, 0].argmin()]
        if np.array_equal(moved, medoids):
            break
        medoids = moved
    return medoids


def _looseness(points: npt.NDArray[np.float64], medoids: npt.NDArray[np.int64]) -> float:
    return float(_squared_distances(points, points[medoids]).min(axis=1).sum())
