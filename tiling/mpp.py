"""The resolution of slides that do not say it, or say it wrongly, as the user knows it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiling.errors import InputError
from tiling.slide_table import called, names_of, read_slide_table

MppOf = float | Mapping[str, float] | str | os.PathLike[str]


def read_mpp(mpp_of: MppOf | None) -> float | dict[str, float] | None:
    """What :func:`tiling.tile_archive` was given as `mpp_of`, with numbers in place of a table.

    Raises
    ------
    InputError
        If the table cannot be read or has no column `mpp`, or if a value is no positive number.
    """
    if isinstance(mpp_of, str | os.PathLike):
        columns, rows = read_slide_table(Path(mpp_of))
        if "mpp" not in columns:
            raise InputError(f"{mpp_of} has no column `mpp`; its columns are: slide, {', '.join(columns)}")
        return {name: _number(row["mpp"], f"mpp of {name} in {mpp_of}") for name, row in rows.items() if row["mpp"]}
    if isinstance(mpp_of, Mapping):
        return {name: _number(value, f"mpp_of {name}") for name, value in mpp_of.items()}
    return None if mpp_of is None else _number(mpp_of, "mpp_of every slide")


def mpp_by_slide(mpp_of: float | Mapping[str, float] | None, slides: Sequence[str]) -> dict[str, tuple[float, bool]]:
    """For every slide of which the user knows it: micrometres per pixel, and whether it goes before the slide's own.

    Raises
    ------
    InputError
        If a slide is named that there is not, or a name means several.
    """
    if not isinstance(mpp_of, Mapping):
        return {} if mpp_of is None else dict.fromkeys(slides, (mpp_of, False))
    if strange := sorted(set(mpp_of) - {name for slide in slides for name in names_of(slide)}):
        raise InputError(f"mpp_of names {strange[0]!r}, which is no slide of {len(slides)}")
    return {slide: (mpp_of[name], True) for slide, name in called(slides, mpp_of, where="mpp_of").items()}


def _number(value: float | str, what: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(f"{what} is a positive number of micrometres per pixel, not {value}")
    return number
