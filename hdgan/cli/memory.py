"""The options that a verb was given in a study: they hold until others are given."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand

from hdgan.cli.origins import with_origins
from tiling.errors import InputError
from tiling.files import read_json, write_json

MEMORY = "options.json"
_EITHER = ("mpp", "level", "power")  # ways to say the resolution of tiles: one that is given displaces the others
_NUMBER_OR_FILE = "mpp_of"
_AS_OF = "study.toml"  # beside the options of a verb: what that said then, as text, of those that it has, too
_ANOTHER_SET = "--out"  # a second set has options of its own
_GIVEN, _TAKEN_BACK, _WRITTEN = "hdgan.options.given", "hdgan.options.taken-back", "hdgan.options.written"
_OF_ONE_CALL = frozenset(
    {
        "study",
        "redo",
        "resume",
        "quiet",
        "device",
        "root",
        "out",
        "checkpoint_seconds",
        "scheduler",
        "workers",
        "memory",
        "missing",
        "nearest",
        "space",
        "images_now",
        "labels_now",
        "walk",
        "walk_through",
        "walk_frames",
        "walk_size",
        "figure",
        "as_json",
    }
)


def is_first_process() -> bool:
    """Whether this is the one that remembers and speaks, of several that were started to train together."""
    return int(os.environ.get("WORLD_SIZE", "1")) == 1 or os.environ.get("RANK", "0") == "0"


def taken_back(context: typer.Context) -> Collection[str]:
    """The options, by parameter name, that this call gives as nothing: they have the program's own defaults."""
    names: frozenset[str] = context.meta.get(_TAKEN_BACK, frozenset())
    return names


def remembered(
    root: Path, verb: Sequence[str], context: typer.Context, written: Mapping[str, Any]
) -> Mapping[str, Any]:
    """What this call takes of :func:`last_options`: none of it where it makes another set."""
    context.meta[_WRITTEN] = written
    given = context.meta.get(_GIVEN, ())
    if _ANOTHER_SET in given:
        return {}
    displaced = _EITHER if any(f"--{name}" in given for name in _EITHER) else ()
    options = last_options(root, " ".join(verb), written)
    return {name: value for name, value in options.items() if name not in displaced}


def last_options(root: Path, verb: str, written: Mapping[str, Any]) -> Mapping[str, Any]:
    """What the options of a verb were given as last in the study at `root`, by parameter name.

    Without those that `study.toml` has (`written`), unless it says the same of them as when they were given.
    """
    options = dict(_memory(root).get(verb, {}))
    then = options.pop(_AS_OF, {})
    return {
        name: value for name, value in options.items() if name not in written or then.get(name) == str(written[name])
    }


def origins_of(before: Collection[str], context: typer.Context) -> dict[str, str]:
    """Where remembered options are from, by parameter name, and how to take back those that have a value."""
    options = {parameter.name: parameter for parameter in context.command.params}
    plain = {name for name in before if getattr(options.get(name), "is_flag", True)}
    return {
        name: "an earlier call" + ("" if name in plain else f'; {options[name].opts[0]} "" takes it back')
        for name in before
    }


class RememberingCommand(TyperCommand):
    """A verb whose options, once given, are those of the study; what is refused is not kept."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Note which options are given, for the defaults of the others, and which are given as nothing: `--mpp ""`."""
        given, ctx.meta[_TAKEN_BACK] = self._without_empty(args)
        ctx.meta[_GIVEN] = {word.partition("=")[0] for word in given}
        return super().parse_args(ctx, given)

    def invoke(self, ctx: typer.Context) -> Any:  # type: ignore[override]
        """Run the verb."""
        if not is_first_process():
            return super().invoke(ctx)
        if _ANOTHER_SET in ctx.meta[_GIVEN]:
            return self._told_with_origins(ctx)
        root, verb = Path(ctx.params["study"]), _verb(ctx)
        given = {
            name: _plain(name, value)
            for name, value in ctx.params.items()
            if name not in _OF_ONE_CALL and _is_given_option(self, ctx, name)
        }
        before = _memory(root)
        lasting = ctx.params.keys() - taken_back(ctx)
        kept = {name: value for name, value in before.get(verb, {}).items() if name in lasting}
        kept = {name: value for name, value in kept.items() if not (name in _EITHER and given.keys() & set(_EITHER))}
        written, then = ctx.meta[_WRITTEN], before.get(verb, {}).get(_AS_OF, {})
        as_of = {name: then[name] for name in kept if name in then and name not in given}
        as_of |= {name: str(written[name]) for name in given if name in written}
        after = {**before, verb: {**kept, **given, **({_AS_OF: as_of} if as_of else {})}}
        absent = [place for place in (root, *root.parents) if not place.exists()]
        _keep(root, before, after)  # before the work, which may be killed
        try:
            result = self._told_with_origins(ctx)
        except InputError:
            if root.exists():
                _keep(root, after, before)
            for place in absent:
                with contextlib.suppress(OSError):  # others wrote there, or nobody did
                    place.rmdir()
            raise
        _keep(root, before, after)
        return result

    def _told_with_origins(self, ctx: typer.Context) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise InputError(with_origins(str(error), ctx)) from error

    def _without_empty(self, words: Sequence[str]) -> tuple[list[str], frozenset[str]]:
        """The words but for options that are given as nothing, and the parameter names of these."""
        names = {
            option: parameter.name
            for parameter in self.params
            if parameter.name not in _OF_ONE_CALL and not getattr(parameter, "is_flag", False)
            for option in parameter.opts
            if option.startswith("-")
        }
        left, empty = list[str](), set[str]()
        for word in words:
            if not word and left and left[-1] in names:
                empty.add(names[left.pop()] or "")
            elif word.endswith("=") and word[:-1] in names:
                empty.add(names[word[:-1]] or "")
            else:
                left.append(word)
        return left, frozenset(empty)


def _memory(root: Path) -> dict[str, Any]:
    return read_json(root / MEMORY) if (root / MEMORY).exists() else {}


def _keep(root: Path, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Write what is to be remembered, if it is anything new."""
    if {verb: options for verb, options in after.items() if options} == dict(before):
        return
    with contextlib.suppress(OSError):  # a study that may only be read: what needs writing says so itself
        if any(after.values()):
            write_json(root / MEMORY, {verb: options for verb, options in after.items() if options})
        else:
            (root / MEMORY).unlink(missing_ok=True)


def _verb(ctx: typer.Context) -> str:
    """ "annotate pick": the names below the program's own."""
    return ctx.command_path.partition(" ")[2]


def _is_given_option(command: TyperCommand, ctx: typer.Context, name: str) -> bool:
    options = {parameter.name for parameter in command.params if parameter.param_type_name == "option"}
    source = ctx.get_parameter_source(name)
    return name in options and source is not None and source.name == "COMMANDLINE"


def _plain(name: str, value: Any) -> Any:
    """An option's value as JSON has it; a file as it is called from anywhere."""
    if isinstance(value, Enum):
        return value.value
    if name == _NUMBER_OR_FILE and isinstance(value, str) and not _is_number(value):
        return str(Path(value).absolute())
    return str(value.absolute()) if isinstance(value, Path) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
