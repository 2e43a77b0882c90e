"""The order in which a training goes through its samples."""

from __future__ import annotations

import functools

import numpy as np
import numpy.typing as npt

from training.draws import numpy_draws


def shuffled(seed: int, places: npt.NDArray[np.int64], count: int, *, purpose: str = "epoch") -> npt.NDArray[np.int64]:
    """Which of `count` samples are at these places of the endless sequence of epochs, each of them shuffled anew.

    Sequences of other purposes are shuffled otherwise.

    Examples
    --------
    >>> sorted(shuffled(0, np.arange(3, 6), 3).tolist())
    [0, 1, 2]
    """
    return np.array([_epoch(seed, purpose, int(place // count), count)[place % count] for place in places], np.int64)


@functools.lru_cache(maxsize=4)
def _epoch(seed: int, purpose: str, epoch: int, count: int) -> npt.NDArray[np.int64]:
    return numpy_draws(seed, purpose, epoch).permutation(count)
