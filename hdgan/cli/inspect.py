"""`hdgan info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hdgan.cli.options import DEFAULT_STUDY, JsonOption, QuietOption
from hdgan.study import Study
from tiling.errors import InputError

_LINES = 20  # of things that are told one by one
_ROOM = 40  # columns, at least, beside the names


def info(
    path: Annotated[
        Path,
        typer.Argument(
            help="A slide, a folder of slides, a study, its tiles, or a folder of pairs, or of augment.",
            envvar="HDGAN_STUDY",
        ),
    ] = DEFAULT_STUDY,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell what a slide or a folder of slides is, and what of it would fail; or how far a study is.

    Example: hdgan info archive/
    """
    if not path.exists():
        raise InputError(f"no such slide or study: {path}")
    facts = _facts(path)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    elif not quiet:
        table = Table(show_header=False, box=None)
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for name, value in facts.items():
            table.add_row(name, Text(_shown(value)))  # names of slides may have brackets, which would be markup
        console = Console()
        console.width = max(console.width, max(map(len, facts)) + _ROOM)
        with console.capture() as drawn:
            console.print(table)
        typer.echo("\n".join(line.rstrip() for line in drawn.get().splitlines()))  # a terminal may be narrower


def _facts(path: Path) -> dict[str, Any]:
    from hdgan.state import augmenting_state, holds_pairs, is_augmenting, is_study, marks_of, pairs_state, study_state
    from tiling.backends import SUFFIXES
    from tiling.discovery import slides_in
    from tiling.info import describe, describe_archive, describe_tiles
    from tiling.ngff import is_zarr
    from tiling.stage import RECORD

    if not path.is_dir() or is_zarr(path):
        return describe(path)
    if (path / RECORD).exists() and holds_pairs(path):
        return pairs_state(path)
    if (path / RECORD).exists() and is_augmenting(path):
        return augmenting_state(path)
    if (path / RECORD).exists():
        above = Study(path.parent)
        told = study_state(above)["tile"] if above.tiles.resolve() == path.resolve() else describe_tiles(path)
        return {"tile": told}
    study = Study(path)
    if is_study(study):
        return study_state(study)
    if not any(slides_in(path)):
        raise InputError(
            f"{path} holds neither a study (none of {', '.join(marks_of(study))}) nor slides (none of "
            f"{' '.join(sorted(SUFFIXES))}); name a slide, a folder of slides or a study"
        )
    return describe_archive(path)


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "status" in value:
        status = f"{value['status']}, but {value['outdated']}" if "outdated" in value else value["status"]
        rest = {key: item for key, item in value.items() if key not in ("status", "outdated")}
        return f"{status}: {_shown(rest)}" if rest else str(status)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        more = [f"and {len(value) - _LINES} more"] * (len(value) > _LINES)
        return "\n".join([*value[:_LINES], *more])
    if isinstance(value, list):
        return "none" if not value else "; ".join(_shown(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "unknown" if value is None else str(value)
