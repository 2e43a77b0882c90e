from __future__ import annotations

import pytest

from tiling.errors import InputError
from tiling.labels import labels_of

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
