"""Where the value of an option comes from that nobody typed, for messages about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import typer

_ORIGINS = "hdgan.options.origins"


def note_origins(context: typer.Context, origins: Mapping[str, str | Path]) -> None:
    """Note which options, by parameter name, have a default of whose."""
    context.meta[_ORIGINS] = dict(origins)


def with_origins(message: str, context: typer.Context | None, names: Iterable[str] | None = None) -> str:
    """A message about a value of these options, or of those that it names, with where they are from if not typed."""
    if context is None:
        return message
    origins: Mapping[str, str | Path] = context.meta.get(_ORIGINS, {})
    untyped = [name for name in origins if _source(context, name) == "DEFAULT_MAP"]
    named = [name for name in untyped if (name in names if names is not None else _is_named(name, message, context))]
    return message + "".join(f" [{name.replace('_', '-')} is as in {origins[name]}]" for name in named)


def _source(context: typer.Context, name: str) -> str | None:
    source = context.get_parameter_source(name)
    return None if source is None else source.name


def _is_named(name: str, message: str, context: typer.Context) -> bool:
    """Whether a message is about an option: it names it as such, begins with its name, or names its file."""
    value = str(context.params.get(name))
    is_file = Path(value).is_absolute() and value in message
    return is_file or f"--{name.replace('_', '-')}" in message or re.match(rf"{name}\b", message) is not None
