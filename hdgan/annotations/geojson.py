"""Label maps as QuPath's GeoJSON, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hdgan.annotations.drawn import of_image
from hdgan.labels import ClassList, LabelMap
from tiling import regions
from tiling.files import write_bytes
from tiling.regions import Region, outline, regions_to_geojson


def read_geojson(path: Path, /, *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    """Rasterise a FeatureCollection, some Features or a Feature; called like :func:`hdgan.annotations.read_mask`.

    A feature without a class or with a geometry that has no area is refused.
    """
    return of_image(regions.read_geojson(path), shape=shape, classes=classes)


def to_geojson(labels: LabelMap, classes: ClassList) -> dict[str, Any]:
    """A label map (H, W) uint8 as a FeatureCollection for QuPath.

    Every 4-connected region of a class is one annotation along pixel edges; unlabelled pixels are in none.
    :func:`read_geojson` gives the same label map back.
    """
    drawn = [
        Region((name,), [polygon], f"class {name}")
        for value, name in enumerate(classes.names)
        for polygon in outline(labels == value)
    ]
    return regions_to_geojson(drawn, colours={each.name: each.colour for each in classes})


def write_geojson(path: Path, labels: LabelMap, classes: ClassList) -> None:
    """Write a label map (H, W) uint8 as a GeoJSON file that QuPath opens."""
    write_bytes(path, json.dumps(to_geojson(labels, classes)).encode())
