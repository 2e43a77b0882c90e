"""Aperio ImageScope's XML: layers (Annotation) of regions, each a list of vertices."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tiling.errors import InputError
from tiling.regions.polygons import Ring, bounds
from tiling.regions.region import Region
from tiling.regions.shapes import ellipse, parsed, ring_of

_ELLIPSE, _WITHOUT_AREA = "2", {"3": "an arrow", "4": "a ruler"}


def read_imagescope(path: Path, /, *, shape: tuple[int, int] | None = None) -> list[Region]:
    """Read the regions of a file, layer by layer; called like :func:`tiling.regions.read_regions`.

    A layer's name is the class of its regions. What the layer's negative regions cover is cut out of them. Arrows and
    rulers are refused, and files that declare entities.
    """
    return [
        region
        for number, layer in enumerate(_layers(path), start=1)
        for region in _regions(layer, f"{path}, layer {number}")
    ]


def _layers(path: Path) -> list[Element]:
    root = parsed(path, _root, kind="XML", tool="ImageScope")
    if root.tag != "Annotations":
        raise InputError(f"{path} holds {root.tag!r}; expected ImageScope's Annotations")
    return root.findall("./Annotation")


def _root(content: bytes) -> Element:
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except DefusedXmlException as error:
        raise ValueError("it declares a document type or entities, which no annotation needs") from error
    return root


def _regions(layer: Element, layer_at: str) -> list[Region]:
    name = (layer.get("Name") or "").strip()
    positive: list[tuple[Ring, str]] = []
    negative: list[Ring] = []
    for element in layer.findall("./Regions/Region"):
        where = f"{layer_at}, region {element.get('Id', '?')}"
        ring = _ring(element, where)
        if element.get("NegativeROA") == "1":
            negative.append(ring)
        else:
            positive.append((ring, where))
    boxes = np.array([bounds([ring]) for ring in negative]).reshape(-1, 2, 2)  # (n, least and most, x and y)
    regions = []
    for ring, where in positive:
        least, most = bounds([ring])
        near = np.flatnonzero(((boxes[:, 0] <= most) & (boxes[:, 1] >= least)).all(axis=1))
        cut = [[negative[index]] for index in near]  # no other one reaches it
        regions.append(Region((name,) if name else (), [[ring]], where, cut, layer_at))
    return regions


def _ring(region: Element, where: str) -> Ring:
    kind = region.get("Type", "0")
    if kind in _WITHOUT_AREA:
        raise InputError(f"{where} is {_WITHOUT_AREA[kind]}, which has no area; delete it")
    points = [(vertex.get("X"), vertex.get("Y")) for vertex in region.findall("./Vertices/Vertex")]
    if kind == _ELLIPSE and len(points) == 2:
        (x0, y0), (x1, y1), _ = ring_of([*points, points[0]], where).tolist()
        return ellipse(x0, y0, x1, y1)
    return ring_of(points, where)
