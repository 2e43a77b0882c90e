"""Files of scanners whose first page may be a label: pages that no backend but their own may read."""

from __future__ import annotations

import tifffile

from tiling.backends.base import BackendError

_XMP, _VENTANA = 700, b"<iScan"


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
