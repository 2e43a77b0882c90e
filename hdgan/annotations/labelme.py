"""labelme's JSON (https://github.com/wkentaro/labelme): shapes with a label and points, beside an image's name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hdgan.annotations.polygons import Polygon, Ring
from hdgan.annotations.shapes import class_of, ellipse, painted, rectangle, refuse_outside, ring_of
from hdgan.labels import ClassList, LabelMap
from tiling.errors import InputError

_CORNERS = 2  # points of a rectangle or a circle


def read_labelme(path: Path, /, *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    """Rasterise a file's polygons, rectangles and circles.

    Parameters
    ----------
    path
        The JSON file; coordinates are px of the annotated image, (0, 0) at its upper left corner.
    shape
        (height, width) of the annotated image, px. What reaches past it is cut off.
    classes
        The study's classes. Overlaps are painted in their order: a later class covers an earlier one.

    Returns
    -------
    LabelMap
        (height, width) uint8: the class of the shape that a pixel's centre lies in, 255 where none is.

    Raises
    ------
    InputError
        When the file is none of labelme's, or of an image of another size, or a shape has an unknown label, no area,
        or lies wholly outside the image.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); save it from labelme again") from error
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(shapes, list) or not all(isinstance(one, dict) for one in shapes):
        raise InputError(f"{path} has no list of shapes, as labelme's files have; for QuPath's GeoJSON use .geojson")
    size = content.get("imageHeight"), content.get("imageWidth")
    if size not in (shape, (None, None)):
        raise InputError(
            f"{path} is of an image of {size[1]} x {size[0]} px, and this one has {shape[1]} x {shape[0]}; "
            "annotate the image as it was exported"
        )
    annotations: list[tuple[int, Polygon]] = []
    for number, one in enumerate(shapes, start=1):
        where = f"{path}, shape {number}"
        polygon = [_ring(one, where)]
        refuse_outside([polygon], shape, where)
        annotations.append((class_of([str(one.get("label"))], classes, where), polygon))
    return painted(annotations, shape)


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
