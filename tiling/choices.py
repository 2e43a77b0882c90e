"""Settings that are one of a few words."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from tiling.errors import InputError

C = TypeVar("C", bound=StrEnum)


class Icc(StrEnum):
    """What is done with the colour profile (ICC.1:2010) that a scanner puts into its files."""

    NONE = "none"
    """Pixels are read as they are."""
    SRGB = "srgb"
    """They are converted to sRGB; a slide without a profile is taken to be sRGB already."""


class Corrupt(StrEnum):
    """What becomes of a tile some of whose pixels cannot be decoded."""

    MASK = "mask"
    """It is kept; those pixels have the background's colour, and :meth:`tiling.TileSet.valid` tells them apart."""
    DROP = "drop"
    """It is left out."""


class Materialise(StrEnum):
    """As what tiles are stored."""

    CELLS = "cells"
    """As the slide's own compressed cells, wherever that can be; else as pixels."""
    PIXELS = "pixels"
    """Decoded, compressed without loss."""


class Missing(StrEnum):
    """What becomes of tiles whose slides are not among those given any more."""

    REFUSE = "refuse"
    """Nothing is done, and a line names the slides."""
    KEEP = "keep"
    """They stay: those that are stored can be read, others again when their slide is back."""
    DROP = "drop"
    """They go."""


def chosen(kind: type[C], value: str, *, option: str) -> C:
    """The member of an enum that a user named.

    Raises
    ------
    InputError
        If there is none of that name: the line tells those there are.
    """
    try:
        return kind(value)
    except ValueError as error:
        raise InputError(f"{option} must be {', '.join(kind)}, not {value!r}") from error
