"""Random labelled pixels with their features, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hdgan.features import FeatureStore
from hdgan.features.patch import Floats, Indices
from hdgan.labels import UNLABELLED, LabelMap
from hdgan.pixels.statistics import Statistics
from tiling.errors import InputError
from training.draws import numpy_draws
from training.stream import prefetch

_SEGMENT = 256  # px: a label map's pixels are counted in runs of this length


class ClassIndex:
    """Finds the r-th pixel of a class in a label map, from counts per run of pixels instead of a list of pixels."""

    def __init__(self, labels: LabelMap, classes: int) -> None:
        padding = -labels.size % _SEGMENT
        self._runs = np.pad(labels.ravel(), (0, padding), constant_values=UNLABELLED).reshape(-1, _SEGMENT)
        counts = np.stack([np.count_nonzero(self._runs == k, axis=1) for k in range(classes)])
        self._ends: Indices = counts.cumsum(axis=1)

    @property
    def counts(self) -> Indices:
        """(K,) pixels of every class."""
        return self._ends[:, -1]

    def positions(self, label: int, ranks: Indices) -> Indices:
        """Positions in the flattened map of the pixels with these ranks (n,) among those of class `label`."""
        ends = self._ends[label]
        run = np.searchsorted(ends, ranks, side="right")
        rank_in_run = ranks - np.where(run > 0, ends[run - 1], 0)
        seen = (self._runs[run] == label).cumsum(axis=1)
        offset: Indices = (seen > rank_in_run[:, None]).argmax(axis=1)
        return run * _SEGMENT + offset


@dataclass(frozen=True)
class Noise:
    """With this probability a pixel's standardised features get normal noise of this deviation."""

    probability: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Draw:
    """Which pixels were drawn: arrays (n,) of store index, row, column and label."""

    image: Indices
    y: Indices
    x: Indices
    label: Indices


class PixelSampler:
    """Draws labelled pixels with replacement, balanced by class or as they come.

    Parameters
    ----------
    store
        The features.
    labels
        {index: (H, W) uint8} with 255 where unlabelled.
    indices
        The images to draw from.
    classes
        Number of classes K.
    balanced
        Every class that occurs is equally probable; else every labelled pixel is.
    statistics
        Standardise the features by these.
    pool_bytes
        Features are gathered in pools of about this size, image by image; one pool is gathered while one is used.
    """

    def __init__(
        self,
        store: FeatureStore,
        labels: Mapping[int, LabelMap],
        indices: Sequence[int],
        *,
        classes: int,
        balanced: bool,
        statistics: Statistics,
        pool_bytes: int = 2**28,
    ) -> None:
        self._store, self._statistics, self._pool_bytes = store, statistics, pool_bytes
        self._images = np.asarray(indices, np.int64)
        self._maps = [ClassIndex(labels[i], classes) for i in indices]
        self._counts = np.stack([m.counts for m in self._maps])
        totals = self._counts.sum(axis=0)
        if not totals.any():
            raise InputError(f"no pixel is labelled in images {list(indices)}")
        wanted = (totals > 0).astype(float) if balanced else totals
        self._shares = wanted / wanted.sum()

    @property
    def labelled(self) -> int:
        """Labelled pixels in all images."""
        return int(self._counts.sum())

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n pixels: a class each, then one of its pixels in any image, all equally probable."""
        label = rng.choice(len(self._shares), n, p=self._shares).astype(np.int64)
        rank = rng.integers(0, self._counts.sum(axis=0)[label])
        image, position = np.empty(n, np.int64), np.empty(n, np.int64)
        for k in np.unique(label):
            ends = self._counts[:, k].cumsum()
            of_class = np.flatnonzero(label == k)
            image[of_class] = np.searchsorted(ends, rank[of_class], side="right")
            for m in np.unique(image[of_class]):
                chosen = of_class[image[of_class] == m]
                position[chosen] = self._maps[m].positions(int(k), rank[chosen] - (ends[m] - self._counts[m, k]))
        y, x = np.divmod(position, self._store.shape[1])
        return Draw(self._images[image], y, x, label)

    def features(self, draw: Draw) -> Floats:
        """(n, C) float32: standardised features of drawn pixels."""
        features = np.empty((len(draw.label), self._store.channels), np.float32)
        for i in np.unique(draw.image):
            chosen = np.flatnonzero(draw.image == i)
            features[chosen] = self._store.pixels(int(i), draw.y[chosen], draw.x[chosen])
        features -= self._statistics.mean
        features /= self._statistics.deviation
        return features

    def batches(
        self, numbers: range, *, size: int, seed: int, noise: Noise | None = None
    ) -> Iterator[tuple[Floats, Indices]]:
        """Batches of features (size, C) float32 and labels (size,) int64, the next pool made in a thread.

        A batch's draws are keyed by the seed and its number: it is the same whatever the pools.
        """
        per_pool = max(self._pool_bytes // (size * self._store.channels * 4), 1)
        pools = [numbers[start : start + per_pool] for start in range(0, len(numbers), per_pool)]
        for pool in prefetch(lambda i: self._pool(pools[i], size, seed, noise), 0, len(pools), ahead=2):
            yield from pool

    def _pool(self, numbers: range, size: int, seed: int, noise: Noise | None) -> list[tuple[Floats, Indices]]:
        rngs = [numpy_draws(seed, "pixels", number) for number in numbers]
        draws = [self.draw(size, rng) for rng in rngs]
        joined = Draw(*(np.concatenate([getattr(d, f) for d in draws]) for f in ("image", "y", "x", "label")))
        batches = np.split(self.features(joined), len(draws))
        if noise is not None:
            for features, rng in zip(batches, rngs, strict=True):
                _add_noise(features, noise, rng)
        return [(features, draw.label) for features, draw in zip(batches, draws, strict=True)]


def _add_noise(features: Floats, noise: Noise, rng: np.random.Generator) -> None:
    chosen = np.flatnonzero(rng.random(len(features)) < noise.probability)
    features[chosen] += rng.standard_normal((len(chosen), features.shape[1]), np.float32) * np.float32(noise.deviation)
