"""labelme's JSON (https://github.com/wkentaro/labelme): shapes with a label and points, beside an image's name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from tiling.errors import InputError
from tiling.regions.polygons import Ring
from tiling.regions.region import Region, WithoutArea
from tiling.regions.shapes import FLAT, ellipse, encloses_area, parsed, rectangle, ring_of

_CORNERS = 2  # points of a rectangle or a circle
_WITHOUT_AREA = {"point": "point", "points": "point", "line": "line", "linestrip": "line"}


def read_labelme(path: Path, /, *, shape: tuple[int, int] | None = None) -> list[Region | WithoutArea]:
    """Read a file's polygons, rectangles and circles, see :class:`tiling.regions.registry.Reader`.

    Masks are refused, and so is a file that was drawn on an image of another size, where `shape` tells the size.
    """
    content = parsed(path, json.loads, kind="JSON", tool="labelme")
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(one, dict) for one in shapes):
        raise InputError(f"{path} has no list of shapes, as labelme's files have; for QuPath's GeoJSON use .geojson")
    size = content.get("imageHeight"), content.get("imageWidth")
    if shape is not None and size not in (shape, (None, None)):
        raise InputError(
            f"{path} is of an image of {size[1]} x {size[0]} px, and this one has {shape[1]} x {shape[0]}; "
            "annotate the image as it was exported"
        )
    return [_region(one, f"{path}, shape {number}") for number, one in enumerate(shapes, start=1)]


def _region(shape: dict[str, Any], where: str) -> Region | WithoutArea:
    kind, label = str(shape.get("shape_type") or "polygon"), shape.get("label")
    if kind in _WITHOUT_AREA:
        return WithoutArea(_WITHOUT_AREA[kind])
    ring = _ring(kind, shape.get("points"), where)
    if not encloses_area(ring):
        return WithoutArea(FLAT)
    return Region(() if label in (None, "") else (str(label),), [[ring]], where)


def _ring(kind: str, points: Any, where: str) -> Ring:
    if kind == "polygon":
        return ring_of(points, where)
    if kind not in ("rectangle", "circle"):
        raise InputError(f"{where} is a {kind}, which is not read; expected a polygon, a rectangle or a circle")
    if not isinstance(points, list) or len(points) != _CORNERS:
        raise InputError(f"{where} is a {kind} without its two points; draw it again or delete it")
    (x0, y0), (x1, y1) = ring_of(points, where).tolist()
    if kind == "rectangle":
        return rectangle(x0, y0, x1, y1)
    radius = math.hypot(x1 - x0, y1 - y0)
    return ellipse(x0 - radius, y0 - radius, x0 + radius, y0 + radius)
