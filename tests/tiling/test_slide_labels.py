from __future__ import annotations

import pytest

from tiling.errors import InputError
from tiling.labels import labels_of, strata_of
from tiling.mpp import mpp_by_slide, read_mpp

SLIDES = ["2017/a-PASM.jpg", "2018/b-PAS.jpg", "2018/c.jpg"]


def test_labels_are_found_in_names_and_missing_ones_are_none():
    found = labels_of(SLIDES, {"stain": "-(PASM|PAS)", "year": "^[0-9]{4}"})
    assert found["stain"] == dict(zip(SLIDES, ["PASM", "PAS", None], strict=True))
    assert found["year"][SLIDES[0]] == "2017"


def test_labels_come_from_a_table_by_path_file_name_or_stem(tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("slide,diagnosis,stain\n2017/a-PASM.jpg,IgA,PASM\nb-PAS.jpg,lupus,\nc,minimal change,HE\nz,x,y\n")
    found = labels_of(SLIDES, table)
    assert list(found["diagnosis"].values()) == ["IgA", "lupus", "minimal change"]
    assert found["stain"]["2018/b-PAS.jpg"] is None


def test_labels_that_help_nobody_are_refused(tmp_path):
    with pytest.raises(InputError, match="no slide has the label 'stain'"):
        labels_of(SLIDES, {"stain": "Masson"})
    with pytest.raises(InputError, match="cannot be called 'fold'"):
        labels_of(SLIDES, {"fold": "."}, reserved=["fold"])
    with pytest.raises(InputError, match=r"cannot read .*absent.csv: No such file"):
        labels_of(SLIDES, tmp_path / "absent.csv")
    (tmp_path / "bad.csv").write_text("name,stain\na,b\n")
    with pytest.raises(InputError, match="no column `slide`"):
        labels_of(SLIDES, tmp_path / "bad.csv")


@pytest.mark.parametrize(
    "text", ["slide;stain\nc;HE, pale\n", "slide\tstain\nc\tHE, pale\n", '\ufeff slide , stain \n c , "HE, pale"\n']
)
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, text):
    table = tmp_path / "cases.csv"
    table.write_text(text, encoding="utf-8")
    assert labels_of(SLIDES, table)["stain"]["2018/c.jpg"] == "HE, pale"


def test_a_table_that_contradicts_itself_or_names_two_slides_at_once_is_refused(tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("slide,stain\nc,HE\nc,HE\n")
    assert labels_of(SLIDES, table)["stain"]["2018/c.jpg"] == "HE"
    table.write_text("slide,stain\nc,HE\nc,PAS\n")
    with pytest.raises(InputError, match=r"cases.csv says two things of c: .*HE.* and .*PAS.*; keep one of the rows"):
        labels_of(SLIDES, table)
    table.write_text("slide,stain\nc,HE\n")
    with pytest.raises(InputError, match=r"cases.csv: 'c' means both 2018/c.jpg and old/c.png; name slides by their"):
        labels_of([*SLIDES, "old/c.png"], table)
    with pytest.raises(InputError, match="mpp_of: 'c' means both"):
        mpp_by_slide({"c": 0.5}, [*SLIDES, "old/c.png"])


def test_slides_of_a_table_without_a_resolution_have_none(tmp_path):
    table = tmp_path / "mpp.csv"
    table.write_text("slide,mpp\nc,0.5\nb-PAS,\n")
    assert read_mpp(table) == {"c": 0.5}


def test_strata_are_the_values_of_labels_with_few_of_them_or_of_those_asked_for():
    labels = {
        "patient": dict(zip(SLIDES, "abc", strict=True)),
        "stain": dict(zip(SLIDES, ["PASM", "PAS", None], strict=True)),
        "year": dict(zip(SLIDES, ["2017", "2018", "2018"], strict=True)),
    }
    assert list(strata_of(labels, SLIDES, None).values()) == ["PASM / 2017", "PAS / 2018", "unknown / 2018"]
    assert list(strata_of(labels, SLIDES, ["year"]).values()) == ["2017", "2018", "2018"]
    assert set(strata_of(labels, SLIDES, []).values()) == {""}
    with pytest.raises(InputError, match="there is no label 'age' to stratify by; there are: stain, year"):
        strata_of(labels, SLIDES, ["age"])
    many = {"day": {str(day): str(day) for day in range(31)}}
    assert set(strata_of(many, list(many["day"]), None).values()) == {""}
