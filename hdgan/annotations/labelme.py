"""labelme's JSON (https://github.com/wkentaro/labelme): shapes with a label and points, beside an image's name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hdgan.annotations.polygons import Ring
from hdgan.annotations.shapes import Drawn, class_of, ellipse, painted, parsed, rectangle, ring_of
from hdgan.labels import ClassList, LabelMap
from tiling.errors import InputError

_CORNERS = 2  # points of a rectangle or a circle


def read_labelme(path: Path, /, *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    """Rasterise a file's polygons, rectangles and circles; called like :func:`hdgan.annotations.read_mask`.

    Other shapes are refused, and so is a file that was drawn on an image of another size.
    """
    content = parsed(path, json.loads, kind="JSON", tool="labelme")
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(one, dict) for one in shapes):
        raise InputError(f"{path} has no list of shapes, as labelme's files have; for QuPath's GeoJSON use .geojson")
    size = content.get("imageHeight"), content.get("imageWidth")
    if size not in (shape, (None, None)):
        raise InputError(
            f"{path} is of an image of {size[1]} x {size[0]} px, and this one has {shape[1]} x {shape[0]}; "
            "annotate the image as it was exported"
        )
    numbered = enumerate(shapes, start=1)
    return painted([_drawn(one, f"{path}, shape {number}", classes) for number, one in numbered], shape)


def _drawn(shape: dict[str, Any], where: str, classes: ClassList) -> Drawn:
    return Drawn(where, class_of([str(shape.get("label"))], classes, where), [[_ring(shape, where)]])


def _ring(shape: dict[str, Any], where: str) -> Ring:
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    if kind == "polygon":
        return ring_of(points, where)
    if kind not in ("rectangle", "circle"):
        raise InputError(f"{where} is a {kind}, which has no area; expected a polygon, a rectangle or a circle")
    if not isinstance(points, list) or len(points) != _CORNERS:
        raise InputError(f"{where} is a {kind} without its two points; draw it again or delete it")
    (x0, y0), (x1, y1), _ = ring_of([*points, points[0]], where).tolist()
    if kind == "rectangle":
        return rectangle(x0, y0, x1, y1)
    radius = math.hypot(x1 - x0, y1 - y0)
    return ellipse(x0 - radius, y0 - radius, x0 + radius, y0 + radius)
