"""Aperio ImageScope's XML: layers (Annotation) of regions, each a list of vertices."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from hdgan.annotations.polygons import Ring, paint
from hdgan.annotations.shapes import class_of, ellipse, parsed, refuse_outside, ring_of
from hdgan.labels import UNLABELLED, ClassList, LabelMap
from tiling.errors import InputError

_ELLIPSE, _WITHOUT_AREA = "2", {"3": "an arrow", "4": "a ruler"}


def read_imagescope(path: Path, /, *, shape: tuple[int, int], classes: ClassList) -> LabelMap:
    """Rasterise the regions of a file, layer by layer; called like :func:`hdgan.annotations.read_mask`.

    A layer's name is its class; where a study has one class only, a layer may be without a name. What a layer's
    negative regions cover does not belong to it. Arrows and rulers are refused, and files that declare entities.
    """
    layers: dict[int, LabelMap] = {}
    for number, layer in enumerate(_layers(path), start=1):
        regions = layer.findall("./Regions/Region")
        if not regions:
            continue
        where = f"{path}, layer {number}"
        value = _class_of(layer, classes, where)
        inside = np.zeros(shape, np.uint8)
        for region in sorted(regions, key=_is_negative):  # what is to be cut out comes last
            ring = _ring(region, f"{where}, region {region.get('Id', '?')}", shape)
            paint(inside, [ring], 0 if _is_negative(region) else 1)
        layers[value] = layers.get(value, np.zeros(shape, np.uint8)) | inside
    labels = np.full(shape, UNLABELLED, np.uint8)
    for value in sorted(layers):
        labels[layers[value] == 1] = value
    return labels


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


def _class_of(layer: Element, classes: ClassList, where: str) -> int:
    name = (layer.get("Name") or "").strip()
    if name:
        return class_of([name], classes, where)
    if len(classes) == 1:
        return 0
    raise InputError(f"{where} has no name to tell its class; name it as one of: {', '.join(classes.names)}")


def _is_negative(region: Element) -> bool:
    return region.get("NegativeROA") == "1"


def _ring(region: Element, where: str, shape: tuple[int, int]) -> Ring:
    kind = region.get("Type", "0")
    if kind in _WITHOUT_AREA:
        raise InputError(f"{where} is {_WITHOUT_AREA[kind]}, which has no area; delete it")
    points = [(vertex.get("X"), vertex.get("Y")) for vertex in region.findall("./Vertices/Vertex")]
    if kind == _ELLIPSE and len(points) == 2:
        (x0, y0), (x1, y1), _ = ring_of([*points, points[0]], where).tolist()
        ring = ellipse(x0, y0, x1, y1)
    else:
        ring = ring_of(points, where)
    refuse_outside([[ring]], shape, where)
    return ring
