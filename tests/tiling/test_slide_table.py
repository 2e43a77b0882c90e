from __future__ import annotations

import unicodedata

import pytest

from tiling.errors import InputError
from tiling.progress import set_quiet
from tiling.slide_table import meant_slides, read_slide_table

SLIDES = ["2017/a-PASM.jpg", "2018/b-PAS.jpg", "2018/c.jpg"]


@pytest.fixture
def table(tmp_path):
    def make(text, encoding="utf-8"):
        path = tmp_path / "cases.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return make


@pytest.mark.parametrize(
    "text",
    [
        'slide,stain\nc,"HE, pale"\n',
        "slide;stain\r\nc;HE, pale\r\n;\r\n",
        "slide\tstain\nc\tHE, pale\n",
        "slide\tstain\rc\tHE, pale\r",
        '\ufeff slide , stain \n c , "HE, pale"\n',
        'sep=;\n"slide";"stain"\n"c";"HE, pale"\n',
        "Slide;stain;;\nc;HE, pale;;\n",
        "stain;slide\nHE, pale;2018\\c.jpg\n",
    ],
)
def test_tables_are_read_as_spreadsheets_write_them(table, text):
    read = read_slide_table(table(text))
    assert read.columns == ("stain",)
    assert read.by_slide(SLIDES) == {"2018/c.jpg": {"stain": "HE, pale"}}


def test_columns_that_mean_something_do_so_with_a_capital_too(table):
    assert read_slide_table(table("SLIDE,Patient,MPP,Stain\n")).columns == ("patient", "mpp", "Stain")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "cases.csv has no column `slide`; its columns are: none"),
        ("name;stain\na;b\n", "has no column `slide`; its columns are: name, stain"),
        ("slide,stain,stain\nc,HE,PAS\n", "has two columns `stain`; rename or remove one"),
        ("slide,stain\nc,HE, pale\n", "line 2 of .*cases.csv has a value in a column without a name: 2 columns are"),
        ("slide,,stain\nc,7,HE\n", "line 2 of .*cases.csv has a value in a column without a name"),
        ('slide,stain\na,PAS\nc,"HE\n', "is no CSV file after its line 2: unexpected end of data"),
    ],
)
def test_a_file_that_is_no_table_of_slides_is_refused(table, text, said):
    with pytest.raises(InputError, match=said):
        read_slide_table(table(text))


def test_a_table_in_another_encoding_is_refused_with_what_to_do(table):
    with pytest.raises(InputError, match=r"is no CSV file in UTF-8: .*; save it as CSV UTF-8"):
        read_slide_table(table("slide,patient\nc,Müller\n", "latin-1"))


def test_rows_of_one_slide_complete_each_other_and_may_not_contradict(table):
    read = read_slide_table(table("slide,stain,age\nc,HE,\n2018/c.jpg,,61\nc.jpg,HE,61\n"))
    assert read.by_slide(SLIDES) == {"2018/c.jpg": {"stain": "HE", "age": "61"}}
    read = read_slide_table(table("slide,stain\na-PASM,\nc,\nc,HE\n2018/c.jpg,PAS\n"))
    said = r"says two things of 2018/c.jpg: stain is 'HE' in line 4 and 'PAS' in line 5; keep one of the rows"
    with pytest.raises(InputError, match=said):
        read.by_slide(SLIDES)


def test_a_name_of_several_slides_is_refused_unless_it_is_the_path_of_one(table):
    read = read_slide_table(table("slide,stain\nc,HE\n"))
    with pytest.raises(InputError, match=r"cases.csv: 'c' means both 2018/c.jpg and old/c.png; call slides by their p"):
        read.by_slide([*SLIDES, "old/c.png"])
    assert meant_slides(["c.png"], ["c.png", "old/c.png"], where="mpp_of") == {"c.png": "c.png"}
    with pytest.raises(InputError, match=r"mpp_of: 'c.png' means both new/c.png and old/c.png"):
        meant_slides(["c.png"], ["new/c.png", "old/c.png"], where="mpp_of")


def test_names_are_the_same_however_their_accents_are_written():
    slide = unicodedata.normalize("NFD", "Müller/é.svs")
    assert meant_slides(["é"], [slide], where="") == {"é": slide}
    assert meant_slides(["./Müller\\é.svs"], [slide], where="") == {"./Müller\\é.svs": slide}


def test_rows_of_no_slide_are_told_without_their_names(table, capsys):
    set_quiet(False)
    read = read_slide_table(table("slide,stain\nSmith,HE\nc,HE\n,PAS\ny,HE\nz,HE\nc,\n"))
    assert list(read.by_slide(SLIDES)) == ["2018/c.jpg"]
    told = capsys.readouterr().err
    assert "cases.csv: 4 rows of no slide here, in lines 2, 4, 5, and 1 more" in told
    assert "Smith" not in told
    read_slide_table(table("slide,stain\nSmith,HE\nc,HE\n")).by_slide(SLIDES)
    assert "cases.csv: 1 row of no slide here, in line 2\n" in capsys.readouterr().err
