from __future__ import annotations

import pytest

from tiling import InputError
from tiling.files import read_json
from tiling.names import NAMES, PublicNames, real_names


def test_without_a_key_names_are_themselves_and_only_the_place_is_taken_out(tmp_path):
    names = PublicNames.of(tmp_path, anonymise=False)
    assert (names.slide("a/Ada.svs"), names.patient("Ada")) == ("a/Ada.svs", "Ada")
    assert names.scrub(f"cannot open {tmp_path}/a/Ada.svs: no", "a/Ada.svs", tmp_path) == "cannot open a/Ada.svs: no"
    names.save(tmp_path, tmp_path)
    assert not (tmp_path / NAMES).exists()


def test_hashes_are_the_same_in_one_folder_and_others_elsewhere(tmp_path):
    archive, here, there = tmp_path / "archive", tmp_path / "here", tmp_path / "there"
    for folder in (archive, here, there):
        folder.mkdir()
    first = PublicNames.of(here, anonymise=True)
    public = first.slide("ward 7/Ada.svs")
    assert public.endswith(".svs")
    assert "/" not in public
    assert len({public, first.slide("ward 7/Bo.svs"), first.patient("Ada"), first.patient("Bo")}) == 4
    first.save(here, archive)
    assert (here / NAMES).stat().st_mode & 0o777 == 0o600
    assert PublicNames.of(here, anonymise=True).slide("ward 7/Ada.svs") == public
    assert PublicNames.of(there, anonymise=True).slide("ward 7/Ada.svs") != public
    root, slides = real_names(here)
    assert root.resolve() == archive.resolve()
    assert slides[public] == "ward 7/Ada.svs"
    assert "root" in read_json(here / NAMES)


def test_messages_keep_no_name_in_any_form(tmp_path):
    names = PublicNames.of(tmp_path, anonymise=True)
    text = f"cannot open {tmp_path}/ward 7/Ada.svs: Ada.svs is (Ada), not Adamson; see {tmp_path}"
    told = names.scrub(text, "ward 7/Ada.svs", tmp_path)
    public = names.slide("ward 7/Ada.svs")
    assert told == f"cannot open {public}: {public} is ({public}), not Adamson; see ..."


def test_a_folder_that_was_handed_on_without_its_names_says_so(tmp_path):
    with pytest.raises(
        InputError, match=r"is anonymised, and names.json, .* is not there: its tiles can be read where"
    ):
        real_names(tmp_path)
