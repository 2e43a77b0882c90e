"""Named settings of the methods: "default", and "quick", for a trial without a GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

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
