"""Aperio ImageScope's XML: layers (Annotation) of regions, each a list of vertices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from tiling.errors import InputError
from tiling.regions.polygons import Ring, bounds
from tiling.regions.region import Region, WithoutArea
from tiling.regions.shapes import FLAT, ellipse, encloses_area, parsed, rectangle, ring_of

_BOXES = {"1": rectangle, "2": ellipse}  # by the region's type, where it is told by two corners
_WITHOUT_AREA = {"3": "arrow", "4": "ruler"}


def read_imagescope(path: Path, /, *, shape: tuple[int, int] | None = None) -> list[Region | WithoutArea]:
    """Read the regions of a file, layer by layer, see :class:`tiling.regions.registry.Reader`.

    A layer's name is the class of its regions. Where it has none, a region is called by its own text or description,
    if it has one, and else `Layer 2`, by the layer's number. What the layer's negative regions cover is cut out of
    them. A file that declares entities is refused.
    """
    return [
        region
        for number, layer in enumerate(_layers(path), start=1)
        for region in _regions(layer, layer.get("Id") or str(number), path)
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


def _regions(layer: Element, number: str, path: Path) -> Iterator[Region | WithoutArea]:
    name, layer_at = (layer.get("Name") or "").strip(), f"{path}, layer {number}"
    positive: list[tuple[Ring, Element, str]] = []
    negative: list[Ring] = []
    for element in layer.findall("./Regions/Region"):
        where = f"{layer_at}, region {element.get('Id', '?')}"
        ring = _ring(element, where)
        if isinstance(ring, WithoutArea):
            yield ring
        elif element.get("NegativeROA") == "1":
            negative.append(ring)
        else:
            positive.append((ring, element, where))
    boxes = np.array([bounds([ring]) for ring in negative]).reshape(-1, 2, 2)  # (n, least and most, x and y)
    for ring, element, where in positive:
        least, most = bounds([ring])
        near = np.flatnonzero(((boxes[:, 0] <= most) & (boxes[:, 1] >= least)).all(axis=1))
        cut = [[negative[index]] for index in near]  # no other one reaches it
        names = (name,) if name else (*_notes(element), f"Layer {number}")
        yield Region(names, [[ring]], where, cut, layer_at, is_named=bool(name))


def _notes(region: Element) -> list[str]:
    """What somebody wrote to a region: its text, and its description."""
    described = region.findall("./Attributes/Attribute[@Name='Description']")
    texts = [region.get("Text"), *(attribute.get("Value") for attribute in described)]
    return [text.strip() for text in texts if text and text.strip()]


def _ring(region: Element, where: str) -> Ring | WithoutArea:
    kind = region.get("Type", "0")
    if kind in _WITHOUT_AREA:
        return WithoutArea(_WITHOUT_AREA[kind])
    ring = ring_of([(vertex.get("X"), vertex.get("Y")) for vertex in region.findall("./Vertices/Vertex")], where)
    if kind in _BOXES and len(ring) == 2:
        ring = _BOXES[kind](*ring.ravel().tolist())
    return ring if encloses_area(ring) else WithoutArea(FLAT)
