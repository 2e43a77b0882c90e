"""`hdgan evaluate` and `hdgan info`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hdgan.cli.options import DEFAULT_STUDY, QuietOption, StudyOption
from hdgan.labels import ClassList
from hdgan.study import SETTINGS, Study
from tiling.errors import InputError
from tiling.wording import counted

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


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


def info(
    path: Annotated[Path, typer.Argument(help="A slide, or a study's folder.")],
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell what a slide is, or how far a study is.

    Example: hdgan info biopsy.svs
    """
    facts = _study_facts(Study(path)) if path.is_dir() else _slide_facts(path)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    elif not quiet:
        table = Table(show_header=False, box=None)
        for name, value in facts.items():
            table.add_row(name, _shown(value))
        Console().print(table)


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


def _slide_facts(path: Path) -> dict[str, Any]:
    from tiling.info import describe

    return describe(path)


def _study_facts(place: Study) -> dict[str, Any]:
    from hdgan.annotations import stored_masks
    from tiling.stage import RECORD, read_record

    marks = [place.root / SETTINGS, place.annotations / "masks", *(at / RECORD for at in place.stages().values())]
    if not any(mark.exists() for mark in marks):
        raise InputError(
            f"{place.root} is no study: it has none of {', '.join(at.name for at in place.stages().values())}"
        )
    facts: dict[str, Any] = {}
    for command, folder in place.stages().items():
        if command == "annotate":
            masks = len(stored_masks(folder))
            facts[command] = counted(masks, "mask") if masks else "not yet"
        elif (folder / RECORD).exists():
            record = read_record(folder)
            facts[command] = {"status": record["status"], **record.get("summary", {})}
        else:
            facts[command] = "not yet"
    return facts


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(_shown(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "unknown" if value is None else str(value)
