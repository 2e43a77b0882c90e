"""Plain pictures (PNG, JPEG) as slides of one level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from PIL import Image as PillowImage
from PIL import JpegImagePlugin, PngImagePlugin

from tiling.backends.base import (
    DAMAGED,
    LARGEST_PICTURE,
    BackendError,
    Colour,
    DeclinedError,
    Image,
    Level,
    refuse_deep_pixels,
)
from tiling.backends.segmented import TIFF
from tiling.wording import one_line

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_BIT_DEPTH_AT = 24
# Pillow keeps up to 4 bytes of each px; a progressive JPEG has its coefficients beside them while it is decoded.
_PNG_BYTES, _JPEG_BYTES = 4, 5
_BAND = 1 << 20  # px that are copied at once: Pillow makes several copies of them


class ImageBackend:
    """A picture that is decoded whole when it is opened: a damaged file is found then, not tile by tile."""

    name: ClassVar[str] = "image"
    mpp: float | None = None
    objective_power: float | None = None
    background: Colour | None = None

    def __init__(self, picture: PillowImage.Image, properties: Mapping[str, str]) -> None:
        # Pillow's pixels are kept, of whatever mode they are: an array would have to be made beside them.
        self._picture: PillowImage.Image | None = picture
        self._mode = "RGBA" if picture.has_transparency_data else "RGB"
        self.icc_profile: bytes | None = picture.info.get("icc_profile")
        self.properties = properties
        self.levels = (Level(*picture.size, 1.0),)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Decode a PNG or a JPEG, told apart by their first bytes."""
        try:
            with path.open("rb") as file:
                head = file.read(_PNG_BIT_DEPTH_AT + 1)
            if head.startswith(_PNG):
                if head[_PNG_BIT_DEPTH_AT:] == b"\x10":  # Pillow would silently drop the lower 8 bits
                    refuse_deep_pixels(np.dtype(np.uint16))
                return cls(_decoded(PngImagePlugin.PngImageFile(path), _PNG_BYTES), {"image.format": "PNG"})
            if head.startswith(_JPEG):
                return cls(_decoded(JpegImagePlugin.JpegImageFile(path), _JPEG_BYTES), {"image.format": "JPEG"})
            if head.startswith(TIFF):
                raise DeclinedError("is a TIFF")
        except DAMAGED as error:
            raise BackendError(one_line(error)) from error
        raise BackendError("neither PNG, JPEG nor TIFF")

    def read(self, *, x: int, y: int, width: int, height: int, level: int) -> Image:
        """Cut a region out; what lies outside has alpha 0."""
        assert self._picture is not None, "Slide reads no closed backend"
        left, right = (min(max(edge, 0), self._picture.width) for edge in (x, x + width))
        top, bottom = (min(max(edge, 0), self._picture.height) for edge in (y, y + height))
        whole = (right - left, bottom - top) == (width, height)
        mode = self._mode if whole else "RGBA"
        region = np.zeros((height, width, len(mode)), np.uint8)
        band = max(1, _BAND // width)
        for start in range(top, bottom, band) if left < right else ():
            stop = min(start + band, bottom)
            part = self._picture.crop((left, start, right, stop)).convert(self._mode).convert(mode)
            region[start - y : stop - y, left - x : right - x] = np.asarray(part)
        return region

    def close(self) -> None:
        """Release the pixels."""
        self._picture = None


def _decoded(
    picture: PngImagePlugin.PngImageFile | JpegImagePlugin.JpegImageFile, bytes_per_px: int
) -> PillowImage.Image:
    """Decode a picture; raise where data are missing, or where there are too many."""
    with picture:
        width, height = picture.size
        most = LARGEST_PICTURE // bytes_per_px
        if width * height > most:
            raise BackendError(
                f"has {width} x {height} px, more than the {most // 1_000_000} megapixels that can be decoded at once; "
                "convert it into a pyramidal TIFF: vips tiffsave PICTURE SLIDE.tif --tile --pyramid --compression jpeg"
            )
        picture.load()
        return picture
