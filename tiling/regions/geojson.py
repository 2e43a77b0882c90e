"""QuPath's GeoJSON, in and out (https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tiling.errors import InputError
from tiling.regions.polygons import Polygon, Ring
from tiling.regions.region import Region, names_of_parts
from tiling.regions.shapes import parsed, ring_of

_TRIANGLE = 3  # points of the smallest ring


def read_geojson(path: Path, /, *, shape: tuple[int, int] | None = None) -> list[Region]:
    """Read a FeatureCollection, some Features or a Feature; called like :func:`tiling.regions.read_regions`.

    A feature's class is its classification, by name or by the list of names of a derived one, else the name that the
    annotation itself was given. Measurements and nuclei of cells are passed over. A feature with a geometry that has
    no area is refused.
    """
    content = parsed(path, json.loads, kind="JSON", tool="QuPath")
    return [_region(feature, f"{path}, feature {number}") for number, feature in enumerate(_features(content, path), 1)]


def regions_to_geojson(
    regions: Iterable[Region], *, colours: Mapping[str, tuple[int, int, int]] | None = None
) -> dict[str, Any]:
    """Regions as a FeatureCollection for QuPath, in their order; :func:`read_geojson` gives the same ones back.

    Parameters
    ----------
    regions
        A region of several polygons becomes a MultiPolygon.
    colours
        RGB of classes, by the first of a region's names.

    Raises
    ------
    InputError
        For a region with cut-outs that are no holes of its polygons: GeoJSON has no such thing.
    """
    return {"type": "FeatureCollection", "features": [_feature(region, colours or {}) for region in regions]}


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


def _region(feature: dict[str, Any], where: str) -> Region:
    return Region(_names(feature, where), _polygons(feature.get("geometry"), where), where)


def _names(feature: dict[str, Any], where: str) -> tuple[str, ...]:
    """The class of a feature; of a derived QuPath class (`Artery: Sclerotic`), that or the class it derives from."""
    properties = feature.get("properties")
    properties = properties if isinstance(properties, dict) else {}
    classification = properties.get("classification")
    if isinstance(classification, str):
        classification = {"name": classification}
    given = classification if isinstance(classification, dict) else {}
    parts = given.get("names") or given.get("name") or []
    parts = parts.split(": ") if isinstance(parts, str) else parts
    if not isinstance(parts, list) or not all(isinstance(part, str) and part for part in parts):
        raise InputError(
            f"{where} has no class (classification {classification!r}); set it in QuPath or delete the annotation"
        )
    if parts:
        return names_of_parts(parts)
    name = properties.get("name")
    return (name,) if isinstance(name, str) and name else ()


def _polygons(geometry: Any, where: str) -> list[Polygon]:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "GeometryCollection":
        raise InputError(f"{where} is a GeometryCollection; expected a Polygon or a MultiPolygon: split it in QuPath")
    if kind not in ("Polygon", "MultiPolygon"):
        raise InputError(f"{where} is a {kind}, which has no area; expected a Polygon or a MultiPolygon")
    coordinates = geometry.get("coordinates")
    polygons = [coordinates] if kind == "Polygon" else coordinates
    if not isinstance(polygons, list) or not polygons or not all(isinstance(p, list) and p for p in polygons):
        raise InputError(f"{where} is a {kind} without rings; draw it again or delete it")
    return [[_opened(ring_of(ring, where)) for ring in polygon] for polygon in polygons]


def _feature(region: Region, colours: Mapping[str, tuple[int, int, int]]) -> dict[str, Any]:
    if region.cut:
        raise InputError(
            f"{region.where} has parts cut out of it, which GeoJSON cannot say; write its label map as GeoJSON instead"
        )
    coordinates = [[_closed(ring) for ring in polygon] for polygon in region.polygons]
    single = len(coordinates) == 1
    properties: dict[str, Any] = {"objectType": "annotation", "isLocked": False}
    if region.names:
        first, *parts = region.names
        properties["classification"] = {"names": parts[::-1]} if parts else {"name": first}
        if first in colours:
            properties["classification"]["color"] = list(colours[first])
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": coordinates[0] if single else coordinates,
        },
        "properties": properties,
    }


def _opened(ring: Ring) -> Ring:
    """A ring without the last point that repeats the first one."""
    return ring[:-1] if len(ring) > _TRIANGLE and (ring[0] == ring[-1]).all() else ring


def _closed(ring: Ring) -> list[list[float]]:
    whole = (ring == ring.round()).all()
    points: list[list[float]] = (ring.astype(int) if whole else ring).tolist()
    return [*points, points[0]]
