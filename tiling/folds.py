"""Cross-validation folds by patient: no patient's tissue is in two of them."""

from __future__ import annotations

import heapq
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np

from tiling.errors import InputError


def compile_pattern(pattern: str, *, option: str) -> re.Pattern[str]:
    """A regular expression that a user gave; an :class:`InputError` names the option if it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(f"{option} is no regular expression: {pattern!r} ({error})") from error


def matched(pattern: re.Pattern[str], text: str) -> str | None:
    """What a pattern finds in a text: its first group if it has one, else all of it; None if nothing."""
    match = pattern.search(text)
    return match[1 if pattern.groups else 0] if match else None


def patient_of(slide: str, pattern: re.Pattern[str] | None = None) -> str:
    """The patient whose slide it is.

    Parameters
    ----------
    slide
        Path of the slide relative to the archive.
    pattern
        Found in the file name; its first group, if it has one, is the patient. By default every slide is a patient
        of its own, named by its file name without suffix.

    Raises
    ------
    InputError
        If the pattern does not match: a guess could put one patient into two folds.

    Examples
    --------
    >>> patient_of("batch-2/20171220-PASM.jpg", re.compile(r"^([0-9]+)-"))
    '20171220'
    """
    name = PurePosixPath(slide).name
    if pattern is None:
        return PurePosixPath(slide).stem
    patient = matched(pattern, name)
    if not patient:
        raise InputError(f"patient pattern {pattern.pattern!r} finds no patient in the file name {name!r}")
    return patient


def assign_folds(tiles_of: Mapping[str, int], *, folds: int, seed: int = 0) -> dict[str, int]:
    """Share patients out to folds of about equally many tiles.

    The patient with the most tiles goes first, each to the fold with the fewest so far; the seed decides between
    equals. With fewer patients than folds the last folds stay empty; a single patient is in fold 0.

    Parameters
    ----------
    tiles_of
        How many tiles each patient has.
    folds
        How many folds there are.
    seed
        Same seed and same patients, in whatever order: same folds.

    Returns
    -------
    dict
        Each patient's fold, 0 to `folds - 1`.
    """
    if folds < 1:
        raise InputError(f"there is at least 1 fold, not {folds}")
    patients = sorted(tiles_of)
    shuffled = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    filled = [(0, 0, fold) for fold in range(folds)]  # tiles, patients, fold
    chosen = {}
    for patient in sorted(shuffled, key=lambda p: -tiles_of[p]):
        tiles, members, fold = heapq.heappop(filled)
        chosen[patient] = fold
        heapq.heappush(filled, (tiles + tiles_of[patient], members + 1, fold))
    return chosen
