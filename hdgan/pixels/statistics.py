"""Mean and deviation of upsampled features, computed at native resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.features import FeatureStore
from hdgan.features.patch import Floats, Indices, taps
from tiling.progress import track

Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Statistics:
    """Per channel: mean (C,) and standard deviation (C,), float32."""

    mean: Floats
    deviation: Floats

    @classmethod
    def neutral(cls, channels: int) -> Statistics:
        """Mean 0 and deviation 1: features stay as they are."""
        return cls(np.zeros(channels, np.float32), np.ones(channels, np.float32))


def upsampled_statistics(store: FeatureStore, indices: Sequence[int]) -> Statistics:
    """Statistics over all upsampled pixels of the given images; one layer of one image at a time is in memory.

    A channel that never varies gets deviation 1, so that it can be divided by.
    """
    totals = np.zeros((2, store.channels))
    for i in track(indices, "feature statistics"):
        moments = [_moments(store.native(i, layer), store.shape) for layer in store.layers]
        totals += np.concatenate(moments, axis=1)
    mean, square = totals / (len(indices) * store.shape[0] * store.shape[1])
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    deviation[deviation < 1e-6] = 1
    return Statistics(mean.astype(np.float32), deviation.astype(np.float32))


def _moments(values: npt.NDArray[np.floating[Any]], shape: tuple[int, int]) -> Doubles:
    """(2, C): sums of the upsampled values and of their squares.

    With upsampling as a product A_y V A_x^T, the sum of squares is <V, G_y V G_x> for G = A^T A, which is
    tridiagonal: the cost is that of the native map.
    """
    rows, columns = _Gram.of(values.shape[1], shape[0]), _Gram.of(values.shape[2], shape[1])
    moments = np.empty((2, len(values)))
    for channel, native in enumerate(values):
        v = native.astype(np.float64)
        moments[0, channel] = rows.sums @ v @ columns.sums
        moments[1, channel] = np.vdot(rows.apply(v), columns.apply(v.T).T)
    return moments


@dataclass(frozen=True, eq=False)
class _Gram:
    """A^T A of upsampling A along one axis of n native pixels: its diagonal (n,) and neighbour (n - 1,), and A^T 1."""

    diagonal: Doubles
    neighbour: Doubles
    sums: Doubles

    @classmethod
    def of(cls, native: int, length: int) -> _Gram:
        lower, upper, weight = taps(np.arange(length), length // native)
        lower, upper, b = lower.clip(0, native - 1), upper.clip(0, native - 1), weight.astype(np.float64)
        a = 1 - b
        same = lower == upper  # at a border both taps are one pixel, of weight a + b = 1
        diagonal = _summed(lower, a * a, native) + _summed(upper, b * b, native)
        diagonal += _summed(lower[same], (2 * a * b)[same], native)
        neighbour = _summed(lower[~same], (a * b)[~same], native)[:-1]
        return cls(diagonal, neighbour, _summed(lower, a, native) + _summed(upper, b, native))

    def apply(self, v: Doubles) -> Doubles:
        """G v along the first axis."""
        product = self.diagonal[:, None] * v
        product[:-1] += self.neighbour[:, None] * v[1:]
        product[1:] += self.neighbour[:, None] * v[:-1]
        return product


def _summed(places: Indices, amounts: Doubles, size: int) -> Doubles:
    """(size,): the amounts added up by place."""
    summed: Doubles = np.bincount(places, amounts, size).astype(np.float64)
    return summed
