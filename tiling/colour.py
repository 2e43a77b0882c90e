"""Colour profiles of scanners: pixels as a screen shows them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageCms

from tiling.backends.base import Image
from tiling.errors import InputError
from tiling.wording import one_line

_BAND = 1 << 20  # px converted at once: Pillow holds two copies of them, of 4 bytes a pixel


class ToSrgb:
    """Converts pixels from a profile's colours to sRGB.

    The rendering intent is the one that the profile itself names as its default.
    Several threads may share a converter.

    Parameters
    ----------
    profile
        The profile as it stands in the file.

    Raises
    ------
    InputError
        If it cannot be read, or is for other than RGB pixels; the message is the reason.
    """

    def __init__(self, profile: bytes) -> None:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            space = source.profile.xcolor_space.strip()
            if space != "RGB":
                raise InputError(f"is for {space} pixels, not RGB")
            self._transform = ImageCms.buildTransform(
                source,
                ImageCms.createProfile("sRGB"),
                "RGB",
                "RGB",
                ImageCms.Intent(ImageCms.getDefaultIntent(source)),
                ImageCms.Flags.NOCACHE,  # the cache of the last colour is what threads would trip over
            )
        except (OSError, ImageCms.PyCMSError) as error:
            raise InputError(one_line(error)) from error

    def __call__(self, region: Image) -> Image:
        """Convert (height, width, 3 or 4) uint8; the fourth channel, alpha, stays as it is."""
        converted = region.copy() if region.shape[2] == 4 else np.empty_like(region)
        rows = max(1, _BAND // region.shape[1])
        for top in range(0, region.shape[0], rows):
            band = PillowImage.fromarray(np.ascontiguousarray(region[top : top + rows, :, :3]))
            ImageCms.applyTransform(band, self._transform, inPlace=True)
            converted[top : top + rows, :, :3] = np.asarray(band)
        return converted
