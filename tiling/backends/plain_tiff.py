"""TIFFs of no scanner, tiled or in strips, as any software writes them."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import tifffile

from tiling.backends.base import DAMAGED, BackendError, backend_error
from tiling.backends.scanners import aperio_resolution, refuse_where_a_label_comes_first
from tiling.backends.segmented import Facts, SegmentedTiff, grids_of, opened, tiff_mpp

_REDUCED = 1  # TIFF's NewSubfileType of a smaller level; a macro or a mask has further bits


class PlainTiffBackend(SegmentedTiff):
    """The first page of a TIFF, and the smaller levels that follow it or lie below it."""

    name: ClassVar[str] = "plain-tiff"

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a TIFF; any other file is declined."""
        try:
            with opened(path) as file:
                if not file.pages:
                    raise BackendError("has no pages: its directory is missing or damaged")
                page = file.pages[0]
                refuse_where_a_label_comes_first(page)
                mpp, power = aperio_resolution(page)
                facts = Facts(mpp or tiff_mpp(page), power, page.iccprofile, {"image.format": "TIFF"})
                return cls(path, grids_of([[page], *([one] for one in _smaller(file))]), facts)
        except DAMAGED as error:
            raise backend_error(error) from error


def _smaller(file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
    first = file.pages[0]
    if first.is_svs:  # of an Aperio file only labels and macros are marked as reduced
        return []
    below = list(first.pages) if first.subifds else []
    return below or [page for page in file.pages[1:] if page.subfiletype == _REDUCED]
