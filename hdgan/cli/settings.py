"""Settings of augmenters, as texts on the command line."""

from __future__ import annotations

import types
import typing
from typing import Any

from tiling.errors import InputError

_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
_SWITCH = {"true": True, "false": False}


def parse_ratios(text: str) -> tuple[float, ...]:
    """ "50,100,200"."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--ratios takes whole numbers with commas like 50,100,200, not {text!r}")
    return tuple(int(part) / 100 for part in parts)


def parse_settings(method: str, text: str | None) -> dict[str, Any]:
    """ "steps=2000,width=32" by the types of a method's settings; those it does not have are left to be refused."""
    from hdgan.augmenters.registry import method as class_of

    kinds = typing.get_type_hints(class_of(method).settings)
    found: dict[str, Any] = {}
    for part in (text or "").split(","):
        name, given, value = (word.strip() for word in part.partition("="))
        if part.strip():
            if not (name and given and value):
                raise InputError(f"--set takes settings like steps=2000,width=32, not {part.strip()!r}")
            found[name] = _typed(name, value, kinds.get(name, str))
    return found


def _typed(name: str, value: str, kind: Any) -> Any:
    """A setting's value of a type, or of one or None."""
    if isinstance(kind, types.UnionType):
        kind = next(each for each in typing.get_args(kind) if each is not type(None))
    try:
        return _SWITCH[value.lower()] if kind is bool else kind(value)
    except (ValueError, KeyError) as error:
        raise InputError(f"--set: {name} must be {_KINDS[kind]}, not {value!r}") from error
