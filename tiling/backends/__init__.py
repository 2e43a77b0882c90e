"""The ways of reading slides, in the order in which they are tried."""

from __future__ import annotations

from tiling.backends.base import Backend
from tiling.backends.image import ImageBackend
from tiling.backends.openslide import OpenSlideBackend
from tiling.backends.tiff import TiffBackend

# From the most to the least specific. OpenSlide knows scanners' formats: their pyramids, resolutions and missing
# areas. Most of those files are TIFFs or JPEGs by their first bytes, so the image backend would open them too, as
# one flat picture without resolution; it may only have what OpenSlide refuses.
BACKENDS: tuple[type[Backend], ...] = (TiffBackend, OpenSlideBackend, ImageBackend)

# Looked for when a folder is tiled. DICOM is not here: its slides are folders of many files that each open as the
# whole slide, so one file of each is named instead.
SUFFIXES = frozenset(
    ".svs .tif .tiff .btf .tf2 .tf8 .ndpi .vms .vmu .scn .mrxs .svslide .bif .czi .png .jpg .jpeg .zarr".split()  # noqa: SIM905
)
