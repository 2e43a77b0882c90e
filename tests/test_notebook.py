"""The notebooks run, on what the demo makes or on what they draw themselves, and are committed without outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
FEATURE_MAPS, AUGMENTERS = NOTEBOOKS / "01_feature_maps.ipynb", NOTEBOOKS / "02_augmenters.ipynb"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert {cell.execution_count for cell in cells} == {None}


def outputs_of(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list:
    """What the cells of a notebook give, of which none writes to a stream or fails."""
    notebook = nbformat.read(path, as_version=4)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))  # no settings of the user's
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert not [output for output in outputs if output.output_type in ("error", "stream")]
    return [output.get("data", {}) for output in outputs]


def test_every_figure_of_feature_maps_is_drawn_on_the_demo(
    demo_study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HDGAN_STUDY", str(demo_study))
    given = outputs_of(FEATURE_MAPS, tmp_path, monkeypatch)
    assert sum("image/png" in data for data in given) == 8


@pytest.mark.slow
def test_the_notebook_of_augmenters_draws_compares_and_chooses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("HDGAN_IMAGES", raising=False)
    given = outputs_of(AUGMENTERS, tmp_path, monkeypatch)
    assert sum("image/png" in data for data in given) == 5
    compared, accounts, student = (data["text/markdown"] for data in given if "text/markdown" in data)
    assert "| geometric + cvae 100 % selected |" in compared
    heading, _, of_round, _ = (line.strip("| ").split(" | ") for line in accounts.splitlines()[2:])
    assert heading == ["class", "drawn", "nearest centroid", "label confidence", "centroid distance", "taken"]
    assert (of_round[0], of_round[-1]) == ("round", "100")
    assert "of the test images right" in student
