"""What the formats of polygons share: parsing a file, the rings of shapes, and whether they enclose anything."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from xml.etree.ElementTree import ParseError

import numpy as np

from tiling.errors import InputError
from tiling.regions.polygons import Ring

T = TypeVar("T")
FLAT = "flat polygon"  # of less than three different points, or all on one line: a click is soon made
_MOST_CORNERS = 1 << 14  # of an ellipse; at 10,000 px across, its edges leave the curve by 0.0002 px
_UNPARSED = (ValueError, LookupError, RecursionError, ParseError)  # an unknown encoding is a LookupError


def parsed(path: Path, parse: Callable[[bytes], T], *, kind: str, tool: str) -> T:
    """What `parse` makes of a file of some kind (`JSON`) that a tool saves.

    Raises
    ------
    InputError
        When the file cannot be read, or parsed: the message says to save it from the tool again.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except _UNPARSED as error:
        raise InputError(f"{path} is not {kind} that can be read ({error}); save it from {tool} again") from error


def ring_of(points: Any, where: str) -> Ring:
    """A ring (n, 2) float64 of [x, y] pairs that a file gives; an :class:`InputError` if they are none."""
    try:
        ring = np.array([[float(point[0]), float(point[1])] for point in points])
    except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise InputError(f"{where} has a ring that is not a list of [x, y] pairs ({error})") from error
    if not np.isfinite(ring).all():
        raise InputError(f"{where} has a ring with a point that is no place: its numbers must be finite; draw it again")
    return ring.reshape(-1, 2)


def encloses_area(ring: Ring) -> bool:
    """Whether a ring's points (n, 2) do not all lie on one line; not those of less than three different points."""
    if not len(ring):
        return False
    away = ring - ring[0]
    farthest = away[np.abs(away).sum(axis=1).argmax()]
    return bool((away[:, 0] * farthest[1] != away[:, 1] * farthest[0]).any())


def ellipse(left: float, top: float, right: float, bottom: float) -> Ring:
    """The ellipse that fills a box, as a ring with a corner about every px, up to some thousands."""
    across, down = (right - left) / 2, (bottom - top) / 2
    corners = min(max(16, int(np.pi * (abs(across) + abs(down)))), _MOST_CORNERS)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([left + across + across * np.cos(angles), top + down + down * np.sin(angles)], axis=1)


def rectangle(left: float, top: float, right: float, bottom: float) -> Ring:
    """A box as a ring."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
