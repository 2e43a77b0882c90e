from pathlib import Path

import pytest

from hdgan.labels import KIDNEY, ClassList, LabelClass
from hdgan.study import Study


def test_until_there_are_masks_the_studys_own_classes_count(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, own = Study(tmp_path), ClassList((LabelClass("nucleus", (1, 2, 3)),))
    assert study.classes() == KIDNEY
    (study.annotations / "masks").mkdir(parents=True)
    KIDNEY.save(study.annotations / "classes.json")
    own.save(tmp_path / "classes.json")
    assert study.classes() == own
    (study.annotations / "masks" / "label_0003.png").touch()
    assert study.classes() == KIDNEY
    assert "which the masks were drawn by, and which counts" in capsys.readouterr().err
