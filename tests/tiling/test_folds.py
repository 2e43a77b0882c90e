from __future__ import annotations

import re

import pytest

from tiling.errors import InputError
from tiling.folds import assign_folds, compile_pattern, patient_of


def test_folds_hold_about_equally_many_tiles_and_all_are_used():
    tiles_of = {f"p{i}": 1 + i % 7 for i in range(40)}
    fold_of = assign_folds(tiles_of, folds=4)
    sums = [sum(n for p, n in tiles_of.items() if fold_of[p] == fold) for fold in range(4)]
    assert max(sums) - min(sums) <= 1


def test_folds_depend_on_the_seed_and_not_on_the_order_of_patients():
    tiles_of = dict.fromkeys("abcdefgh", 3)
    assert assign_folds(tiles_of, folds=3, seed=1) == assign_folds(dict(reversed(tiles_of.items())), folds=3, seed=1)
    assert len({str(assign_folds(tiles_of, folds=3, seed=s)) for s in range(5)}) > 1


def test_a_single_patient_is_in_fold_0_and_few_patients_fill_the_first_folds():
    assert assign_folds({"a": 9}, folds=5) == {"a": 0}
    assert sorted(assign_folds({"a": 9, "b": 1}, folds=5).values()) == [0, 1]


def test_no_folds_at_all_are_refused():
    with pytest.raises(InputError, match="at least 1 fold, not 0"):
        assign_folds({"a": 1}, folds=0)


def test_the_patient_is_the_file_stem_or_what_the_pattern_finds():
    assert patient_of("a/b/case-7.svs") == "case-7"
    assert patient_of("2017/20171220-PASM.jpg", re.compile("^[0-9]+")) == "20171220"
    assert patient_of("2017/TCGA-CR-7395-01.svs", re.compile("TCGA-(..-....)")) == "CR-7395"


def test_a_file_without_patient_and_a_broken_pattern_are_refused():
    with pytest.raises(InputError, match=r"finds no patient in the file name 'control\.svs'"):
        patient_of("a/control.svs", re.compile("^[0-9]+"))
    with pytest.raises(InputError, match="patient is no regular expression: '\\('"):
        compile_pattern("(", option="patient")
