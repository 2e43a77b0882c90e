"""Cross-validation folds by patient: no patient's tissue is in two of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np

from tiling.errors import InputError
from tiling.wording import first_few

PATIENT = "patient"
"""The label that tells whose slide it is."""


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


def patients_of(
    slides: Sequence[str], *, pattern: str | None, labels: Mapping[str, Mapping[str, str | None]]
) -> dict[str, str]:
    """The patient of every slide, by a pattern, a label, or the slide itself.

    Parameters
    ----------
    slides
        Paths relative to the archive.
    pattern
        See :func:`patient_of`.
    labels
        As :func:`tiling.labels.labels_of` gives them; the label `patient`, if there is one, tells whose slides.

    Raises
    ------
    InputError
        If the pattern is none or does not match, if both are given, or if a slide has no patient: a guess could put one
        patient into two folds.
    """
    given = labels.get(PATIENT)
    if given is None:
        compiled = None if pattern is None else compile_pattern(pattern, option="patient")
        return {slide: patient_of(slide, compiled) for slide in slides}
    if pattern is not None:
        raise InputError(f"labels tell the patients, and so does patient {pattern!r}: give one of them")
    known = {slide: patient for slide in slides if (patient := given[slide])}
    if lacking := [slide for slide in slides if slide not in known]:
        raise InputError(
            f"labels tell no patient of {first_few(lacking)}; add what is missing, or leave the label `patient` out"
        )
    return known


def assign_folds(tiles_of: Mapping[str, Mapping[str, int]], *, folds: int, seed: int = 0) -> dict[str, int]:
    """Share patients out to folds of about equally many tiles, and of about the same mix of strata.

    Greedy, as in scikit-learn's StratifiedGroupKFold: the patients who weigh most in any stratum go first, each to the
    fold that has least of what they bring; of equal folds, to the one with the fewest tiles. The seed decides between
    equals. With fewer patients than folds the last folds stay empty; a single patient is in fold 0.

    Parameters
    ----------
    tiles_of
        How many tiles each patient has of each stratum.
    folds
        How many folds there are.
    seed
        Same seed and same patients, in whatever order: same folds.

    Returns
    -------
    dict
        Each patient's fold, 0 to `folds - 1`.

    Examples
    --------
    >>> sorted(assign_folds({"a": {"PAS": 4}, "b": {"PAS": 3}, "c": {"PASM": 2}, "d": {"PASM": 1}}, folds=2).values())
    [0, 0, 1, 1]
    """
    if folds < 1:
        raise InputError(f"there is at least 1 fold, not {folds}")
    patients = sorted(tiles_of)
    strata = sorted({stratum for tiles in tiles_of.values() for stratum in tiles})
    shuffled = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    tiles = np.array([[tiles_of[patient].get(stratum, 0) for stratum in strata] for patient in shuffled], float)
    tiles = tiles.reshape(len(shuffled), len(strata))
    tiles = np.concatenate([tiles, tiles.sum(axis=1, keepdims=True)], axis=1)  # all together count as a stratum, too
    share = tiles / np.maximum(tiles.sum(axis=0), 1)
    filled, members = np.zeros((folds, share.shape[1])), np.zeros(folds)
    chosen = {}
    for i in np.lexsort((-tiles[:, -1], -share.max(axis=1, initial=0))):
        overlap = np.round(filled @ share[i], 12)  # the growth of the folds' summed squares, but for a constant
        fold = int(np.lexsort((members, filled[:, -1], overlap))[0])
        chosen[shuffled[i]] = fold
        filled[fold] += share[i]
        members[fold] += 1
    return chosen
