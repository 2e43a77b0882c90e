import json

import numpy as np
import pytest

from hdgan.labels import KIDNEY, UNLABELLED, ClassList, LabelClass
from tiling.errors import InputError


def test_a_class_is_found_by_its_name_whatever_the_case():
    assert len(KIDNEY) == 5
    assert [c.name for c in KIDNEY] == KIDNEY.names
    assert KIDNEY.index("glomerulus") == KIDNEY.index("Glomerulus") == 2
    with pytest.raises(InputError, match="unknown class 'vein'; this study's classes are: whitespace, "):
        KIDNEY.index("vein")


def test_label_maps_are_shown_in_the_classes_colours_and_what_is_unlabelled_in_black():
    labels = np.array([[0, 4], [UNLABELLED, 2]], np.uint8)
    coloured = KIDNEY.coloured(labels)
    assert (coloured.shape, coloured.dtype) == ((2, 2, 3), np.uint8)
    assert coloured[0, 0].tolist() == list(KIDNEY.classes[0].colour)
    assert coloured[0, 1].tolist() == list(KIDNEY.classes[4].colour)
    assert coloured[1, 0].tolist() == [0, 0, 0]


def test_saved_classes_come_back_in_index_order(tmp_path):
    KIDNEY.save(tmp_path / "classes.json")
    assert ClassList.load(tmp_path / "classes.json") == KIDNEY
    content = json.loads((tmp_path / "classes.json").read_text())
    content["classes"].reverse()
    (tmp_path / "classes.json").write_text(json.dumps(content))
    assert ClassList.load(tmp_path / "classes.json") == KIDNEY


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "has 1 to 254 classes, not 0"),
        (["a", "b", "a"], "class names must differ, and not only in upper and lower case: a, b, a"),
        (["Artery", "vein", "artery"], "class names must differ, .*: Artery, vein, artery"),
        ([str(i) for i in range(255)], "has 1 to 254 classes, not 255"),
    ],
)
def test_impossible_lists_are_refused(names, message):
    with pytest.raises(InputError, match=message):
        ClassList(tuple(LabelClass(name, (0, 0, 0)) for name in names))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r'is not JSON \(.* line 1 column 2 .*\); write it as {"classes": \[{"index": 0, "name": "vessel", '),
        ("[]", r'holds a JSON list, not an object; write it as {"classes": \[{"index": 0, '),
        ("{}", r'has no list "classes"; write it as {"classes": \[{"index": 0, '),
        (
            '{"classes": [{"index": 0, "name": "a"}]}',
            "json: a class has a name .*, not {'index': 0, 'name'",
        ),
        ('{"classes": [null]}', "a class has a name and a colour of three numbers .*, not None"),
        ('{"classes": [{"index": 0, "name": 5, "colour": [0, 0, 0]}]}', "a class has a name and a colour"),
        ('{"classes": [{"index": "one", "name": "a", "colour": [0, 0, 0]}]}', "count from 0 without gaps, not 'one'"),
        ('{"classes": [{"index": null, "name": "a", "colour": [0, 0, 0]}]}', "count from 0 without gaps, not None"),
        ('{"classes": [{"name": "a", "colour": [0, 0, 0]}]}', "count from 0 without gaps, not None"),
        ('{"classes": []}', "json: a study has 1 to 254 classes, not 0"),
        ('{"classes": [{"index": 1, "name": "a", "colour": [0, 0, 0]}]}', "must count from 0 without gaps"),
        ('{"classes": [{"index": 0, "name": "a", "colour": [0, 0, 256]}]}', "three numbers from 0 to 255, as"),
        (
            '{"classes": [{"index": 0, "name": "a", "colour": "red"}]}',
            "from 0 to 255, .* {'colour': 'red'",
        ),
        ('{"classes": 5}', 'has no list "classes"'),
    ],
)
def test_files_that_are_no_class_list_are_refused(tmp_path, content, message):
    (tmp_path / "classes.json").write_text(content)
    with pytest.raises(InputError, match=message):
        ClassList.load(tmp_path / "classes.json")
