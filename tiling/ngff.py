"""The documents of OME-Zarr images, which tell what they are without reading a pixel.

OME-NGFF 0.4 (in Zarr v2) and 0.5 (in Zarr v3): https://ngff.openmicroscopy.org
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tiling.errors import InputError
from tiling.series import ONLY_LABELS, elements, is_label, parsed_ome

_SUFFIX = ".zarr"
_ATTRIBUTES_V2, _DOCUMENT_V3 = ".zattrs", "zarr.json"
DOCUMENTS = frozenset({_ATTRIBUTES_V2, _DOCUMENT_V3, ".zgroup", ".zarray", ".zmetadata"})
_LAYOUT = "bioformats2raw.layout"
_OME, _XML = "OME", "METADATA.ome.xml"  # of that layout: what the pictures are


def is_zarr(path: Path) -> bool:
    """Whether a path is a folder that ends in `.zarr`."""
    return path.suffix.lower() == _SUFFIX and path.is_dir()


def is_image(folder: Path) -> bool:
    """Whether a `.zarr` folder says that it is an image, rightly or wrongly; one of broken documents says nothing."""
    try:
        attributes = attributes_of(folder)
    except InputError as error:
        return isinstance(error.__cause__, OSError)  # its disk fails, as opening it will tell
    return "multiscales" in attributes or _LAYOUT in attributes


def image_group(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The group of an image's pixels, and its attributes.

    Of several pictures (series) in the bioformats2raw layout it is the first that is no label, macro or thumbnail by
    its name; those are never read.

    Raises
    ------
    InputError
        If the folder is no OME-Zarr image, or holds nothing but labels; the message is the reason.
    """
    attributes = attributes_of(folder)
    several = "multiscales" not in attributes and _LAYOUT in attributes
    names = _names(folder / _OME) if several else []
    for group, name in itertools.zip_longest(_series(folder) if several else [folder], names):
        if group is None:
            break
        if is_label(name):
            continue
        attributes = attributes_of(group)
        if "multiscales" not in attributes:
            raise InputError("is no OME-Zarr image: its attributes name no multiscales")
        if not is_label(_own_name(attributes)):
            return group, attributes
    raise InputError(ONLY_LABELS)


def attributes_of(folder: Path) -> Mapping[str, Any]:
    """The attributes of a Zarr group that are OME's; an :class:`InputError` with the reason if there are none."""
    for name in (_DOCUMENT_V3, _ATTRIBUTES_V2):
        try:
            document = json.loads((folder / name).read_bytes())
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            continue
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


def _series(folder: Path) -> list[Path]:
    """The groups of a folder of several pictures, in their order: as listed, or 0, 1 and so on."""
    listed = attributes_of(folder / _OME).get("series") if _has_attributes(folder / _OME) else None
    if listed is None:
        numbered = (folder / str(number) for number in itertools.count())
        return list(itertools.takewhile(_has_attributes, numbered)) or [folder / "0"]
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise InputError(f"lists its series as {listed!r}, which are no names")
    if outside := [name for name in listed if name.startswith("/") or ".." in PurePosixPath(name).parts]:
        raise InputError(f"names a picture outside itself: {outside[0]}")
    return [folder / name for name in listed]


def _has_attributes(folder: Path) -> bool:
    return any((folder / name).is_file() for name in (_DOCUMENT_V3, _ATTRIBUTES_V2))


def _names(folder: Path) -> list[str | None]:
    """The names of the pictures in their order, as the OME-XML beside them says; none where there is no such file."""
    try:
        xml = (folder / _XML).read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"has a {_XML} that cannot be read: {error.strerror}") from error
    return [image.get("Name") for image in elements(parsed_ome(xml), "Image")]


def _own_name(attributes: Mapping[str, Any]) -> str | None:
    """What an image's own attributes call it."""
    multiscales = attributes["multiscales"]
    described = multiscales[0] if isinstance(multiscales, list) and multiscales else None
    name = described.get("name") if isinstance(described, dict) else None
    return name if isinstance(name, str) else None
