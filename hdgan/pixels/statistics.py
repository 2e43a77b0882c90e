"""Mean and deviation of upsampled features, computed at native resolution, window by window."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from hdgan.features import Features
from hdgan.features.patch import Floats, Indices, Patch, taps
from tiling.progress import track
from training.host import Host

Doubles = npt.NDArray[np.float64]
_EDGE = 512  # px of a window
_ENOUGH = 1e-6  # of a deviation that is divided by


@dataclass(frozen=True, eq=False)
class Statistics:
    """Per channel: mean (C,) and standard deviation (C,), float32."""

    mean: Floats
    deviation: Floats

    @classmethod
    def neutral(cls, channels: int) -> Statistics:
        """Mean 0 and deviation 1: features stay as they are."""
        return cls(np.zeros(channels, np.float32), np.ones(channels, np.float32))


def upsampled_statistics(store: Features, indices: Sequence[int], host: Host | None = None) -> Statistics:
    """Statistics over all upsampled pixels of the given images; the patches of one window at a time are in memory.

    A channel that never varies gets deviation 1, so that it can be divided by. Of several processes (`host`) each reads
    its part of the images, and all get the same.
    """
    height, width = store.shape
    own = range(len(indices)) if host is None else host.part(len(indices))
    totals = torch.zeros((len(own), 2, store.channels), dtype=torch.float64)
    for row, k in enumerate(track(own, "feature statistics")):
        for y in range(0, height, _EDGE):
            for x in range(0, width, _EDGE):
                h, w = min(_EDGE, height - y), min(_EDGE, width - x)
                patches = store.patch(indices[k], y=y, x=x, h=h, w=w)
                moments = np.concatenate([_moments(patch, y, x, h, w) for patch in patches.values()], axis=1)
                totals[row] += torch.from_numpy(moments)
    if host is not None:
        totals = host.joined(totals.to(host.device), len(indices))
    mean, square = totals.cpu().numpy().sum(axis=0) / (len(indices) * height * width)
    deviation = np.sqrt(np.maximum(square - mean**2, 0))
    deviation[deviation < _ENOUGH] = 1
    return Statistics(mean.astype(np.float32), deviation.astype(np.float32))


def _moments(patch: Patch, y: int, x: int, h: int, w: int) -> Doubles:
    """(2, C): sums of the upsampled values of a window and of their squares.

    With upsampling as a product A_y V A_x^T, the sum of squares is <V, G_y V G_x> for G = A^T A, which is
    tridiagonal: the cost is that of the native map.
    """
    values = np.moveaxis(patch.values, 0, 2).astype(np.float32)  # (h', w', C), as they lie in a store
    rows = _Gram.of(y, h, patch.scale, patch.y0, values.shape[0])
    columns = _Gram.of(x, w, patch.scale, patch.x0, values.shape[1])
    moments = np.empty((2, values.shape[2]))
    moments[0] = columns.sums @ (rows.sums.astype(np.float32) @ values.reshape(len(values), -1)).reshape(
        -1, len(patch.values)
    )
    product = rows.apply(values) * columns.applied_across(values)
    moments[1] = product.sum(axis=0).sum(axis=0, dtype=np.float64)
    return moments


@dataclass(frozen=True, eq=False)
class _Gram:
    """A^T A of upsampling A along an axis from n native pixels: its diagonal (n,) and neighbour (n - 1,), and A^T 1."""

    diagonal: Doubles
    neighbour: Doubles
    sums: Doubles

    @classmethod
    def of(cls, start: int, length: int, scale: int, first: int, native: int) -> _Gram:
        """For `length` image pixels from `start`, of a patch of `native` pixels from `first`."""
        lower, upper, weight = taps(np.arange(start, start + length), scale)
        lower, upper, b = lower - first, upper - first, weight.astype(np.float64)
        a = 1 - b
        diagonal = _summed(lower, a * a, native) + _summed(upper, b * b, native)
        return cls(diagonal, _summed(lower, a * b, native)[:-1], _summed(lower, a, native) + _summed(upper, b, native))

    def apply(self, values: Floats) -> Floats:
        """G along the first axis of (n, ...)."""
        if not self.neighbour.any():  # the finest map, most of all values
            return values
        across = (-1, *[1] * (values.ndim - 1))
        diagonal, neighbour = (part.astype(np.float32).reshape(across) for part in (self.diagonal, self.neighbour))
        product: Floats = diagonal * values
        product[:-1] += neighbour * values[1:]
        product[1:] += neighbour * values[:-1]
        return product

    def applied_across(self, values: Floats) -> Floats:
        """G along the second axis."""
        return self.apply(values.swapaxes(0, 1)).swapaxes(0, 1)


def _summed(places: Indices, amounts: Doubles, size: int) -> Doubles:
    """(size,): the amounts added up by place."""
    summed: Doubles = np.bincount(places, amounts, size).astype(np.float64)
    return summed
