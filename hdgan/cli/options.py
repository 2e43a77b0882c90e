"""Options that several verbs share, and the defaults that `study.toml` gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from hdgan.cli.memory import is_first_process, origins_of, remembered, taken_back
from hdgan.cli.origins import note_origins
from hdgan.study import Study
from tiling import progress
from tiling.errors import InputError

_NOT_SETTINGS = ("help", "study", "redo", "resume", "quiet", "missing")  # what one call asks for, not what a study is


def _load_settings(context: typer.Context, root: Path) -> Path:
    """Let what was given before, and `study.toml`, be the defaults; the command line overrides them."""
    path = _command_names(context)
    table: Any = Study(root).settings()
    _refuse_unknown_verbs(context, root, table)
    for name in path:
        table = table.get(name, {})
        if not isinstance(table, dict):
            raise InputError(f"{root / 'study.toml'}: [{'.'.join(path)}] must be a table of options")
    names = {o.lstrip("-"): p.name for p in context.command.params for o in p.opts if o.startswith("-")}
    names = {option: name for option, name in names.items() if name not in _NOT_SETTINGS}
    several = {p.name for p in context.command.params if getattr(p, "multiple", False)}
    subtables = getattr(context.command, "commands", {})
    defaults = {}
    for key, value in table.items():
        if key.replace("_", "-") not in names and key not in subtables:
            known = ", ".join(sorted(names))
            raise InputError(f"{root / 'study.toml'}: [{'.'.join(path)}] has no option {key!r}; there are: {known}")
        listed = isinstance(value, list) and all(isinstance(item, str | int | float) for item in value)
        name = names.get(key.replace("_", "-"), key)
        text = ",".join(map(str, value)) if listed else value
        defaults[name] = [text] if name in several and isinstance(text, str) else text
    before = remembered(root, path, context, defaults)
    there = {**defaults, **before}
    for name in taken_back(context):
        there.pop(name, None)
    note_origins(context, {**dict.fromkeys(defaults, root / "study.toml"), **origins_of(before, context)})
    context.default_map = {**(context.default_map or {}), **there}
    return root


def _refuse_unknown_verbs(context: typer.Context, root: Path, tables: Mapping[str, Any]) -> None:
    """A misspelt table would be passed over in silence."""
    verbs = sorted(getattr(context.find_root().command, "commands", {}))
    for name in tables:
        if name not in verbs:
            raise InputError(
                f"{root / 'study.toml'}: options stand below the name of their command, [tile] say; {name!r} is no "
                f"command, there are: {', '.join(verbs)}"
            )


def _command_names(context: typer.Context) -> list[str]:
    """Names of the verb and its subcommand: ["annotate", "pick"]."""
    parent = context.parent
    return [] if parent is None else [*_command_names(cast(typer.Context, parent)), context.info_name or ""]


def _set_quiet(quiet: bool) -> bool:
    """Of several processes that train together the first one speaks."""
    quiet = quiet or not is_first_process()
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
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.", callback=_set_quiet)]
RedoOption = Annotated[bool, typer.Option("--redo", help="Discard what this stage made before.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
SeedOption = Annotated[int, typer.Option(help="Of all random draws.", min=0)]
NoiseOption = Annotated[
    str, typer.Option(help="random (each image draws its own, by its seed) or const (HDGAN: the same for all).")
]
DeviceOption = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
SpaceOption = Annotated[
    str, typer.Option(help="Feature space: random-conv-v1 (no weights), or a file of Inception's weights.")
]
ImagesNowOption = Annotated[
    Path | None,
    typer.Option("--images", help="Where the images of the training are now; default: where it found them."),
]
LabelsNowOption = Annotated[
    Path | None, typer.Option("--labels", help="Where the table of their labels is now; default: where it was.")
]
RootOption = Annotated[Path | None, typer.Option(help="Where the slides are now, if they were moved.")]
DEFAULT_STUDY = Path("study")
DEFAULT_SPACE = "random-conv-v1"


def trainable_size(size: int) -> int:
    """The edge in px nearest below, of tiles that a generator can be trained on: a power of two of at least 8."""
    return max(1 << (size.bit_length() - 1), 8)


def say(message: str, quiet: bool) -> None:
    """Tell what was done, on standard output."""
    if not quiet:
        typer.echo(message)
