"""One annotated region of a slide or an image, whatever tool it was drawn with."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from tiling.regions.polygons import Polygon


@dataclass(frozen=True, eq=False)
class Region:
    """What an annotation covers: all that its polygons do, without what is cut out of it.

    Attributes
    ----------
    names
        What its class may be called, the most specific first: ("Artery: Sclerotic", "Sclerotic", "Artery"). Empty
        where the file tells none.
    polygons
        Each a list of rings (n, 2) float64 of x, y: the outline, then its holes. In level-0 px of the slide, (0, 0) at
        its upper left corner.
    where
        The file and the place in it, for messages.
    cut
        Polygons that are taken away from those, as ImageScope's negative regions are.
    layer
        The place in the file where the class is named, if that is not the region itself.
    is_named
        Whether somebody named the class. Where nobody did, the names are those that its place in the file suggests, as
        the number of an ImageScope layer does.
    """

    names: tuple[str, ...]
    polygons: list[Polygon]
    where: str
    cut: list[Polygon] = field(default_factory=list)
    layer: str = ""
    is_named: bool = True

    def is_one_of(self, names: Collection[str]) -> bool:
        """Whether the region has one of some names, whatever their case."""
        wanted = {name.casefold() for name in names}
        return any(name.casefold() in wanted for name in self.names)


@dataclass(frozen=True)
class WithoutArea:
    """What was drawn and encloses no area, so that it is no region: a point, a line, a ruler.

    Attributes
    ----------
    kind
        In a word or two, as `ruler`.
    """

    kind: str


def names_of_parts(parts: Sequence[str]) -> tuple[str, ...]:
    """What a class is called that QuPath derives from others: by its full name, else by a part, the last one first.

    Examples
    --------
    >>> names_of_parts(["Artery", "Sclerotic"])
    ('Artery: Sclerotic', 'Sclerotic', 'Artery')
    """
    return tuple(dict.fromkeys([": ".join(parts), *reversed(parts)]))


def known_names(regions: Iterable[Region]) -> list[str]:
    """The names that occur in some regions, in alphabetical order, each once whatever its case."""
    names = {name.casefold(): name for region in regions for name in reversed(region.names)}
    return [names[folded] for folded in sorted(names)]
