"""The ways of reading slides, in the order in which they are tried."""

from __future__ import annotations

from tiling.backends.base import Backend
from tiling.backends.image import ImageBackend
from tiling.backends.ome_tiff import OmeTiffBackend
from tiling.backends.ome_zarr import OmeZarrBackend
from tiling.backends.openslide import OpenSlideBackend
from tiling.backends.plain_tiff import PlainTiffBackend
from tiling.backends.tiff import TiffBackend

# From the most to the least specific. OME-Zarrs are the only folders. OME-TIFFs are known by their OME-XML, which
# OpenSlide does not read. OpenSlide knows scanners' formats: their pyramids, resolutions and missing areas. Most of
# those files are TIFFs or JPEGs by their first bytes, so the two last would open them too, without all that; they may
# only have what OpenSlide refuses.
BACKENDS: tuple[type[Backend], ...] = (
    OmeZarrBackend,
    OmeTiffBackend,
    TiffBackend,
    OpenSlideBackend,
    PlainTiffBackend,
    ImageBackend,
)

# Looked for when a folder is tiled.
SUFFIXES = frozenset(
    ".svs .tif .tiff .btf .tf2 .tf8 .ndpi .vms .vmu .scn .mrxs .svslide .bif .czi .dcm .png .jpg .jpeg .zarr".split()  # noqa: SIM905
)
