"""Classes and label maps: (H, W) uint8 arrays of class indices, 255 where nobody said what it is."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.files import read_json, write_json

UNLABELLED = 255
_REPAIR = 'write it as {"classes": [{"index": 0, "name": "vessel", "colour": [190, 40, 50]}, ...]}'
LabelMap = npt.NDArray[np.uint8]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelClass:
    """One class of an annotation: its name and the colour it is shown in."""

    name: str
    colour: tuple[int, int, int]

    def to_dict(self) -> dict[str, Any]:
        """As JSON-able values."""
        return {"name": self.name, "colour": list(self.colour)}

    @classmethod
    def from_dict(cls, value: object) -> LabelClass:
        """What :meth:`to_dict` gave; anything else is an :class:`InputError`."""
        match value:
            case {"name": str(name), "colour": [int(red), int(green), int(blue)]}:
                if all(0 <= part <= 255 for part in (red, green, blue)):
                    return cls(name, (red, green, blue))
        raise InputError(
            'a class has a name and a colour of three numbers from 0 to 255, as {"name": "vessel", '
            f'"colour": [190, 40, 50]}}, not {reprlib.repr(value)}'
        )


@dataclass(frozen=True)
class ClassList:
    """The classes of a study, in index order: class 0 first.

    The order is also the order of painting where annotations overlap: a later class covers an earlier one.
    """

    classes: tuple[LabelClass, ...]

    def __post_init__(self) -> None:
        names = [c.name for c in self.classes]
        if not 1 <= len(names) < UNLABELLED:
            raise InputError(f"a study has 1 to {UNLABELLED - 1} classes, not {len(names)}")
        if len({name.casefold() for name in names}) < len(names):
            raise InputError(f"class names must differ, and not only in upper and lower case: {', '.join(names)}")

    def __len__(self) -> int:
        return len(self.classes)

    def __iter__(self) -> Iterator[LabelClass]:
        return iter(self.classes)

    @property
    def names(self) -> list[str]:
        """Class names in index order."""
        return [c.name for c in self.classes]

    def index(self, name: str) -> int:
        """Index of a class by its name, whatever its case; an unknown name is an :class:`InputError`."""
        folded = [n.casefold() for n in self.names]
        if name.casefold() not in folded:
            raise InputError(f"unknown class {name!r}; this study's classes are: {', '.join(self.names)}")
        return folded.index(name.casefold())

    def colour_table(self) -> npt.NDArray[np.uint8]:
        """(256, 3) uint8: the colour of every label value; unlabelled is black."""
        table = np.zeros((256, 3), np.uint8)
        for index, label_class in enumerate(self.classes):
            table[index] = label_class.colour
        return table

    def coloured(self, labels: LabelMap) -> Image:
        """A label map (H, W) as an RGB picture (H, W, 3) uint8."""
        return self.colour_table()[labels]

    def save(self, path: Path) -> None:
        """Write `classes.json`."""
        rows = [{"index": i} | c.to_dict() for i, c in enumerate(self.classes)]
        write_json(path, {"classes": rows})

    @classmethod
    def load(cls, path: Path) -> ClassList:
        """Read `classes.json`; an :class:`InputError` that names the file if it is not a list of classes."""
        rows = read_json(path, repair=_REPAIR).get("classes")
        if not isinstance(rows, list):
            raise InputError(f'{path} has no list "classes"; {_REPAIR}')
        try:
            return cls(_in_order(rows))
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def _in_order(rows: list[Any]) -> tuple[LabelClass, ...]:
    """Classes by their "index"."""
    classes = [LabelClass.from_dict(row) for row in rows]
    indices = [row.get("index") for row in rows]
    if not all(isinstance(index, int) for index in indices) or sorted(indices) != list(range(len(rows))):
        raise InputError(f"class indices must count from 0 without gaps, not {', '.join(map(reprlib.repr, indices))}")
    return tuple(classes[indices.index(place)] for place in range(len(rows)))


KIDNEY = ClassList(
    (
        LabelClass("whitespace", (235, 235, 235)),
        LabelClass("cortical tubulointerstitium", (226, 140, 180)),
        LabelClass("glomerulus", (62, 105, 200)),
        LabelClass("arteriole", (240, 160, 40)),
        LabelClass("artery", (190, 40, 50)),
    )
)
"""The five compartments of Rizvi et al. 2022 (HDGAN), in their order of painting."""
