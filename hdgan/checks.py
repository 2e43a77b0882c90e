"""Checks on numbers that come from files and callers, before anything is sized by them."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError

_WINDOW = (8, 4096)  # px; several GiB at the upper end


def check_number(name: str, value: object, least: float, most: float, *, whole: bool = True) -> None:
    """An :class:`InputError` unless `value` is a number, and a whole one where that is asked, in a range.

    Examples
    --------
    >>> check_number("members", "ten", 1, 1000)
    Traceback (most recent call last):
    tiling.errors.InputError: members must be a whole number from 1 to 1000, not 'ten'
    """
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        kind = "whole number" if whole else "number"
        raise InputError(f"{name} must be a {kind} from {least} to {most}, not {reprlib.repr(value)}")


def plain(value: Any) -> Any:
    """A number of NumPy's as Python's, and anything else as it is.

    Examples
    --------
    >>> plain(np.int64(3))
    3
    """
    return value.item() if isinstance(value, np.generic) else value


def check_bool(name: str, value: object) -> None:
    """An :class:`InputError` unless `value` is true or false."""
    if not isinstance(value, bool):
        raise InputError(f"{name} must be true or false, not {reprlib.repr(value)}")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    """An :class:`InputError` unless `value` is one of a few words."""
    if value not in choices:
        raise InputError(f"{name} must be one of {', '.join(choices)}, not {reprlib.repr(value)}")


def check_window_edge(window: object) -> None:
    """An :class:`InputError` unless windows of this edge, px, make sense: smaller ones cost their margins, mostly."""
    check_number("window", window, *_WINDOW)


def whole_numbers(name: str, values: npt.ArrayLike) -> npt.NDArray[np.int64]:
    """An array of int64, whatever kind of whole numbers is given; an :class:`InputError` for other values."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise InputError(f"{name} must be whole numbers, not {array.dtype}")
    return array.astype(np.int64)


def check_texts(name: str, values: object) -> None:
    """An :class:`InputError` unless `values` is a list of strings."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InputError(f"{name} must be a list of texts, not {reprlib.repr(values)}")
