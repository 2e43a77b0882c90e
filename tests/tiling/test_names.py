from __future__ import annotations

import json
import traceback
import urllib.parse

import pytest

from tiling import InputError
from tiling.aside import set_aside
from tiling.names import NAMES, PublicNames, real_names
from tiling.slide import open_slide


@pytest.fixture
def folders(tmp_path):
    made = [tmp_path / name for name in ("archive", "here", "there")]
    for folder in made:
        folder.mkdir()
    return made


def test_without_a_key_names_are_themselves_and_only_the_place_is_taken_out(tmp_path):
    names = PublicNames.of(tmp_path, anonymise=False)
    assert (names.slide("a/Ada.svs"), names.patient("Ada")) == ("a/Ada.svs", "Ada")
    assert names.scrub(f"cannot open {tmp_path}/a/Ada.svs: no", "a/Ada.svs", tmp_path) == "cannot open a/Ada.svs: no"
    assert names.told_root(tmp_path) == tmp_path
    names.save(tmp_path, tmp_path)
    assert not (tmp_path / NAMES).exists()


def test_hashes_are_the_same_in_one_folder_and_others_elsewhere(folders):
    archive, here, there = folders
    first = PublicNames.of(here, anonymise=True)
    public = first.slide("ward 7/Ada.svs")
    assert len(public) == 24 + len(".svs")
    assert int(public.removesuffix(".svs"), 16) >= 0
    slides = {first.slide(name) for name in ("Ada.svs", "ward 7/Ada.svs", "ward 7/Ada.tiff", "Ada")}
    patients = {first.patient(name) for name in ("Ada", "ada", "Ada.svs")}
    assert len(slides | patients) == 7
    first.save(here, archive)
    again = PublicNames.of(here, anonymise=True)
    assert again.slide("ward 7/Ada.svs") == public
    assert again.patient("Ada") == first.patient("Ada")
    assert PublicNames.of(there, anonymise=True).slide("ward 7/Ada.svs") != public
    assert first.told_root(archive) is None
    assert "Ada" not in repr(first)


def test_a_suffix_that_no_slide_has_may_be_a_name_and_is_left_out(tmp_path):
    names = PublicNames.of(tmp_path, anonymise=True)
    assert "." not in names.slide("case.Lovelace")
    assert names.slide("case.SVS").endswith(".SVS")


def test_the_file_of_names_is_its_owners_and_leads_back(folders):
    archive, here, _ = folders
    names = PublicNames.of(here, anonymise=True)
    public, patient = names.slide("ward 7/Ädä.svs"), names.patient("Ada")
    names.save(here, archive)
    path = here / NAMES
    assert path.stat().st_mode & 0o777 == 0o600
    content = json.loads(path.read_bytes())
    assert content["warning"].startswith("Never hand this file on")
    assert content["patients"] == {patient: "Ada"}
    root, slides = real_names(here)
    assert root.resolve() == archive.resolve()
    assert slides == {public: "ward 7/Ädä.svs"}
    inode = path.stat().st_ino
    names.save(here, archive)
    assert path.stat().st_ino == inode
    path.chmod(0o644)
    names.save(here, archive)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not list(here.glob(".partial-*"))


def test_names_of_earlier_calls_stay_known(folders):
    archive, here, _ = folders
    names = PublicNames.of(here, anonymise=True)
    before = names.slide("gone.svs")
    names.save(here, archive)
    names = PublicNames.of(here, anonymise=True)
    after = names.slide("new.svs")
    names.save(here, archive)
    assert real_names(here)[1] == {before: "gone.svs", after: "new.svs"}


@pytest.mark.parametrize(
    "name",
    ["ward 7/Ada.svs", "Ada's slide.svs", "Müller/Ädä 🔬.svs", "a/b/12.svs", "7.svs", "Ada.ome.tiff", "A+B (1).svs"],
)
def test_messages_and_tracebacks_of_real_errors_keep_no_name_in_any_form(folders, name):
    archive, here, _ = folders
    path = archive / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"no slide")
    names = PublicNames.of(here, anonymise=True)
    public = names.slide(name)
    try:
        open_slide(path)
    except InputError as error:
        told = names.scrub("".join(traceback.format_exception(error)), name, archive)
    assert public in told
    told = told.replace(public, "")  # which may end like a name by chance
    assert name not in told
    assert path.name not in told
    assert str(archive) not in told
    stem = path.name.partition(".")[0]
    for form in (repr(str(path)), ascii(str(path)), json.dumps(str(path)), urllib.parse.quote(str(path))):
        assert names.scrub(f"see {form}", name, archive).strip("\"'") in (
            f"see {public}",
            f"see '{public}",
            f'see "{public}',
        )
    for form in (f"'{stem}'", f"/{stem}/Data0000.dat", f"{path.parent}/{stem}/Slidedat.ini"):
        scrubbed = names.scrub(f"cannot read {form}", name, archive)
        assert public in scrubbed
        assert stem not in scrubbed.replace(public, "").replace("Data0000", "")


