import pytest

from tiling.wording import counted


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 annotated samples"), (1, "1 annotated sample"), (2, "2 annotated samples")]
)
def test_a_noun_is_in_the_plural_unless_there_is_one(count, said):
    assert counted(count, "annotated sample") == said


def test_a_plural_that_an_s_does_not_make_is_given():
    assert [counted(count, "entry", "entries") for count in (1, 3)] == ["1 entry", "3 entries"]
