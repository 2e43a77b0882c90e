"""`hdgan info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hdgan.cli.options import JsonOption, QuietOption
from hdgan.study import SETTINGS, Study
from tiling.errors import InputError
from tiling.wording import counted


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
