"""Which labelled images to train on, to stop early by, and to score."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tiling.errors import InputError
from tiling.wording import counted
from training.draws import numpy_draws

PAPER_COUNTS = (16, 4, 16)
"""Images for training, validation and test of HDGAN's 36 (Rizvi et al. 2022, section 3)."""


def split_images(
    indices: Sequence[int], *, counts: tuple[int, int, int] | None = None, seed: int = 0
) -> dict[str, list[int]]:
    """Share labelled images out at random, but the same way for the same seed.

    Parameters
    ----------
    indices
        The labelled images.
    counts
        For training, validation and test; together at most as many as there are images. Without them, as
        :func:`counts_of` so many images.

    Examples
    --------
    >>> {part: len(chosen) for part, chosen in split_images(range(36)).items()}
    {'train': 16, 'validation': 4, 'test': 16}
    """
    total = len(indices)
    counts = counts_of(total) if counts is None else counts
    if min(counts) < 0 or counts[0] < 1 or sum(counts) > total:
        wanted, fitting = ("/".join(map(str, each)) for each in (counts, counts_of(total)))
        raise InputError(
            f"{counted(total, 'labelled image')} cannot be split {wanted}; the parts must add up to at most "
            f"{total}, as {fitting} do"
        )
    shuffled = [int(indices[i]) for i in np.random.default_rng(seed).permutation(total)]
    train, validation, _ = counts
    parts = {
        "train": shuffled[:train],
        "validation": shuffled[train : train + validation],
        "test": shuffled[train + validation : sum(counts)],
    }
    return {part: sorted(chosen) for part, chosen in parts.items()}


def counts_of(total: int) -> tuple[int, int, int]:
    """So many images shared out as :data:`PAPER_COUNTS` are, with at least one in each part of three or more.

    Examples
    --------
    >>> counts_of(36), counts_of(12), counts_of(2)
    ((16, 4, 16), (6, 1, 5), (2, 0, 0))
    """
    least = int(total >= len(PAPER_COUNTS))
    test, validation = (max(total * PAPER_COUNTS[i] // sum(PAPER_COUNTS), least) for i in (2, 1))
    return total - test - validation, validation, test


def nested_subsets(images: Sequence[int], sizes: Iterable[int], *, seed: int) -> dict[int, list[int]]:
    """{size: so many of the images}, at random, but the same way for the same seed; the fewer are among the more.

    Examples
    --------
    >>> subsets = nested_subsets(range(16), (8, 2), seed=0)
    >>> len(subsets[8]), set(subsets[2]) < set(subsets[8])
    (8, True)
    """
    order = numpy_draws(seed, "subsets").permutation(images).tolist()
    return {size: sorted(order[:size]) for size in sizes}
