"""`hdgan info`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from hdgan.cli.options import DEFAULT_STUDY, JsonOption, QuietOption
from hdgan.study import Study
from tiling.errors import InputError


def info(
    path: Annotated[Path, typer.Argument(help="A slide, or a study's folder.", envvar="HDGAN_STUDY")] = DEFAULT_STUDY,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell what a slide is, or how far a study is.

    Example: hdgan info biopsy.svs
    """
    from hdgan.state import study_state
    from tiling.info import describe
    from tiling.ngff import is_zarr

    if not path.exists():
        raise InputError(f"no such slide or study: {path}")
    facts = study_state(Study(path)) if path.is_dir() and not is_zarr(path) else describe(path)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    elif not quiet:
        table = Table(show_header=False, box=None)
        for name, value in facts.items():
            table.add_row(name, _shown(value))
        Console().print(table)


def _shown(value: Any) -> str:
    if isinstance(value, dict) and "status" in value:
        status = f"{value['status']}, but {value['outdated']}" if "outdated" in value else value["status"]
        rest = {key: item for key, item in value.items() if key not in ("status", "outdated")}
        return f"{status}: {_shown(rest)}" if rest else str(status)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(_shown(item) for item in value)
    if isinstance(value, float):
        return f"{value:.4g}"
    return "unknown" if value is None else str(value)
