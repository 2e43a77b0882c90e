"""Pairs for QuPath: images with masks as GeoJSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from hdgan.annotations import write_geojson
from hdgan.labels import ClassList
from hdgan.pairs.formats import FilePairs, Kind
from hdgan.pairs.png_rows import PngRows
from hdgan.pairs.strips import Strip
from tiling.files import replacing

GEOJSON = "geojson"


class QupathPairs(FilePairs):
    """`images/` of PNG files and `masks/` of GeoJSON files; a :class:`hdgan.pairs.formats.PairWriter`.

    The image goes into its file as it comes. The mask is held whole: its regions go on from strip to strip.

    Parameters
    ----------
    folder, classes
        As of the others.
    least
        Regions that enclose fewer px are left out, see :func:`hdgan.annotations.write_geojson`.
    """

    suffixes: Mapping[Kind, str] = MappingProxyType({"image": ".png", "mask": ".geojson"})

    def __init__(self, folder: Path, classes: ClassList, least: int) -> None:
        super().__init__(folder, classes)
        self._least = least

    def write(self, place: int, size: int, strips: Iterable[Strip]) -> None:
        """Write the two files of a pair."""
        rows = []
        with replacing(self.path("image", place)) as partial, partial.open("wb") as file:
            image = PngRows(file, size, size)
            for strip in strips:
                image.add(strip.image)
                rows.append(strip.mask)
            image.finish()
        write_geojson(self.path("mask", place), np.concatenate(rows), self.classes, least=self._least)
