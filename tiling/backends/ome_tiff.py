"""OME-TIFF: pyramids below their pages, with what OME-XML says of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar, Self

import tifffile

from tiling.backends.base import DAMAGED, BackendError, DeclinedError, RefusedError, backend_error
from tiling.backends.ome import OmeImage, parse_ome
from tiling.backends.segmented import Facts, SegmentedTiff, grids_of, opened, tiff_mpp

# With or without a prefix of the namespace, and comments of writers behind it.
_END_OF_OME = re.compile(r"</(?:[\w.-]+:)?OME>\s*(?:<!--.*?-->\s*)*$", re.DOTALL)


class OmeTiffBackend(SegmentedTiff):
    """The first picture of an OME-TIFF that is no label or macro by its name.

    OpenSlide opens some of these files too, but sees neither their smaller levels nor their resolution, and of
    several channels only the first. What is refused here is therefore left to no other backend.
    """

    name: ClassVar[str] = "ome-tiff"

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an OME-TIFF; any other file is declined."""
        try:
            with opened(path) as file:
                page = file.pages[0]
                if not _END_OF_OME.search(page.description):
                    raise DeclinedError("has no OME-XML")
        except DAMAGED as error:
            raise backend_error(error, DeclinedError) from error
        try:
            with tifffile.TiffFile(path) as file:
                pages = file.pages
                image = parse_ome(pages[0].description, stored=lambda page: _page(pages, page).samplesperpixel)
                levels = _levels(pages, image)
                facts = Facts(
                    mpp=image.mpp or tiff_mpp(levels[0][0]),
                    objective_power=image.objective_power,
                    icc_profile=levels[0][0].iccprofile,
                    properties={"image.format": "OME-TIFF"},
                )
                return cls(path, grids_of(levels), facts)
        except DAMAGED as error:
            raise backend_error(error, RefusedError) from error
        except BackendError as error:
            raise RefusedError(str(error)) from error


def _page(pages: tifffile.TiffPages, number: int) -> tifffile.TiffPage:
    if number >= len(pages):
        raise BackendError(f"has OME-XML that names page {number}, and {len(pages)} pages")
    return pages[number]


def _levels(all_pages: tifffile.TiffPages, image: OmeImage) -> list[list[tifffile.TiffPage]]:
    """The pages of every level: the picture's, and those below them."""
    pages = [_page(all_pages, number) for number in image.pages]
    if (pages[0].imagewidth, pages[0].imagelength) != (image.width, image.height):
        raise BackendError(
            f"has OME-XML of {image.width} x {image.height} px on a page of "
            f"{pages[0].imagewidth} x {pages[0].imagelength} px"
        )
    below = [list(page.pages) if page.subifds else [] for page in pages]
    if len({len(parts) for parts in below}) > 1:
        raise BackendError("has channels of different numbers of levels; export it again")
    return [pages, *(list(parts) for parts in zip(*below, strict=True))]
