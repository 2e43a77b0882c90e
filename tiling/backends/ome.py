"""What the OME-XML of an OME-TIFF says of its picture.

The schema is OME 2016-06: https://docs.openmicroscopy.org/ome-model
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from tiling.backends.base import BackendError, credible_mpp
from tiling.errors import InputError
from tiling.series import ONLY_LABELS, elements, is_label, parsed_ome

# Units of length in micrometres: those of OME-XML by their signs, those of OME-Zarr by their names.
MICROMETRES: Mapping[str, float] = {
    **{"m": 1e6, "cm": 1e4, "mm": 1e3, "µm": 1.0, "μm": 1.0, "um": 1.0, "nm": 1e-3, "Å": 1e-4, "pm": 1e-6},
    **{"in": 25400.0, "ft": 304800.0, "pt": 25400.0 / 72},
    **{"meter": 1e6, "centimeter": 1e4, "millimeter": 1e3, "micrometer": 1.0, "nanometer": 1e-3, "angstrom": 1e-4},
    **{"picometer": 1e-6, "inch": 25400.0, "foot": 304800.0},
}


@dataclass(frozen=True)
class OmeImage:
    """The first picture of a file that is no label, macro or thumbnail; those after it are further scans.

    Attributes
    ----------
    width, height
        px.
    pages
        Number of the page of each part of the picture: of all colours, or of the red, the green and the blue.
    mpp
        Micrometres per px, if it is told credibly.
    objective_power
        Magnification, if told.
    """

    width: int
    height: int
    pages: tuple[int, ...]
    mpp: float | None
    objective_power: float | None


def parse_ome(xml: str, *, stored: Callable[[int], int] = lambda page: 1) -> OmeImage:
    """Read OME-XML.

    Parameters
    ----------
    xml
        The first page's description.
    stored
        Samples per px of a page. Many writers leave SamplesPerPixel of an RGB page out of the XML.

    Raises
    ------
    BackendError
        If it cannot be read, has nothing but labels and macros, or tells of more than one plane of 8-bit grey or RGB
        pixels.
    """
    try:
        root = parsed_ome(xml)
    except InputError as error:
        raise BackendError(str(error)) from error
    images = list(elements(root, "Image"))
    image = next((one for one in images if not is_label(one.get("Name"))), None)
    if images and image is None:
        raise BackendError(ONLY_LABELS)
    pixels = None if image is None else next(elements(image, "Pixels"), None)
    if image is None or pixels is None:
        raise BackendError("has OME-XML without a picture")
    first = image is images[0]
    width, height, planes, times, channels = (_count(pixels, f"Size{axis}") for axis in "XYZTC")
    kind = pixels.get("Type")
    samples = max([_count(channel, "SamplesPerPixel", 1) for channel in elements(pixels, "Channel")], default=1)
    if samples == 1 and channels > 1 and stored(_pages(pixels, 1, first=first)[0]) == channels:
        samples = channels
    together = samples == channels and channels in (3, 4)
    if planes * times != 1 or not (together or (samples == 1 and channels in (1, 3))) or kind != "uint8":
        raise BackendError(
            f"has {channels} channels, {planes} z planes and {times} timepoints of {kind} pixels; "
            "export one plane as 8-bit RGB or grey"
        )
    pages = _pages(pixels, channels // samples, first=first)
    return OmeImage(width, height, pages, _mpp(pixels), _power(root, image))


def _pages(pixels: Element, parts: int, *, first: bool) -> tuple[int, ...]:
    """The page of each part of a picture without z and t (TiffData, see the specification of OME-TIFF).

    Of one that is not the first of its file these must be told: the pages from the beginning are another's.
    """
    page_of: dict[int, int] = {}
    names: set[str | None] = set()
    following = 0
    for data in elements(pixels, "TiffData"):
        names.update(uuid.get("FileName") for uuid in elements(data, "UUID"))
        channel, page = _count(data, "FirstC", 0), _count(data, "IFD", following)
        count = _count(data, "PlaneCount", 1 if data.get("IFD") is not None else parts)
        page_of.update({channel + index: page + index for index in range(min(count, parts))})
        following = page + count
    if len(names) > 1:
        raise BackendError("is spread over several files; export it as one")
    if not first and (not page_of or any(data.get("IFD") is None for data in elements(pixels, "TiffData"))):
        raise BackendError("has OME-XML that does not say which pages are of its picture, and which of its labels")
    if not page_of:
        page_of = {part: part for part in range(parts)}
    if any(part not in page_of for part in range(parts)):
        raise BackendError(f"has OME-XML that names pages for {len(page_of)} of its {parts} channels")
    return tuple(page_of[part] for part in range(parts))


def _mpp(pixels: Element) -> float | None:
    across = _micrometres(pixels, "X")
    down = _micrometres(pixels, "Y") if pixels.get("PhysicalSizeY") else across
    return credible_mpp(across, down)


def _micrometres(pixels: Element, axis: str) -> float | None:
    unit = MICROMETRES.get(pixels.get(f"PhysicalSize{axis}Unit", "µm"))
    size = _number(pixels.get(f"PhysicalSize{axis}"))
    return None if unit is None or size is None else unit * size


def _power(root: Element, image: Element) -> float | None:
    """The magnification of the objective that the picture names, or of the only one."""
    objectives = {one.get("ID"): _number(one.get("NominalMagnification")) for one in elements(root, "Objective")}
    used = next((settings.get("ID") for settings in elements(image, "ObjectiveSettings")), None)
    power = objectives.get(used) if used else next(iter(objectives.values())) if len(objectives) == 1 else None
    return power if power and power > 0 else None


def _count(element: Element, name: str, default: int | None = None) -> int:
    value = element.get(name)
    if value is None and default is not None:
        return default
    if value is None or not value.isdecimal():
        raise BackendError(f"has OME-XML whose {name} is {value}, not a number")
    return int(value)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
