"""What scanners write into their files that counts also where damage hides from OpenSlide whose they are."""

from __future__ import annotations

import contextlib
import re

import tifffile

from tiling.backends.base import BackendError, credible_mpp

_XMP, _VENTANA = 700, b"<iScan"
_APERIO = re.compile(r"\|\s*(MPP|AppMag)\s*=\s*([^|\s]+)")


def refuse_where_a_label_comes_first(page: tifffile.TiffPage) -> None:
    """Refuse a file, by its first page, that keeps its label or an overview there.

    OpenSlide tells these from the scan if it knows the file for its scanner's. If damage hides that from it, it takes
    the file as a TIFF of no scanner, and the first page for the scan. Raises :class:`BackendError`.
    """
    xmp = page.tags.get(_XMP)
    ventana = page.is_bif or (xmp is not None and _VENTANA in bytes(xmp.value))
    if ventana or page.is_scn:
        name = "Ventana BIF" if ventana else "Leica SCN"
        raise BackendError(f"is a damaged {name}, whose first page may be its label; restore the file")


def aperio_resolution(page: tifffile.TiffPage) -> tuple[float | None, float | None]:
    """Micrometres per px and the objective's power, by the description of an Aperio file; None where it is silent."""
    said: dict[str, float] = {}
    if page.is_svs:
        for name, text in _APERIO.findall(page.description):
            with contextlib.suppress(ValueError):
                said[name] = float(text)
    return credible_mpp(said.get("MPP"), said.get("MPP")), said.get("AppMag")
