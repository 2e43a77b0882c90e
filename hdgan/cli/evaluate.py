"""`hdgan evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hdgan.cli.options import DEFAULT_STUDY, JsonOption, QuietOption, StudyOption
from hdgan.labels import ClassList
from hdgan.study import Study
from tiling.errors import InputError


def evaluate(
    study: StudyOption = DEFAULT_STUDY,
    truth: Annotated[Path | None, typer.Option(help="Folder of true masks (PNG), with --predicted.")] = None,
    predicted: Annotated[Path | None, typer.Option(help="Folder of masks of the same names.")] = None,
    classes: Annotated[Path | None, typer.Option(help="classes.json; default: the study's.")] = None,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score the ensemble on its test images, or any folder of masks against true ones.

    Example: hdgan evaluate --study kidney
    """
    place = Study(study)
    if (truth is None) != (predicted is None):
        raise InputError("--truth and --predicted go together: two folders with masks of the same names")
    if truth is not None and predicted is not None:
        reports = _compare_folders(truth, predicted, ClassList.load(classes) if classes else place.classes())
    else:
        reports = _ensemble_reports(place)
    if as_json:
        typer.echo(json.dumps(reports, indent=2))
    elif not quiet:
        for title, report in reports.items():
            _print_report(title, report)


def _compare_folders(truth: Path, predicted: Path, classes: ClassList) -> dict[str, Any]:
    from hdgan.metrics import compare_folders
    from tiling.progress import note

    report = compare_folders(truth, predicted, classes)
    note(f"classes: {', '.join(classes.names)}")  # without a study they are the kidney's, which may surprise
    return {f"{predicted} against {truth}": report.to_dict()}


def _ensemble_reports(place: Study) -> dict[str, Any]:
    from tiling.files import read_json

    report = read_json(place.require("fit") / "report.json")
    if report["ensemble"] is None:
        raise InputError("the ensemble was fitted without test images; fit again with --split train/validation/test")
    reports = {"ensemble, on test images": report["ensemble"]}
    if report["nearest_colour"]:
        reports["nearest colour, on the same"] = report["nearest_colour"]
    return reports


def _print_report(title: str, report: Mapping[str, Any]) -> None:
    from hdgan.metrics import score_rows

    table = Table(title=title)
    rows = score_rows(report)
    for heading in rows[0]:
        table.add_column(heading, justify="left" if heading == "class" else "right")
    for row in rows:
        table.add_row(*row.values())
    Console().print(table)
