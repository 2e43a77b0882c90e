"""Options that several verbs share, and the defaults that `study.toml` gives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from hdgan.study import Study
from tiling import progress
from tiling.errors import InputError


def _load_settings(context: typer.Context, root: Path) -> Path:
    """Let `study.toml` give the defaults of this command's options; the command line overrides them."""
    path = _command_names(context)
    table: Any = Study(root).settings()
    for name in path:
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise InputError(f"{root / 'study.toml'}: [{'.'.join(path)}] must be a table of options")
    names = {option.lstrip("-"): p.name for p in context.command.params for option in p.opts}
    subtables = getattr(context.command, "commands", {})
    defaults = {}
    for key, value in table.items():
        if key.replace("_", "-") not in names and key not in subtables:
            known = ", ".join(sorted(names))
            raise InputError(f"{root / 'study.toml'}: [{'.'.join(path)}] has no option {key!r}; there are: {known}")
        defaults[names.get(key.replace("_", "-"), key)] = value
    context.default_map = {**(context.default_map or {}), **defaults}
    return root


def _command_names(context: typer.Context) -> list[str]:
    """Names of the verb and its subcommand: ["annotate", "pick"]."""
    parent = context.parent
    return [] if parent is None else [*_command_names(cast(typer.Context, parent)), context.info_name or ""]


def _set_quiet(quiet: bool) -> bool:
    progress.set_quiet(quiet)
    return quiet


StudyOption = Annotated[
    Path,
    typer.Option(
        "--study",
        "-s",
        help="The study's folder.",
        envvar="HDGAN_STUDY",
        is_eager=True,
        callback=_load_settings,
        file_okay=False,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars.", callback=_set_quiet)]
RedoOption = Annotated[bool, typer.Option("--redo", help="Discard what this stage made before.")]
SeedOption = Annotated[int, typer.Option(help="Of all random draws.", min=0)]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
DEFAULT_STUDY = Path("study")


def say(message: str, quiet: bool) -> None:
    """Tell what was done, on standard output."""
    if not quiet:
        typer.echo(message)
