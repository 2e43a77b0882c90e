"""QuPath's masks of single objects: a PNG each, whose name tells the image, the class and the place.

`image_7.png_Glomerulus_(2.00,-8,16,300,260)-mask.png` is of the image `image_7.png`: its pixels are of 2 px each, the
first one at x -8, y 16, and those that are not 0 are of a glomerulus. A mask may begin and end outside the image.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
from PIL.PngImagePlugin import PngImageFile

from tiling.errors import InputError
from tiling.png import open_png
from tiling.regions.polygons import outline
from tiling.regions.region import Region, WithoutArea, names_of_parts

# Java writes the number with a comma where its user's language does.
_PLACE = r"_\((\d+[.,]\d+),(-?\d+),(-?\d+),(\d+),(\d+)\)-mask\.png"
_NAME = re.compile(rf"(?:(.+\.[a-z][a-z0-9]*)_(.+)|(.+)_([^_]+)){_PLACE}", re.IGNORECASE)
_ROUNDED = 0.005001  # a downsample in a name has two decimals
_MOST_PIXELS = 1 << 28  # of one mask, which is decoded as a whole


@dataclass(frozen=True)
class ObjectMaskName:
    """What the name of an object's mask tells.

    Attributes
    ----------
    image
        Name of the image or slide, as QuPath shows it: mostly with its suffix. Without one, what is after the last
        underscore is the class.
    label
        The class.
    downsample
        Image px per mask px, as rounded in the name.
    x, y
        Upper left corner of the mask, px of the image; may be negative.
    width, height
        Size of the masked area, px of the image.
    """

    image: str
    label: str
    downsample: float
    x: int
    y: int
    width: int
    height: int

    @classmethod
    def parse(cls, name: str) -> Self | None:
        """Take a file's name apart; None if it is not that of an object's mask.

        Examples
        --------
        >>> ObjectMaskName.parse("image_7.png_Glomerulus_(2.00,-8,16,300,260)-mask.png")
        ObjectMaskName(image='image_7.png', label='Glomerulus', downsample=2.0, x=-8, y=16, width=300, height=260)
        """
        match = _NAME.fullmatch(name)
        if match is None:
            return None
        downsample, *place = match.group(5, 6, 7, 8, 9)
        image, label = match[1] or match[3], match[2] or match[4]
        return cls(image, label, float(downsample.replace(",", ".")), *map(int, place))


def is_object_mask(path: Path) -> bool:
    """Whether a file's name is that of an object's mask."""
    return ObjectMaskName.parse(path.name) is not None


def read_object_mask(path: Path, /, *, shape: tuple[int, int] | None = None) -> list[Region | WithoutArea]:
    """Read the mask of an object, as one region, see :class:`tiling.regions.registry.Reader`.

    The region runs along the edges of the mask's pixels. A mask that marks nothing, as one of a small object at a large
    downsample may, encloses no area. One whose size is not what its name says is refused.
    """
    name = ObjectMaskName.parse(path.name)
    assert name is not None  # by which the format is known
    with open_png(path) as picture:
        downsample = _downsample(name, picture.size, path)
        picture.load()
        mask = _marked(picture)
    if not mask.any():
        return [WithoutArea("empty mask")]
    polygons = [[ring * downsample + (name.x, name.y) for ring in polygon] for polygon in outline(mask)]
    return [Region(names_of_parts(name.label.split(": ")), polygons, str(path))]


def _downsample(name: ObjectMaskName, size: tuple[int, int], path: Path) -> float:
    """Image px per mask px: as named, and within the rounding of that number what the mask's size tells."""
    downsample = name.downsample
    for area, masked in zip((name.width, name.height), size, strict=True):
        most = area / (masked - 1) if masked > 1 else math.inf
        downsample = min(max(downsample, area / (masked + 1)), most)
    if downsample <= 0 or abs(downsample - name.downsample) > _ROUNDED:
        raise InputError(
            f"{path} is {size[0]} x {size[1]} px, and by its name it masks {name.width} x {name.height} px at a "
            f"downsample of {name.downsample:g}; export it again, and leave its name as it is"
        )
    if size[0] * size[1] > _MOST_PIXELS:
        raise InputError(
            f"{path} is {size[0]} x {size[1]} px, more than can be read at once; export it at a larger downsample"
        )
    return downsample


def _marked(picture: PngImageFile) -> npt.NDArray[np.bool_]:
    """(h, w) bool: the pixels that are not 0, nor transparent."""
    if "A" in picture.mode or picture.mode == "RGB":
        rgba = np.array(picture.convert("RGBA"))
        coloured: npt.NDArray[np.bool_] = rgba[..., :3].any(axis=-1) & (rgba[..., 3] > 0)
        return coloured
    marked: npt.NDArray[np.bool_] = np.array(picture) != 0
    return marked
