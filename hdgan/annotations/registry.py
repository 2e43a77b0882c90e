"""The annotation formats that can be read: the formats of regions, and label maps as they are.

To add a format of regions, add it to `tiling.regions`; for another one, write its reader in its own file and add a line
here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hdgan.annotations.drawn import read_polygons
from hdgan.annotations.indexed_png import read_indexed_png
from hdgan.labels import ClassList, LabelMap
from tiling import regions
from tiling.errors import InputError


class Reader(Protocol):
    """Reads one file of a format, with the parameters, result and errors of :func:`read_mask`."""

    def __call__(self, path: Path, /, *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
        """Read `path`."""


@dataclass(frozen=True)
class AnnotationFormat:
    """A format of annotation files, known by what their names end in."""

    name: str
    suffix: str
    read: Reader
    matches: Callable[[Path], bool]


def _is_png(path: Path) -> bool:
    return path.suffix.lower() == ".png"


FORMATS: tuple[AnnotationFormat, ...] = (
    AnnotationFormat("indexed or class-coloured PNG", ".png", read_indexed_png, _is_png),
    *(AnnotationFormat(each.name, each.suffix, read_polygons, each.matches) for each in regions.FORMATS),
)


def format_of(path: Path) -> AnnotationFormat | None:
    """The format that a file's name, in any case, stands for; None when it is no annotation format."""
    return next((known for known in reversed(FORMATS) if known.matches(path)), None)  # an object's mask is a PNG, too


def required_format(path: Path) -> AnnotationFormat:
    """As :func:`format_of`; an :class:`InputError` that tells the known formats when it is none."""
    known = format_of(path)
    if known is None:
        formats = ", ".join(f"{each.suffix} ({each.name})" for each in FORMATS)
        raise InputError(f"{path} is of no known kind of annotation file; known are: {formats}")
    return known


def read_mask(path: Path, *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    """Read an annotation file of any known format.

    Parameters
    ----------
    path
        The file; its name tells the format. Coordinates in it are px of the annotated image, (0, 0) at its upper left
        corner.
    shape
        (height, width) of the annotated image, px. A mask has this size; what polygons reach past it is cut off.
    classes
        The study's classes. Overlaps are painted in their order: a later class covers an earlier one.

    Returns
    -------
    LabelMap
        (height, width) uint8 class indices: of what a pixel's centre lies in, 255 where nothing is annotated.

    Raises
    ------
    InputError
        For an unknown suffix, and for whatever the format's reader refuses: a file that cannot be read or is of
        another format, another size, an unknown class, a shape without an area or wholly outside the image.
    """
    return required_format(path).read(path, shape=shape, classes=classes)
