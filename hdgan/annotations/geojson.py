"""Label maps as QuPath's GeoJSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hdgan.labels import ClassList, LabelMap
from tiling.files import replacing
from tiling.regions import Region, outline, region_to_feature, regions_to_geojson


def to_geojson(labels: LabelMap, classes: ClassList) -> dict[str, Any]:
    """A label map (H, W) uint8 as a FeatureCollection for QuPath.

    Every 4-connected region of a class is one annotation along pixel edges; unlabelled pixels are in none.
    :func:`hdgan.annotations.read_mask` gives the same label map back.
    """
    return regions_to_geojson(regions_of(labels, classes), colours=colours_of(classes))


def regions_of(labels: LabelMap, classes: ClassList, *, least: int = 0) -> Iterator[Region]:
    """The 4-connected regions of a label map (H, W) uint8 along pixel edges, class by class.

    `least` is that of :func:`tiling.regions.outline`.
    """
    for value, name in enumerate(classes.names):
        for polygon in outline(labels == value, least=least):
            yield Region((name,), [polygon], f"class {name}")


def colours_of(classes: ClassList) -> dict[str, tuple[int, int, int]]:
    """The classes' colours by name, for :func:`tiling.regions.regions_to_geojson`."""
    return {each.name: each.colour for each in classes}


def write_geojson(path: Path, labels: LabelMap, classes: ClassList, *, least: int = 0) -> None:
    """Write a label map (H, W) uint8 as a GeoJSON file that QuPath opens, region by region.

    Regions that enclose less than `least` px are left out, and the regions around them have no holes in their place:
    they are of the class that encloses them, or unlabelled where they lie between several.
    """
    colours = colours_of(classes)
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.write('{"type":"FeatureCollection","features":[')
        for number, region in enumerate(regions_of(labels, classes, least=least)):
            feature = json.dumps(region_to_feature(region, colours), separators=(",", ":"))
            file.write(f",\n{feature}" if number else feature)
        file.write("]}")
