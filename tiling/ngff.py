"""The documents of OME-Zarr images, which tell what they are without reading a pixel.

OME-NGFF 0.4 (in Zarr v2) and 0.5 (in Zarr v3): https://ngff.openmicroscopy.org
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tiling.errors import InputError

_SUFFIX = ".zarr"
_ATTRIBUTES_V2, _DOCUMENT_V3 = ".zattrs", "zarr.json"
DOCUMENTS = frozenset({_ATTRIBUTES_V2, _DOCUMENT_V3, ".zgroup", ".zarray", ".zmetadata"})
_LAYOUT = "bioformats2raw.layout"
_FIRST_SERIES = "0"


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder that ends in `.zarr`."""
    return path.suffix.lower() == _SUFFIX and path.is_dir()


def is_image(folder: Path) -> bool:
    """Whether a `.zarr` folder says that it is an image, rightly or wrongly; one that cannot be read says nothing."""
    try:
        attributes = attributes_of(folder)
    except InputError:
        return False
    return "multiscales" in attributes or _LAYOUT in attributes


def image_group(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The group of an image's pixels, and its attributes.

    Files of several pictures (series) in the bioformats2raw layout have the slide as the first of them; the label and
    macro images follow, and are never read.

    Raises
    ------
    InputError
        If the folder is no OME-Zarr image; the message is the reason.
    """
    attributes = attributes_of(folder)
    if "multiscales" not in attributes and _LAYOUT in attributes:
        folder = folder / _FIRST_SERIES
        attributes = attributes_of(folder)
    if "multiscales" not in attributes:
        raise InputError("is no OME-Zarr image: its attributes name no multiscales")
    return folder, attributes


def attributes_of(folder: Path) -> Mapping[str, Any]:
    """The attributes of a Zarr group that are OME's; an :class:`InputError` with the reason if there are none."""
    for name in (_DOCUMENT_V3, _ATTRIBUTES_V2):
        path = folder / name
        if not path.is_file():
            continue
        try:
            document = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise InputError(f"has a {name} that cannot be read: {error}") from error
        attributes = document
        if name == _DOCUMENT_V3:
            attributes = document.get("attributes", {}) if isinstance(document, dict) else None
            attributes = attributes.get("ome", attributes) if isinstance(attributes, dict) else None
        if not isinstance(attributes, dict):
            raise InputError(f"has a {name} that is no JSON object")
        return attributes
    raise InputError(f"is no OME-Zarr image: it holds neither {_DOCUMENT_V3} nor {_ATTRIBUTES_V2}")
