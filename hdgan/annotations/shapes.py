"""What the formats of polygons share: parsing a file, the class and the ring of a shape, painting it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from xml.etree.ElementTree import ParseError

import numpy as np

from hdgan.annotations.polygons import Polygon, Ring, paint
from hdgan.labels import UNLABELLED, ClassList, LabelMap
from tiling.errors import InputError
from tiling.wording import counted

T = TypeVar("T")
_MOST_CORNERS = 1 << 14  # of an ellipse; at 10,000 px across, its edges leave the curve by 0.0002 px
_UNPARSED = (ValueError, LookupError, RecursionError, ParseError)  # an unknown encoding is a LookupError


class Drawn(NamedTuple):
    """One annotation of a file: where in the file it is, for messages, the index of its class, and its polygons."""

    where: str
    value: int
    polygons: list[Polygon]


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


def class_of(names: Sequence[str], classes: ClassList, where: str) -> int:
    """Index of the class that a shape is of, by the first of some names that is one, in any case.

    Raises
    ------
    InputError
        When none is: the message tells the first name.
    """
    by_name = {name.casefold(): index for index, name in enumerate(classes.names)}
    for name in names:
        if name.casefold() in by_name:
            return by_name[name.casefold()]
    raise InputError(
        f"{where} has the unknown class {names[0]!r}; this study's classes are: {', '.join(classes.names)}"
    )


def ring_of(points: Any, where: str) -> Ring:
    """A ring (n, 2) float64 of [x, y] pairs that a file gives; an :class:`InputError` if they are none."""
    try:
        ring = np.array([[float(point[0]), float(point[1])] for point in points])
    except (TypeError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise InputError(f"{where} has a ring that is not a list of [x, y] pairs ({error})") from error
    if len(ring) < 3 or not np.isfinite(ring).all():
        raise InputError(
            f"{where} has a ring of {counted(len(ring), 'point')}; expected at least 3, all of finite numbers"
        )
    return ring


def ellipse(left: float, top: float, right: float, bottom: float) -> Ring:
    """The ellipse that fills a box, as a ring with a corner about every px, up to some thousands."""
    across, down = (right - left) / 2, (bottom - top) / 2
    corners = min(max(16, int(np.pi * (abs(across) + abs(down)))), _MOST_CORNERS)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([left + across + across * np.cos(angles), top + down + down * np.sin(angles)], axis=1)


def rectangle(left: float, top: float, right: float, bottom: float) -> Ring:
    """A box as a ring."""
    return np.array([[left, top], [right, top], [right, bottom], [left, bottom]])


def refuse_outside(polygons: Iterable[Polygon], shape: tuple[int, int], where: str) -> None:
    """An :class:`InputError` if polygons lie wholly outside an image of `shape` (height, width)."""
    points = np.concatenate([ring for polygon in polygons for ring in polygon])
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if right <= 0 or bottom <= 0 or left >= shape[1] or top >= shape[0]:
        raise InputError(
            f"{where} lies at x {left:g} to {right:g}, y {top:g} to {bottom:g}, outside the image of {shape[1]} x "
            f"{shape[0]} px; was it drawn on another image?"
        )


def painted(annotations: Sequence[Drawn], shape: tuple[int, int]) -> LabelMap:
    """A label map (height, width) of annotations: a later class covers an earlier one, 255 where there is none.

    Raises
    ------
    InputError
        When an annotation lies wholly outside the image.
    """
    for drawn in annotations:
        refuse_outside(drawn.polygons, shape, drawn.where)
    labels = np.full(shape, UNLABELLED, np.uint8)
    for drawn in sorted(annotations, key=lambda drawn: drawn.value):
        for polygon in drawn.polygons:
            paint(labels, polygon, drawn.value)
    return labels
