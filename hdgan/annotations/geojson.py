"""Label maps as QuPath's GeoJSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hdgan.labels import ClassList, LabelMap
from tiling.files import write_bytes
from tiling.regions import Region, outline, regions_to_geojson


def to_geojson(labels: LabelMap, classes: ClassList) -> dict[str, Any]:
    """A label map (H, W) uint8 as a FeatureCollection for QuPath.

    Every 4-connected region of a class is one annotation along pixel edges; unlabelled pixels are in none.
    :func:`hdgan.annotations.read_mask` gives the same label map back.
    """
    return regions_to_geojson(regions_of(labels, classes), colours=colours_of(classes))


def regions_of(labels: LabelMap, classes: ClassList) -> list[Region]:
    """The 4-connected regions of a label map (H, W) uint8 along pixel edges, class by class."""
    return [
        Region((name,), [polygon], f"class {name}")
        for value, name in enumerate(classes.names)
        for polygon in outline(labels == value)
    ]


def colours_of(classes: ClassList) -> dict[str, tuple[int, int, int]]:
    """The classes' colours by name, for :func:`tiling.regions.regions_to_geojson`."""
    return {each.name: each.colour for each in classes}


def write_geojson(path: Path, labels: LabelMap, classes: ClassList) -> None:
    """Write a label map (H, W) uint8 as a GeoJSON file that QuPath opens."""
    write_bytes(path, json.dumps(to_geojson(labels, classes)).encode())
