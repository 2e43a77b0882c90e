"""QuPath's GeoJSON, in and out (https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tiling.errors import InputError
from tiling.regions.holes import with_holes
from tiling.regions.polygons import Polygon, Ring
from tiling.regions.region import Region, WithoutArea, names_of_parts
from tiling.regions.shapes import FLAT, encloses_area, parsed, ring_of

_TRIANGLE = 3  # points of the smallest ring
_WITHOUT_AREA = {"Point": "point", "MultiPoint": "point", "LineString": "line", "MultiLineString": "line"}
_WITH_AREA = ("Polygon", "MultiPolygon")


def read_geojson(path: Path, /, *, shape: tuple[int, int] | None = None) -> list[Region | WithoutArea]:
    """Read a FeatureCollection, some Features or a Feature, see :class:`tiling.regions.registry.Reader`.

    A feature's class is its classification, by name or by the list of names of a derived one, else the name that the
    annotation itself was given. Measurements and nuclei of cells are passed over. Of a GeometryCollection, the polygons
    count.
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
        For a region with cut-outs that are no holes of its polygons, see :func:`tiling.regions.holes.with_holes`.
    """
    return {"type": "FeatureCollection", "features": [region_to_feature(region, colours or {}) for region in regions]}


def region_to_feature(region: Region, colours: Mapping[str, tuple[int, int, int]]) -> dict[str, Any]:
    """One of the features of :func:`regions_to_geojson`, for files that are written region by region."""
    coordinates = [[_closed(ring) for ring in polygon] for polygon in with_holes(region)]
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


def _region(feature: dict[str, Any], where: str) -> Region | WithoutArea:
    geometry = feature.get("geometry")
    parts = [] if geometry is None else _parts(geometry, where)
    polygons = [polygon for part in parts for polygon in _polygons(part, where)]
    if polygons:
        return Region(_names(feature, where), polygons, where)
    kinds = {_WITHOUT_AREA.get(part["type"], FLAT if part["coordinates"] else "empty shape") for part in parts}
    return WithoutArea(kinds.pop() if len(kinds) == 1 else "empty shape")


def _parts(geometry: Any, where: str) -> list[dict[str, Any]]:
    """A geometry, or those that it collects, each of a known type."""
    parts: list[Any] = [geometry]
    if isinstance(geometry, dict) and geometry.get("type") == "GeometryCollection":
        collected = geometry.get("geometries")
        parts = collected if isinstance(collected, list) else [collected]
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in (*_WITH_AREA, *_WITHOUT_AREA):
            raise InputError(f"{where} is a {kind}; expected a Polygon or a MultiPolygon: draw it again or delete it")
        if not isinstance(part.get("coordinates"), list):
            raise InputError(f"{where} is a {kind} without coordinates; draw it again or delete it")
    return parts


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


def _polygons(part: dict[str, Any], where: str) -> list[Polygon]:
    """The polygons of a geometry that enclose an area, without holes that enclose none."""
    kind, coordinates = part["type"], part["coordinates"]
    if kind not in _WITH_AREA:
        return []
    listed = [coordinates] if kind == "Polygon" else coordinates
    if not all(isinstance(rings, list) for rings in listed):
        raise InputError(f"{where} is a {kind} without rings; draw it again or delete it")
    polygons = [[_opened(ring_of(ring, where)) for ring in rings] for rings in listed]
    drawn = [rings for rings in polygons if rings and encloses_area(rings[0])]
    return [[outline, *filter(encloses_area, holes)] for outline, *holes in drawn]


def _opened(ring: Ring) -> Ring:
    """A ring without the last point that repeats the first one."""
    return ring[:-1] if len(ring) > _TRIANGLE and (ring[0] == ring[-1]).all() else ring


def _closed(ring: Ring) -> list[list[float]]:
    whole = (ring == ring.round()).all()
    points: list[list[float]] = (ring.astype(int) if whole else ring).tolist()
    return [*points, points[0]]
