"""Classes and label maps: (H, W) uint8 arrays of class indices, 255 where nobody said what it is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.files import read_json, write_json

UNLABELLED = 255
LabelMap = npt.NDArray[np.uint8]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelClass:
    """One class of an annotation: its name and the colour it is shown in."""

    name: str
    colour: tuple[int, int, int]


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
        if len(set(names)) < len(names):
            raise InputError(f"class names must differ: {', '.join(names)}")

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
        rows = [{"index": i, "name": c.name, "colour": list(c.colour)} for i, c in enumerate(self.classes)]
        write_json(path, {"classes": rows})

    @classmethod
    def load(cls, path: Path) -> ClassList:
        """Read `classes.json`."""
        content = read_json(path)
        try:
            rows = sorted(content["classes"], key=lambda row: int(row["index"]))
            classes = tuple(LabelClass(str(row["name"]), _colour(row["colour"])) for row in rows)
        except (KeyError, TypeError) as error:
            raise InputError(f"{path} lacks index, name or colour of a class: {error}") from error
        if [int(row["index"]) for row in rows] != list(range(len(rows))):
            raise InputError(f"{path}: class indices must count from 0 without gaps")
        return cls(classes)


def _colour(value: object) -> tuple[int, int, int]:
    if not (isinstance(value, list) and len(value) == 3 and all(isinstance(v, int) and 0 <= v <= 255 for v in value)):
        raise InputError(f"a colour is three numbers from 0 to 255, not {value!r}")
    return value[0], value[1], value[2]


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
