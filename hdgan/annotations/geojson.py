"""QuPath's GeoJSON, in and out (https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hdgan.annotations.polygons import Polygon, Ring, outline
from hdgan.annotations.shapes import Drawn, class_of, painted, parsed, ring_of
from hdgan.labels import ClassList, LabelMap
from tiling.errors import InputError
from tiling.files import write_bytes


def read_geojson(path: Path, /, *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    """Rasterise a FeatureCollection, some Features or a Feature; called like :func:`hdgan.annotations.read_mask`.

    A feature without a class or with a geometry that has no area is refused.
    """
    content = parsed(path, json.loads, kind="JSON", tool="QuPath")
    numbered = enumerate(_features(content, path), start=1)
    return painted([_drawn(feature, f"{path}, feature {number}", classes) for number, feature in numbered], shape)


def to_geojson(labels: LabelMap, classes: ClassList) -> dict[str, Any]:
    """A label map (H, W) uint8 as a FeatureCollection for QuPath.

    Every 4-connected region of a class is one annotation along pixel edges; unlabelled pixels are in none.
    :func:`read_geojson` gives the same label map back.
    """
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [_closed(ring) for ring in polygon]},
            "properties": {
                "objectType": "annotation",
                "classification": {"name": label_class.name, "color": list(label_class.colour)},
                "isLocked": False,
            },
        }
        for value, label_class in enumerate(classes)
        for polygon in outline(labels == value)
    ]
    return {"type": "FeatureCollection", "features": features}


def write_geojson(path: Path, labels: LabelMap, classes: ClassList) -> None:
    """Write a label map (H, W) uint8 as a GeoJSON file that QuPath opens."""
    write_bytes(path, json.dumps(to_geojson(labels, classes)).encode())


def _features(content: Any, path: Path) -> list[dict[str, Any]]:
    kind = content.get("type") if isinstance(content, dict) else None
    features = content
    if kind == "FeatureCollection":
        features = content.get("features")
    elif kind == "Feature":
        features = [content]
    if not isinstance(features, list) or not all(
        isinstance(feature, dict) and feature.get("type") == "Feature" for feature in features
    ):
        received = f"type {kind!r}" if kind else f"a JSON {type(content).__name__}"
        raise InputError(f"{path} holds {received}; expected a FeatureCollection, a list of Features or one Feature")
    return features


def _drawn(feature: dict[str, Any], where: str, classes: ClassList) -> Drawn:
    return Drawn(where, _class_index(feature, classes, where), _polygons(feature.get("geometry"), where))


def _class_index(feature: dict[str, Any], classes: ClassList, where: str) -> int:
    """The class of a feature; of a derived QuPath class (`Artery: Sclerotic`), that or the class it derives from."""
    properties = feature.get("properties")
    classification = properties.get("classification") if isinstance(properties, dict) else None
    if isinstance(classification, str):
        classification = {"name": classification}
    given = classification if isinstance(classification, dict) else {}
    parts = given.get("names") or str(given.get("name") or "").split(": ")
    if not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts):
        raise InputError(
            f"{where} has no class (classification {classification!r}); set it in QuPath or delete the annotation; "
            f"the classes are: {', '.join(classes.names)}"
        )
    return class_of([": ".join(parts), *reversed(parts)], classes, where)


def _polygons(geometry: Any, where: str) -> list[Polygon]:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise InputError(f"{where} is a {kind}, which has no area; expected a Polygon or a MultiPolygon")
    coordinates = geometry.get("coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not polygons or not all(isinstance(p, list) and p for p in polygons):
        raise InputError(f"{where} is a {kind} without rings; draw it again or delete it")
    return [[ring_of(ring, where) for ring in polygon] for polygon in polygons]


def _closed(ring: Ring) -> list[list[int]]:
    points: list[list[int]] = ring.astype(int).tolist()
    return [*points, points[0]]