def test_words_and_numbers_that_are_in_a_name_by_chance_stay(tmp_path):
    names = PublicNames.of(tmp_path, anonymise=True)
    public = names.slide("ward 7/Ada.svs")
    text = f"cannot open {tmp_path}/ward 7/Ada.svs: Ada.svs is (Ada), not Adamson; see {tmp_path}, level 7"
    assert names.scrub(text, "ward 7/Ada.svs", tmp_path) == (
        f"cannot open {public}: {public} is ({public}), not Adamson; see ..., level 7"
    )
    text = "cannot read 12 x 12 px at x=1, y=1 of level 1 from 1/12.svs"
    assert names.scrub(text, "1/12.svs", tmp_path) == (
        f"cannot read 12 x 12 px at x=1, y=1 of level 1 from {names.slide('1/12.svs')}"
    )


def test_an_archive_behind_a_link_is_taken_out_by_both_of_its_places(folders):
    archive, here, there = folders
    link = there / "link"
    link.symlink_to(archive)
    for names in (PublicNames.of(here, anonymise=anonymise) for anonymise in (False, True)):
        told = names.scrub(f"{link}/Ada.svs is {archive}/Ada.svs, not {archive}2/Bo.svs", "Ada.svs", link)
        assert told == f"{names.slide('Ada.svs')} is {names.slide('Ada.svs')}, not {archive}2/Bo.svs"


def test_other_places_are_taken_out_too(folders):
    archive, here, there = folders
    names = PublicNames.of(here, anonymise=True)
    public = names.slide("ward/Ada.svs")
    told = names.scrubber(archive, there)(
        f"{there}/ward/Ada.geojson is empty, {archive}/ward/Ada.svs is not", "ward/Ada.svs"
    )
    assert told == f"{public}.geojson is empty, {public} is not"
    assert names.scrub(f"file://{archive}/ward/Ada.svs", "ward/Ada.svs", archive) == f"file://{public}"


def test_a_folder_that_was_handed_on_without_its_names_says_so(tmp_path):
    said = r"is anonymised, and names.json, .* is not there: its tiles can be read where it was made, or if they were"
    with pytest.raises(InputError, match=said):
        real_names(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"key": "abc"}, "has a key that is none: restore it"),
        ({"patients": None}, "names.json lacks patients: restore it"),
    ],
)
def test_a_file_of_names_that_is_damaged_is_refused(folders, change, said):
    archive, here, _ = folders
    PublicNames.of(here, anonymise=True).save(here, archive)
    (here / NAMES).write_text(json.dumps(json.loads((here / NAMES).read_text()) | change))
    with pytest.raises(InputError, match=said):
        PublicNames.of(here, anonymise=True)
    (here / NAMES).write_text("{")
    with pytest.raises(InputError, match=r"names.json is not JSON \(.*\); restore it; without it nobody knows the na"):
        PublicNames.of(here, anonymise=True)


def test_two_patients_never_become_one(folders):
    archive, here, _ = folders
    names = PublicNames.of(here, anonymise=True)
    names.patients[names.patient("Ada")] = "Bo"
    names.save(here, archive)
    with pytest.raises(InputError, match=r"'Bo' and 'Ada' have the same hash in names.json: delete it"):
        PublicNames.of(here, anonymise=True).patient("Ada")


def test_a_redo_that_was_killed_before_it_saved_names_keeps_the_key(folders):
    archive, here, _ = folders
    names = PublicNames.of(here, anonymise=True)
    public = names.slide("Ada.svs")
    names.save(here, archive)
    (here / "stage.json").touch()
    set_aside(here, "stage.json")
    again = PublicNames.of(here, anonymise=True)
    assert again.slides == {public: "Ada.svs"}
    assert again.slide("Ada.svs") == public
    again.save(here, archive)
    assert real_names(here)[1] == {public: "Ada.svs"}


def test_a_key_that_another_process_made_meanwhile_is_not_lost(folders):
    archive, here, _ = folders
    first, second = (PublicNames.of(here, anonymise=True) for _ in range(2))
    first.save(here, archive)
    with pytest.raises(InputError, match="was replaced while this process ran; run the same command again"):
        second.save(here, archive)
