"""Plain pictures (PNG, JPEG) as slides of one level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from PIL import JpegImagePlugin, PngImagePlugin

from tiling.backends.base import DAMAGED, LARGEST, BackendError, Colour, DeclinedError, Image, Level, refuse_deep_pixels
from tiling.backends.segmented import TIFF

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_PNG_BIT_DEPTH_AT = 24


class ImageBackend:
    """A picture that is decoded whole when it is opened: a damaged file is found then, not tile by tile."""

    name: ClassVar[str] = "image"
    mpp: float | None = None
    objective_power: float | None = None
    background: Colour | None = None

    def __init__(self, pixels: Image, icc_profile: bytes | None, properties: Mapping[str, str]) -> None:
        self._pixels: Image | None = pixels
        self.icc_profile = icc_profile
        self.properties = properties
        height, width = pixels.shape[:2]
        self.levels = (Level(width, height, 1.0),)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Decode a PNG or a JPEG, told apart by their first bytes."""
        try:
            with path.open("rb") as file:
                head = file.read(_PNG_BIT_DEPTH_AT + 1)
            if head.startswith(_PNG):
                if head[_PNG_BIT_DEPTH_AT:] == b"\x10":  # Pillow would silently drop the lower 8 bits
                    refuse_deep_pixels(np.dtype(np.uint16))
                return cls(*_decoded(PngImagePlugin.PngImageFile(path)), {"image.format": "PNG"})
            if head.startswith(_JPEG):
                return cls(*_decoded(JpegImagePlugin.JpegImageFile(path)), {"image.format": "JPEG"})
            if head.startswith(TIFF):
                raise DeclinedError("is a TIFF")
        except DAMAGED as error:
            raise BackendError(" ".join(str(error).split()) or type(error).__name__) from error
        raise BackendError("neither PNG, JPEG nor TIFF")

    def read(self, *, x: int, y: int, width: int, height: int, level: int) -> Image:
        """Cut a region out; what lies outside has alpha 0."""
        assert self._pixels is not None, "Slide reads no closed backend"
        full_height, full_width, channels = self._pixels.shape
        left, right = np.clip((x, x + width), 0, full_width)
        top, bottom = np.clip((y, y + height), 0, full_height)
        inside = self._pixels[top:bottom, left:right]
        if inside.shape[:2] == (height, width):
            return inside.copy()
        region = np.zeros((height, width, 4), np.uint8)
        there = region[top - y : bottom - y, left - x : right - x]
        there[..., 3] = 255
        there[..., :channels] = inside
        return region

    def close(self) -> None:
        """Release the pixels."""
        self._pixels = None


def _decoded(
    picture: PngImagePlugin.PngImageFile | JpegImagePlugin.JpegImageFile,
) -> tuple[Image, bytes | None]:
    """Decode to RGB, or RGBA where the picture has transparency; raise where data are missing. And its profile."""
    with picture:
        transparent = picture.mode in {"LA", "PA", "RGBA"} or "transparency" in picture.info
        width, height = picture.size
        if width * height * (4 if transparent else 3) > LARGEST:
            raise BackendError(
                f"has {width} x {height} px, which would take more than {LARGEST >> 30} GiB; convert it to a tiled TIFF"
            )
        pixels = np.asarray(picture.convert("RGBA" if transparent else "RGB"))
        return pixels, picture.info.get("icc_profile")
