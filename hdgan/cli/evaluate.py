"""`hdgan evaluate`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from hdgan.cli.options import DEFAULT_STUDY, JsonOption, QuietOption, StudyOption, say
from hdgan.labels import ClassList
from hdgan.study import Study
from tiling.errors import InputError
from tiling.files import read_json
from tiling.wording import quoted

_ENSEMBLE, _COLOUR = "ensemble, on test images", "nearest colour, on the same"


def evaluate(
    study: StudyOption = DEFAULT_STUDY,
    truth: Annotated[Path | None, typer.Option(help="Folder of true masks (PNG), with --predicted.")] = None,
    predicted: Annotated[Path | None, typer.Option(help="Folder of masks of the same names.")] = None,
    classes: Annotated[Path | None, typer.Option(help="classes.json; default: the study's.")] = None,
    figure: Annotated[
        bool,
        typer.Option(
            help="Draw confusion.png beside the ensemble, or PREDICTED-confusion.png beside that folder; "
            "it takes matplotlib."
        ),
    ] = False,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score the ensemble on its test images, or any folder of masks against true ones.

    Example: hdgan evaluate --study kidney
    """
    from hdgan.state import warn_if_outdated

    place = Study(study)
    if (truth is None) != (predicted is None):
        raise InputError("--truth and --predicted go together: two folders with masks of the same names")
    split: dict[str, int] = {}
    if truth is not None and predicted is not None:
        reports = _compare_folders(truth, predicted, ClassList.load(classes) if classes else place.classes())
        folder = predicted.resolve()
        drawing = folder.with_name(f"{folder.name}-confusion.png")
    else:
        split, reports = _split_sizes(place), _ensemble_reports(place)
        drawing = place.classifiers / "confusion.png"
        warn_if_outdated(place, "fit")
    if figure:
        from hdgan.explore import confusion_figure

        title, report = next(iter(reports.items()))
        confusion_figure(report).savefig(drawing)
        say(f"{drawing}: what pixels of each class are taken for; {title}", quiet or as_json)
    if as_json:
        typer.echo(json.dumps(({"split": split} if split else {}) | {"reports": reports}, indent=2))
    elif not quiet:
        _print_reports(split, reports)


def _compare_folders(truth: Path, predicted: Path, classes: ClassList) -> dict[str, Any]:
    from hdgan.metrics import compare_folders
    from tiling.progress import note

    report = compare_folders(truth, predicted, classes)
    note(f"classes: {', '.join(classes.names)}")  # without a study they are the kidney's, which may surprise
    return {f"{predicted} against {truth}": report.to_dict()}


def _split_sizes(place: Study) -> dict[str, int]:
    """How many images the ensemble was trained, validated and tested on."""
    from hdgan.pixels.fitting import CONFIG

    split = read_json(place.require("fit") / CONFIG)["split"]
    return {part: len(images) for part, images in split.items()}


def _ensemble_reports(place: Study) -> dict[str, Any]:
    from hdgan.pixels.fitting import REPORT

    report = read_json(place.require("fit") / REPORT)
    if report["ensemble"] is None:
        raise InputError(
            "the ensemble was fitted without test images, so there are no scores; with at least 3 annotated images, "
            f"keep some for the test: hdgan fit --study {quoted(place.root)} --redo --split TRAINING/VALIDATION/TEST"
        )
    reports = {_ENSEMBLE: report["ensemble"]}
    if report["nearest_colour"]:
        reports[_COLOUR] = report["nearest_colour"]
    return reports


def _print_reports(split: Mapping[str, int], reports: Mapping[str, Any]) -> None:
    """The tables, and round them what they leave out."""
    from hdgan.cli.tables import print_table
    from hdgan.metrics import footnotes, score_rows, verdict

    if split:
        labelled = sum(reports[_ENSEMBLE]["support"].values())
        typer.echo(
            f"Annotated images: {split['train']} for training, {split['validation']} for validation, "
            f"{split['test']} for the test, with {labelled:,} labelled pixels."
        )
    for title, report in reports.items():
        print_table(title, score_rows(report), words=("class",))
    for line in dict.fromkeys(line for report in reports.values() for line in footnotes(report)):
        typer.echo(line)
    if _COLOUR in reports:
        typer.echo(verdict(reports[_ENSEMBLE], reports[_COLOUR]))
