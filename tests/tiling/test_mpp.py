from __future__ import annotations

import pytest

from tiling.errors import InputError
from tiling.mpp import mpp_by_slide, read_mpp
from tiling.progress import set_quiet

SLIDES = ["2017/a.svs", "2018/b.svs", "2018/c.svs"]


def test_a_number_is_for_slides_that_say_none_and_names_go_before_what_slides_say():
    assert mpp_by_slide(read_mpp(0.5, SLIDES), SLIDES) == dict.fromkeys(SLIDES, (0.5, False))
    assert mpp_by_slide(read_mpp({"b": 0.25}, SLIDES), SLIDES) == {"2018/b.svs": (0.25, True)}
    assert mpp_by_slide(read_mpp(None, SLIDES), SLIDES) == {}


@pytest.mark.parametrize("text", ["slide,mpp\nc,0.5\nb,\nx,0.3\n", "Slide;MPP\nc;0,5\n2018/b.svs;\n"])
def test_a_slide_whose_cell_is_empty_has_none_and_rows_of_other_slides_do_no_harm(tmp_path, text):
    (tmp_path / "mpp.csv").write_text(text)
    assert read_mpp(tmp_path / "mpp.csv", SLIDES) == {"2018/c.svs": 0.5}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("slide,mpp\nc,fine\n", r"mpp of 2018/c.svs in .*mpp.csv is a positive number .*, not fine"),
        ("slide,mpp\nc,-1\n", r"not -1"),
        ("slide,mpp\nc,0.5\n2018/c.svs,0.25\n", r"says two things of 2018/c.svs: mpp is '0.5' in line 2 and '0.25'"),
        ("slide,resolution\nc,0.5\n", "no column `mpp`; its columns are: slide, resolution"),
    ],
)
def test_a_table_that_tells_no_resolutions_is_refused(tmp_path, text, said):
    (tmp_path / "mpp.csv").write_text(text)
    with pytest.raises(InputError, match=said):
        read_mpp(tmp_path / "mpp.csv", SLIDES)


def test_a_table_of_other_slides_is_told_to_fit_none(tmp_path, capsys):
    set_quiet(False)
    (tmp_path / "mpp.csv").write_text("slide,mpp\ny,0.5\nx,0.5\n")
    assert read_mpp(tmp_path / "mpp.csv", SLIDES) == {}
    told = capsys.readouterr().err
    assert "mpp.csv: 2 rows of no slide here, in lines 2, 3; none fits: slides are called by path below" in told


@pytest.mark.parametrize(
    ("mpp_of", "said"),
    [
        ({"x": 0.5, "a": 0.5}, "mpp_of names 'x', which is no slide of 3"),
        ({"a": 0.5, "2017/a.svs": 0.25}, "mpp_of says two things of 2017/a.svs: 0.5 and 0.25"),
        ({"a": float("inf")}, "mpp_of a is a positive number"),
        (0, "mpp_of every slide is a positive number of micrometres per pixel, not 0"),
    ],
)
def test_names_and_numbers_that_mean_nothing_are_refused(mpp_of, said):
    with pytest.raises(InputError, match=said):
        read_mpp(mpp_of, SLIDES)


def test_a_name_of_several_slides_is_refused():
    with pytest.raises(InputError, match=r"mpp_of: 'c' means both 2018/c.svs and old/c.svs"):
        read_mpp({"c": 0.5}, [*SLIDES, "old/c.svs"])
