"""The formats of regions: to add one, write its reader in its own file and add a line here."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tiling.errors import InputError
from tiling.progress import note
from tiling.regions.geojson import read_geojson
from tiling.regions.imagescope import read_imagescope
from tiling.regions.labelme import read_labelme
from tiling.regions.object_masks import is_object_mask, read_object_mask
from tiling.regions.region import Region, WithoutArea
from tiling.wording import counted


class Reader(Protocol):
    """Reads all shapes in one file of a format, with the parameters and errors of :func:`read_regions`."""

    def __call__(self, path: Path, /, *, shape: tuple[int, int] | None = None) -> list[Region | WithoutArea]:
        """Read `path`."""


@dataclass(frozen=True)
class RegionFormat:
    """A format of files of regions, known by what their names end in."""

    name: str
    suffix: str
    read: Reader
    is_named: Callable[[Path], bool] | None = None

    def matches(self, path: Path) -> bool:
        """Whether a file is of this format, by its name in any case."""
        return path.suffix.lower() == self.suffix if self.is_named is None else self.is_named(path)


FORMATS: tuple[RegionFormat, ...] = (
    RegionFormat("QuPath's mask of an object", "_CLASS_(1.00,x,y,w,h)-mask.png", read_object_mask, is_object_mask),
    RegionFormat("QuPath GeoJSON", ".geojson", read_geojson),
    RegionFormat("labelme JSON", ".json", read_labelme),
    RegionFormat("ImageScope XML", ".xml", read_imagescope),
)


def format_of(path: Path) -> RegionFormat | None:
    """The format that a file's name stands for; None when it is no format of regions."""
    return next((known for known in FORMATS if known.matches(path)), None)


@dataclass(frozen=True)
class Drawn:
    """What is drawn in annotation files; made by :func:`read_drawn`.

    Attributes
    ----------
    regions
        In the order of the files.
    without_area
        How many shapes enclose no area, by their kind: `{"ruler": 2}`.
    """

    regions: list[Region]
    without_area: Counter[str]

    def tell(self, where: Path) -> None:
        """Note how many shapes of a file, or of a folder of files, were passed over, if any were."""
        if self.without_area:
            kinds = ", ".join(counted(number, kind) for kind, number in sorted(self.without_area.items()))
            note(f"{where}: passed over {counted(self.without_area.total(), 'shape')} without an area: {kinds}")


def read_regions(path: Path, /, *, shape: tuple[int, int] | None = None) -> list[Region]:
    """Read the regions in an annotation file; a note tells how many shapes were passed over as they have no area.

    Parameters
    ----------
    path
        The file; its name tells the format.
    shape
        (height, width) of the image or slide, px: a file that notes another size (labelme's do) is refused. Not
        checked by default.

    Returns
    -------
    list of Region
        In the order of the file.

    Raises
    ------
    InputError
        For a name of no known format, and for whatever the format's reader refuses: a file that cannot be read or is of
        another format, a point that is none.
    """
    drawn = read_drawn([path], shape=shape)
    drawn.tell(path)
    return drawn.regions


def read_drawn(paths: Iterable[Path], *, shape: tuple[int, int] | None = None) -> Drawn:
    """Read annotation files together, without a note; otherwise as :func:`read_regions`."""
    shapes = [each for path in paths for each in _reader(path)(path, shape=shape)]
    return Drawn(
        [each for each in shapes if isinstance(each, Region)],
        Counter(each.kind for each in shapes if isinstance(each, WithoutArea)),
    )


def _reader(path: Path) -> Reader:
    known = format_of(path)
    if known is None:
        formats = ", ".join(f"{each.suffix} ({each.name})" for each in FORMATS)
        raise InputError(f"{path} is of no known kind of file of regions; known are: {formats}")
    return known.read
