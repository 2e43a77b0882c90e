from __future__ import annotations

import pytest

from tiling.errors import InputError
from tiling.labels import MOST_VALUES, labels_of, strata_of

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


def test_a_column_of_patients_is_a_label_of_that_name(tmp_path):
    (tmp_path / "cases.csv").write_text("slide;Patient\na-PASM;7\nb-PAS;8\n")
    found = labels_of(SLIDES, tmp_path / "cases.csv")
    assert found["patient"] == dict(zip(SLIDES, ["7", "8", None], strict=True))


def test_strata_are_the_values_of_labels_with_few_of_them_or_of_those_asked_for():
    labels = {
        "patient": dict(zip(SLIDES, "abc", strict=True)),
        "stain": dict(zip(SLIDES, ["PASM", "PAS", None], strict=True)),
        "year": dict(zip(SLIDES, ["2017", "2018", "2018"], strict=True)),
        "hospital": dict.fromkeys(SLIDES, "only one"),
    }
    assert list(strata_of(labels, SLIDES, None).values()) == [("PASM", "2017"), ("PAS", "2018"), (None, "2018")]
    assert list(strata_of(labels, SLIDES, ["hospital"]).values()) == [("only one",)] * 3
    assert set(strata_of(labels, SLIDES, []).values()) == {()}
    assert set(strata_of({}, SLIDES, None).values()) == {()}
    with pytest.raises(InputError, match="no label 'age' to stratify by; there are: stain, year, hospital"):
        strata_of(labels, SLIDES, ["age"])
    with pytest.raises(InputError, match="no label 'patient' to stratify by; there are: none"):
        strata_of({"patient": labels["patient"]}, SLIDES, ["patient"])


@pytest.mark.parametrize(("values", "used"), [(MOST_VALUES, True), (MOST_VALUES + 1, False)])
def test_a_label_with_many_values_is_stratified_by_only_if_asked_for(values, used):
    slides = [str(i) for i in range(values)]
    labels = {"day": {slide: slide for slide in slides}}
    assert (strata_of(labels, slides, None)["3"] == ("3",)) == used
    assert strata_of(labels, slides, ["day"])["3"] == ("3",)
