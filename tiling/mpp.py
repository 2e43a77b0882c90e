"""The resolution of slides that do not say it, or say it wrongly, as the user knows it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tiling.errors import InputError
from tiling.slide_table import meant_slides, read_slide_table

MPP = "mpp"  # the column that holds it
MppOf = float | Mapping[str, float] | str | os.PathLike[str]


def read_mpp(mpp_of: MppOf | None, slides: Sequence[str]) -> float | dict[str, float] | None:
    """What :func:`tiling.tile_archive` was given as `mpp_of`, with numbers by slide in place of a table or of names.

    A slide whose cell of the table is empty has none. Rows of no slide are told in a note.

    Raises
    ------
    InputError
        If the table cannot be read, has no column `mpp` or contradicts itself; if a mapping names a slide that there is
        not; if a name means several slides; or if a value is no positive number.
    """
    if isinstance(mpp_of, str | os.PathLike):
        return _from_table(Path(mpp_of), slides)
    if not isinstance(mpp_of, Mapping):
        return None if mpp_of is None else _number(mpp_of, "mpp_of every slide")
    slide_of = meant_slides(mpp_of, slides, where="mpp_of")
    if strange := sorted(name for name in mpp_of if name not in slide_of):
        raise InputError(f"mpp_of names {strange[0]!r}, which is no slide of {len(slides)}")
    by_slide: dict[str, float] = {}
    for name, slide in slide_of.items():
        number = _number(mpp_of[name], f"mpp_of {name}")
        if by_slide.setdefault(slide, number) != number:
            raise InputError(f"mpp_of says two things of {slide}: {by_slide[slide]:g} and {number:g}; keep one of them")
    return by_slide


def mpp_by_slide(mpp_of: float | Mapping[str, float] | None, slides: Sequence[str]) -> dict[str, tuple[float, bool]]:
    """For every slide of which the user knows it: micrometres per pixel, and whether it goes before the slide's own.

    `mpp_of` is what :func:`read_mpp` gives.
    """
    if isinstance(mpp_of, Mapping):
        return {slide: (value, True) for slide, value in mpp_of.items()}
    return {} if mpp_of is None else dict.fromkeys(slides, (mpp_of, False))


def _from_table(path: Path, slides: Sequence[str]) -> dict[str, float]:
    table = read_slide_table(path)
    if MPP not in table.columns:
        raise InputError(f"{path} has no column `mpp`; its columns are: {', '.join(['slide', *table.columns])}")
    rows = table.by_slide(slides)
    return {slide: _number(row[MPP], f"mpp of {slide} in {path}") for slide, row in rows.items() if MPP in row}


def _number(value: float | str, what: str) -> float:
    """A number, with a point or with the decimal comma that spreadsheets write in many countries."""
    try:
        number = float(value.replace(",", ".") if isinstance(value, str) else value)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(f"{what} is a positive number of micrometres per pixel, not {value}")
    return number
