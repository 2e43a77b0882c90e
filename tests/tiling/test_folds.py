from __future__ import annotations

import numpy as np
import pytest

from tiling.errors import InputError
from tiling.folds import assign_folds, compile_pattern, patients_by_name, patients_of

STAINS, DIAGNOSES = ["HE", "PAS", "PASM", "Masson"], ["IgA", "lupus", "amyloid"]


def unstratified(tiles_of):
    return {patient: {(): n if isinstance(n, int) else sum(n.values())} for patient, n in tiles_of.items()}


def archive(seed, patients):
    """Patients with one to three slides: stains and diagnoses of which some are rare, unequal numbers of tiles."""
    draws = np.random.default_rng(seed)
    tiles_of = {}
    for i in range(patients):
        diagnosis = str(draws.choice(DIAGNOSES, p=[0.7, 0.2, 0.1]))
        stains = draws.choice(STAINS, draws.integers(1, 4), replace=False, p=[0.5, 0.25, 0.15, 0.1])
        tiles_of[f"p{i}"] = {(str(stain), diagnosis): int(draws.integers(5, 200)) for stain in stains}
    return tiles_of


def shares(tiles_of, fold_of, folds):
    """The part of the tiles of every value, and of all, that lies in each fold, times the number of folds."""
    counts = {}
    for patient, tiles in tiles_of.items():
        for stratum, number in tiles.items():
            for value in (*stratum, "all"):
                counts.setdefault(value, np.zeros(folds))[fold_of[patient]] += number
    return {value: folds * found / found.sum() for value, found in counts.items()}


def worst(of_value):
    return max(float(np.abs(found - 1).max()) for found in of_value.values())


def test_folds_hold_about_equally_many_tiles_and_all_are_used():
    tiles_of = {f"p{i}": 1 + i % 7 for i in range(40)}
    fold_of = assign_folds(unstratified(tiles_of), folds=4)
    sums = [sum(n for p, n in tiles_of.items() if fold_of[p] == fold) for fold in range(4)]
    assert max(sums) - min(sums) <= 1


def test_folds_depend_on_the_seed_and_not_on_any_order():
    tiles_of = archive(0, 30)
    turned = {patient: dict(reversed(tiles.items())) for patient, tiles in reversed(tiles_of.items())}
    assert assign_folds(tiles_of, folds=3, seed=1) == assign_folds(turned, folds=3, seed=1)
    alike = {patient: {("HE",): 3} for patient in "abcdefgh"}
    assert len({str(assign_folds(alike, folds=3, seed=s)) for s in range(5)}) > 1


def test_a_single_patient_is_in_fold_0_and_few_patients_fill_the_first_folds():
    assert assign_folds({"a": {("HE",): 9}}, folds=5) == {"a": 0}
    assert sorted(assign_folds({"a": {("HE",): 9}, "b": {("PAS",): 1}}, folds=5).values()) == [0, 1]
    assert assign_folds({}, folds=5) == {}


def test_no_folds_at_all_are_refused():
    with pytest.raises(InputError, match="at least 1 fold, not 0"):
        assign_folds({}, folds=0)


@pytest.mark.parametrize("seed", range(8))
def test_values_of_every_label_are_spread_more_evenly_than_without_strata(seed):
    tiles_of = archive(seed, 150)
    stratified = shares(tiles_of, assign_folds(tiles_of, folds=5), 5)
    assert worst(stratified) < 0.2
    assert worst(stratified) < 0.5 * worst(shares(tiles_of, assign_folds(unstratified(tiles_of), folds=5), 5))
    assert np.abs(stratified["all"] - 1).max() < 0.02


@pytest.mark.parametrize("seed", range(8))
def test_in_a_small_archive_every_fold_has_every_value_that_enough_patients_have(seed):
    tiles_of = archive(seed, 40)
    holders = {}
    for patient, tiles in tiles_of.items():
        for value in {value for stratum in tiles for value in stratum}:
            holders.setdefault(value, set()).add(patient)
    spread = shares(tiles_of, assign_folds(tiles_of, folds=5), 5)
    for value, patients in holders.items():
        assert np.count_nonzero(spread[value]) == min(5, len(patients))


@pytest.mark.parametrize("rare", [[2] * 5, [90, 1, 1, 1, 1], [400, 300, 1, 50, 7]])
def test_the_patients_of_a_rare_value_are_all_in_different_folds(rare):
    common = {f"p{i}": {("HE",): 50 + i} for i in range(60)}
    fold_of = assign_folds(common | {f"r{i}": {("Masson",): n, ("HE",): 80} for i, n in enumerate(rare)}, folds=5)
    assert {fold_of[f"r{i}"] for i in range(5)} == set(range(5))


def test_slides_of_which_a_label_is_not_known_are_balanced_as_tiles_only():
    tiles_of = {f"p{i}": {("HE" if i % 3 else None,): 10 + i} for i in range(60)}
    found = shares(tiles_of, assign_folds(tiles_of, folds=4), 4)
    assert np.abs(found["HE"] - 1).max() < 0.05
    assert np.abs(found["all"] - 1).max() < 0.05


def test_the_patient_is_the_file_stem_or_what_the_pattern_finds():
    slides = ["a/b/case-7.svs", "2017/20171220-PASM.jpg"]
    assert list(patients_by_name(slides).values()) == ["case-7", "20171220-PASM"]
    assert patients_by_name(slides[1:], "^[0-9]+") == {slides[1]: "20171220"}
    assert patients_by_name(["TCGA-CR-7395-01.svs"], "TCGA-(..-....)") == {"TCGA-CR-7395-01.svs": "CR-7395"}


def test_files_without_patient_and_a_broken_pattern_are_refused():
    slides = ["1.svs", *(f"a/{name}.svs" for name in "vwxyz")]
    said = r"finds no patient in 5 file names of 6: v\.svs, w\.svs, x\.svs, and 2 more; make it match them too, tell"
    with pytest.raises(InputError, match=said):
        patients_by_name(slides, "^[0-9]+")
    with pytest.raises(InputError, match="patient is no regular expression: '\\('"):
        compile_pattern("(", option="patient")


def test_patients_come_from_a_label_instead_of_the_name_and_none_is_guessed():
    slides = ["a/1.svs", "b/1.svs", "c.svs"]
    labels = {"patient": {"a/1.svs": "Ada", "b/1.svs": "Bo", "c.svs": "Ada"}}
    assert patients_of(slides, pattern=None, labels=labels) == labels["patient"]
    assert patients_of(slides, pattern="^.", labels={}) == {"a/1.svs": "1", "b/1.svs": "1", "c.svs": "c"}
    said = r"\(--labels\) tell the patients, and so does patient \(--patient\) '\^\.': give that option or the column"
    with pytest.raises(InputError, match=said):
        patients_of(slides, pattern="^.", labels=labels)
    with pytest.raises(InputError, match=r"do not tell the patient of 2 slides: b/1.svs, c.svs; add rows with a `pat"):
        patients_of(slides, pattern=None, labels={"patient": {"a/1.svs": "Ada", "b/1.svs": None, "c.svs": ""}})
