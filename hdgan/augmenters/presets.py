"""Named settings of the methods: "default", and "quick", for a trial without a GPU; what settings there are."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from hdgan.augmenters.classifier import ClassifierConfig
from hdgan.augmenters.registry import method
from hdgan.checks import check_choice

PRESETS = ("default", "quick")

_QUICK: Mapping[str, Any] = {"steps": 200, "batch": 64, "width": 32}
_QUICK_OF: Mapping[str, Mapping[str, Any]] = {
    "stylegan2": {"preset": "tiny", "kimg": 2, "batch": 8},
    "gmcl": {
        "steps": 150,
        "batch": 64,
        "inner_steps": 2,
        "inner_batch": 8,
        "rate": 0.1,
        "outer_rate": 0.005,
        "student_width": 16,
        "balanced": True,
    },
}


def preset(name: str, of: str) -> dict[str, Any]:
    """Settings of a method that are to be others than its defaults.

    Parameters
    ----------
    name
        Of :data:`PRESETS`.
    of
        The method.

    Raises
    ------
    InputError
        For another preset, or another method.

    Examples
    --------
    >>> preset("quick", "dcgan")
    {'steps': 200, 'batch': 64, 'width': 32}
    """
    check_choice("preset", name, PRESETS)
    known = [field.name for field in fields(method(of).settings)]
    if name == "default":
        return {}
    return {key: value for key, value in {**_QUICK, **_QUICK_OF.get(of, {})}.items() if key in known}


def classifier_preset(name: str) -> ClassifierConfig:
    """How a classifier of images is trained, by a name of :data:`PRESETS`."""
    check_choice("preset", name, PRESETS)
    return ClassifierConfig(**_QUICK) if name == "quick" else ClassifierConfig()


def changed_settings(of: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a method, as the record of a fit tells them, that are others than its defaults."""
    usual = asdict(method(of).settings())
    if "parts" in usual:
        usual["parts"] = 1  # by one process
    return {name: record[name] for name, value in usual.items() if record.get(name, value) != value}


@dataclass(frozen=True)
class Settings:
    """Settings of a method that are explained together.

    Attributes
    ----------
    names
        As `fit --set` takes them.
    defaults, quick
        Their values by the presets.
    meaning
        In words, from the docstring of the method's settings.
    """

    names: Sequence[str]
    defaults: Sequence[Any]
    quick: Sequence[Any]
    meaning: str


def settings_of(of: str) -> list[Settings]:
    """All settings of a method."""
    usual, quick = asdict(method(of).settings()), preset("quick", of)
    return [
        Settings(names, [usual[name] for name in names], [quick.get(name, usual[name]) for name in names], meaning)
        for names, meaning in _meanings(method(of).settings)
    ]


def _meanings(settings: type) -> Iterator[tuple[list[str], str]]:
    """Names and meanings below "Attributes" in the docstrings of a class and those that it is derived from."""
    for each in reversed(settings.__mro__):
        _, _, told = inspect.cleandoc(each.__doc__ or "").partition("Attributes\n----------\n")
        for names, meaning in re.findall(r"^(\S.*)\n((?: .*(?:\n|\Z))+)", told, re.MULTILINE):
            yield names.split(", "), re.sub(r":\w+:(`[^`]*`)", r"\1", " ".join(meaning.split()))
