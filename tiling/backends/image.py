"""Plain pictures (PNG, JPEG, TIFF) as slides of one level."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import tifffile
from PIL import JpegImagePlugin, PngImagePlugin

from tiling.backends.base import DAMAGED, BackendError, Colour, Image, Level, credible_mpp, refuse_deep_pixels

_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_BIT_DEPTH_AT = 24
_MICROMETRES_PER_UNIT = {2: 25400.0, 3: 10000.0}  # TIFF's ResolutionUnit: inch, centimetre


class ImageBackend:
    """A picture that is decoded whole when it is opened: a damaged file is found then, not tile by tile."""

    name: ClassVar[str] = "image"
    objective_power: float | None = None
    background: Colour | None = None

    def __init__(
        self, pixels: Image, mpp: float | None, icc_profile: bytes | None, properties: Mapping[str, str]
    ) -> None:
        self._pixels: Image | None = pixels
        self.mpp = mpp
        self.icc_profile = icc_profile
        self.properties = properties
        height, width = pixels.shape[:2]
        self.levels = (Level(width, height, 1.0),)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Decode a PNG, a JPEG, or the first page of a TIFF, told apart by their first bytes."""
        try:
            with path.open("rb") as file:
                head = file.read(_PNG_BIT_DEPTH_AT + 1)
            if head.startswith(_PNG):
                if head[_PNG_BIT_DEPTH_AT:] == b"\x10":  # Pillow would silently drop the lower 8 bits
                    refuse_deep_pixels(np.dtype(np.uint16))
                return cls(*_decoded(PngImagePlugin.PngImageFile(path)), {"image.format": "PNG"})
            if head.startswith(_JPEG):
                return cls(*_decoded(JpegImagePlugin.JpegImageFile(path)), {"image.format": "JPEG"})
            if head.startswith(_TIFF):
                return cls(*_first_page(path), {"image.format": "TIFF"})
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
) -> tuple[Image, None, bytes | None]:
    """Decode to RGB, or RGBA where the picture has transparency; raise where data are missing. And its profile."""
    with picture:
        transparent = picture.mode in {"LA", "PA", "RGBA"} or "transparency" in picture.info
        pixels = np.asarray(picture.convert("RGBA" if transparent else "RGB"))
        return pixels, None, picture.info.get("icc_profile")


def _first_page(path: Path) -> tuple[Image, float | None, bytes | None]:
    """The first page of a TIFF as RGB or RGBA, its resolution and its colour profile."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        pixels = page.asarray()
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
            pixels = (np.moveaxis(page.colormap, 0, -1) >> 8).astype(np.uint8)[pixels]
        refuse_deep_pixels(pixels.dtype)
        if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
            pixels = 255 - pixels
        per_unit = _MICROMETRES_PER_UNIT.get(int(page.resolutionunit or 0))
        across, down = page.resolution
        mpp = credible_mpp(per_unit / across, per_unit / down) if per_unit and across and down else None
        planar = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE
        return _coloured(pixels, planar=planar), mpp, page.iccprofile


def _coloured(pixels: npt.NDArray[np.uint8], *, planar: bool) -> Image:
    """Grey (h, w), grey with alpha, RGB or RGBA, in one array or in planes, as (h, w, 3 or 4)."""
    if pixels.ndim == 3 and planar:
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
        raise BackendError(f"has pixels of shape {pixels.shape}, which is no grey or RGB picture")
    if pixels.shape[2] < 3:
        grey, alpha = pixels[..., :1], pixels[..., 1:]
        pixels = np.concatenate([grey, grey, grey, alpha], axis=2)
    return np.ascontiguousarray(pixels)
