"""Pictures in files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage
from PIL import UnidentifiedImageError

from hdgan.labels import Image
from tiling.errors import InputError
from tiling.files import write_bytes


def png_bytes(image: Image) -> bytes:
    """A picture (H, W, 3) or (H, W) uint8 as the bytes of a PNG."""
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def write_png(path: Path, image: Image) -> None:
    """Write a picture (H, W, 3) or (H, W) uint8, atomically."""
    write_bytes(path, png_bytes(image))


def read_image(path: Path) -> Image:
    """(H, W, 3) uint8 of an image file."""
    try:
        with PillowImage.open(path) as image:
            return np.array(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"cannot read {path} as an image: {error}") from error
