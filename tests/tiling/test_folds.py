from __future__ import annotations

import re

import numpy as np
import pytest

from tiling.errors import InputError
from tiling.folds import assign_folds, compile_pattern, patient_of, patients_of


def of_one_stratum(tiles_of):
    return {patient: {"": tiles} for patient, tiles in tiles_of.items()}


def worst_share(tiles_of, fold_of, folds):
    """By how much the tiles of a fold's stratum miss an equal share, at worst, as a fraction of that share."""
    strata = {stratum for tiles in tiles_of.values() for stratum in tiles}
    total = {s: sum(tiles.get(s, 0) for tiles in tiles_of.values()) for s in strata}
    share = {
        (fold, s): sum(tiles.get(s, 0) for p, tiles in tiles_of.items() if fold_of[p] == fold) * folds / total[s]
        for fold in range(folds)
        for s in strata
    }
    return max(abs(value - 1) for value in share.values())


def test_folds_hold_about_equally_many_tiles_and_all_are_used():
    tiles_of = {f"p{i}": 1 + i % 7 for i in range(40)}
    fold_of = assign_folds(of_one_stratum(tiles_of), folds=4)
    sums = [sum(n for p, n in tiles_of.items() if fold_of[p] == fold) for fold in range(4)]
    assert max(sums) - min(sums) <= 1


def test_folds_depend_on_the_seed_and_not_on_the_order_of_patients():
    tiles_of = dict.fromkeys("abcdefgh", 3)
    assert assign_folds(of_one_stratum(tiles_of), folds=3, seed=1) == assign_folds(
        of_one_stratum(dict(reversed(tiles_of.items()))), folds=3, seed=1
    )
    assert len({str(assign_folds(of_one_stratum(tiles_of), folds=3, seed=s)) for s in range(5)}) > 1


def test_a_single_patient_is_in_fold_0_and_few_patients_fill_the_first_folds():
    assert assign_folds(of_one_stratum({"a": 9}), folds=5) == {"a": 0}
    assert sorted(assign_folds(of_one_stratum({"a": 9, "b": 1}), folds=5).values()) == [0, 1]


def test_no_folds_at_all_are_refused():
    with pytest.raises(InputError, match="at least 1 fold, not 0"):
        assign_folds(of_one_stratum({"a": 1}), folds=0)


def test_the_patient_is_the_file_stem_or_what_the_pattern_finds():
    assert patient_of("a/b/case-7.svs") == "case-7"
    assert patient_of("2017/20171220-PASM.jpg", re.compile("^[0-9]+")) == "20171220"
    assert patient_of("2017/TCGA-CR-7395-01.svs", re.compile("TCGA-(..-....)")) == "CR-7395"


def test_a_file_without_patient_and_a_broken_pattern_are_refused():
    with pytest.raises(InputError, match=r"finds no patient in the file name 'control\.svs'"):
        patient_of("a/control.svs", re.compile("^[0-9]+"))
    with pytest.raises(InputError, match="patient is no regular expression: '\\('"):
        compile_pattern("(", option="patient")


@pytest.mark.parametrize("seed", range(5))
def test_strata_are_spread_more_evenly_than_without_them(seed):
    draws = np.random.default_rng(seed)
    stains = ["PAS", "PASM", "Masson", "HE"]
    tiles_of = {
        f"p{i}": {
            str(stain): int(draws.integers(1, 200)) for stain in draws.choice(stains, 2, p=[0.5, 0.3, 0.15, 0.05])
        }
        for i in range(120)
    }
    unstratified = {patient: {"": sum(tiles.values())} for patient, tiles in tiles_of.items()}
    stratified = worst_share(tiles_of, assign_folds(tiles_of, folds=5), 5)
    assert stratified < 0.5 * worst_share(tiles_of, assign_folds(unstratified, folds=5), 5)
    assert worst_share(unstratified, assign_folds(tiles_of, folds=5), 5) < 0.1


def test_the_patients_of_a_rare_stratum_are_all_in_different_folds():
    tiles_of = {f"p{i}": {"common": 50 + i} for i in range(60)} | {f"r{i}": {"rare": 2} for i in range(5)}
    fold_of = assign_folds(tiles_of, folds=5)
    assert {fold_of[f"r{i}"] for i in range(5)} == set(range(5))


def test_patients_come_from_a_label_instead_of_the_name_and_none_is_guessed():
    slides = ["a/1.svs", "b/1.svs", "c.svs"]
    labels = {"patient": {"a/1.svs": "Ada", "b/1.svs": "Bo", "c.svs": "Ada"}}
    assert patients_of(slides, pattern=None, labels=labels) == labels["patient"]
    assert patients_of(slides, pattern="^.", labels={}) == {"a/1.svs": "1", "b/1.svs": "1", "c.svs": "c"}
    with pytest.raises(InputError, match=r"labels tell the patients, and so does patient '\^\.': give one"):
        patients_of(slides, pattern="^.", labels=labels)
    with pytest.raises(InputError, match=r"labels tell no patient of b/1.svs, c.svs; add what is missing"):
        patients_of(slides, pattern=None, labels={"patient": {"a/1.svs": "Ada", "b/1.svs": None, "c.svs": ""}})
