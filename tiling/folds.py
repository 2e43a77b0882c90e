"""Cross-validation folds by patient: no patient's tissue is in two of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.wording import counted, first_few

PATIENT = "patient"
"""The label that tells whose slide it is."""

Stratum = tuple[str | None, ...]
"""What a slide is of every label that folds are stratified by; None where nobody knows."""

_MOST_ROUNDS = 20  # of moving patients; two or three suffice


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


def patients_by_name(slides: Sequence[str], pattern: str | None = None) -> dict[str, str]:
    """The patient of every slide, by its file name.

    Parameters
    ----------
    slides
        Paths relative to the archive.
    pattern
        Regular expression, found in the file name; its first group, if it has one, is the patient. By default every
        slide is a patient of its own, named by its file name without suffix.

    Raises
    ------
    InputError
        If the pattern is none, or does not match: a guess could put one patient into two folds.

    Examples
    --------
    >>> patients_by_name(["batch-2/20171220-PASM.jpg"], "^([0-9]+)-")
    {'batch-2/20171220-PASM.jpg': '20171220'}
    """
    if pattern is None:
        return {slide: PurePosixPath(slide).stem for slide in slides}
    compiled = compile_pattern(pattern, option="patient (--patient)")
    found = {slide: matched(compiled, PurePosixPath(slide).name) for slide in slides}
    known = {slide: patient for slide, patient in found.items() if patient}
    if lacking := [PurePosixPath(slide).name for slide in slides if slide not in known]:
        raise InputError(
            f"patient (--patient) {pattern!r} finds no patient in {counted(len(lacking), 'file name')} of "
            f"{len(slides)}: {first_few(lacking)}; make it match them too, tell patients in the column `patient` of "
            "labels (--labels) instead, or leave these slides out: a guess could put one patient into two folds"
        )
    return known


def patients_of(
    slides: Sequence[str], *, pattern: str | None, labels: Mapping[str, Mapping[str, str | None]]
) -> dict[str, str]:
    """The patient of every slide, by a pattern, by a label, or by the slide itself.

    Parameters
    ----------
    slides
        Paths relative to the archive.
    pattern
        See :func:`patients_by_name`.
    labels
        As :func:`tiling.labels.labels_of` gives them; the label `patient`, if there is one, tells whose slides.

    Raises
    ------
    InputError
        If the pattern is none or does not match, if there are both a pattern and a label, or if the label does not
        tell every slide's patient: a guess could put one patient into two folds.
    """
    told = labels.get(PATIENT)
    if told is None:
        return patients_by_name(slides, pattern)
    if pattern is not None:
        raise InputError(
            f"labels (--labels) tell the patients, and so does patient (--patient) {pattern!r}: give that option or "
            "the column `patient`, not both"
        )
    known = {slide: patient for slide in slides if (patient := told.get(slide))}
    if lacking := [slide for slide in slides if slide not in known]:
        raise InputError(
            f"labels (--labels) do not tell the patient of {counted(len(lacking), 'slide')}: {first_few(lacking)}; add "
            "rows with a `patient` for these, as a guess could put one patient into two folds"
        )
    return known


def assign_folds(tiles_of: Mapping[str, Mapping[Stratum, int]], *, folds: int, seed: int = 0) -> dict[str, int]:
    """Share patients out to folds of about equally many tiles, with about the same mix of every label's values.

    Every value of a label is balanced by itself, as in iterative stratification [1]_, since combinations of values soon
    have a single patient; and so are all tiles together, which count as much as the values do. Patients go to folds
    whole and one after the other, as in scikit-learn's `StratifiedGroupKFold`: first those who hold the largest part
    of something. Each goes to the fold that gains a value which it had none of, and of these to the one where the
    squares of the folds' shares of tiles grow least; then, as long as that betters it by the same measure, to another.
    So the patients of a value that only a few have are all in different folds. The seed decides between equals.
    Without values this is: the patient with the most tiles first, each to the fold with the fewest so far.

    With fewer patients than folds the last folds stay empty; a single patient is in fold 0.

    Parameters
    ----------
    tiles_of
        How many tiles each patient has of each stratum. All strata have the same labels, in the same order.
    folds
        How many folds there are.
    seed
        Same seed and same patients, in whatever order: same folds.

    Returns
    -------
    dict
        Each patient's fold, 0 to `folds - 1`.

    References
    ----------
    .. [1] K. Sechidis, G. Tsoumakas, I. Vlahavas, "On the Stratification of Multi-Label Data", ECML PKDD 2011,
       section 3.2.

    Examples
    --------
    >>> tiles_of = {"a": {("PAS",): 4}, "b": {("PAS",): 3}, "c": {("PASM",): 2}, "d": {("PASM",): 1}}
    >>> fold_of = assign_folds(tiles_of, folds=2)
    >>> fold_of["a"] == fold_of["d"] != fold_of["b"] == fold_of["c"]
    True
    """
    if folds < 1:
        raise InputError(f"there is at least 1 fold, not {folds}")
    patients = sorted(tiles_of)
    shuffled = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    sharing = _Sharing(_tiles_by_value([tiles_of[patient] for patient in shuffled]), folds)
    for patient in sharing.order:
        sharing.put(patient)
    for _ in range(_MOST_ROUNDS):
        moved = [patient for patient in sharing.order if sharing.move(patient)]
        if not moved:
            break
    return {patient: int(sharing.fold_of[i]) for i, patient in enumerate(shuffled)}


def _tiles_by_value(of_patients: Sequence[Mapping[Stratum, int]]) -> npt.NDArray[np.int64]:
    """Tiles of every patient (rows): of every known value of every label, and, in the last column, of all."""
    strata = {stratum for tiles in of_patients for stratum in tiles}
    values = sorted({(i, value) for stratum in strata for i, value in enumerate(stratum) if value is not None})
    columns = {value: column for column, value in enumerate(values)}
    table = np.zeros((len(of_patients), len(values) + 1), np.int64)
    for row, of_stratum in zip(table, of_patients, strict=True):
        for stratum, tiles in of_stratum.items():
            row[-1] += tiles
            for i, value in enumerate(stratum):
                if value is not None:
                    row[columns[i, value]] += tiles
    return table


class _Sharing:
    """Patients, by number, on their way to folds.

    `tiles` is (patients, values + 1) int64, the last column all tiles; `order` the patients as they are to be put.
    """

    def __init__(self, tiles: npt.NDArray[np.int64], folds: int) -> None:
        values = tiles.shape[1] - 1
        weights = np.append(np.ones(values), max(1, values))
        self._tiles, self._has = tiles[:, -1], tiles > 0
        self._shares = tiles / np.maximum(tiles.sum(axis=0), 1) * np.sqrt(weights)
        self._filled = np.zeros((folds, values + 1))  # with shares
        self._with = np.zeros((folds, values + 1), np.int64)  # patients with such tiles
        self._sums = np.zeros((folds, 2), np.int64)  # tiles, patients
        self.fold_of = np.full(len(tiles), -1)
        self.order = np.argsort(-np.round(np.linalg.norm(self._shares, axis=1), 12), kind="stable").tolist()

    def put(self, patient: int) -> None:
        """Put a patient into the fold that needs what they bring most."""
        new, growth = self._judged(patient)
        self._add(patient, int(np.lexsort((self._sums[:, 1], self._sums[:, 0], growth, -new))[0]))

    def move(self, patient: int) -> bool:
        """Move a patient to a better fold, if there is one; tells whether there was."""
        here = int(self.fold_of[patient])
        self._add(patient, here, sign=-1)
        new, growth = self._judged(patient)
        best = int(np.lexsort((growth, -new))[0])
        better = bool((-new[best], growth[best]) < (-new[here], growth[here]))
        self._add(patient, best if better else here)
        return better

    def _judged(self, patient: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """For every fold: how many values would be new to it, and how its square would grow, but for a constant.

        Rounded, so that folds that are equal are so on every machine.
        """
        new = np.sum((self._with == 0) & self._has[patient], axis=1)
        return new, np.round(self._filled @ self._shares[patient], 12)

    def _add(self, patient: int, fold: int, *, sign: int = 1) -> None:
        self._filled[fold] += sign * self._shares[patient]
        self._with[fold] += sign * self._has[patient]
        self._sums[fold] += (sign * int(self._tiles[patient]), sign)
        self.fold_of[patient] = fold
