"""Pictures in PNG files, and many of them on one sheet."""

from __future__ import annotations

import io
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from PIL import Image as PillowImage
from PIL import ImageDraw

from hdgan.labels import Image
from tiling.errors import InputError
from tiling.files import write_bytes
from tiling.png import open_png

CLASSES_SHOWN, IMAGES_SHOWN = 12, 8
"""Rows, and images in a row, that suffice on a :func:`row_sheet`."""

_FRAME, _EDGE = (20, 120, 60), (208, 208, 208)
_LEAST_OF_CLASSES = 64  # px: captions have the name of a class


def png_bytes(image: Image | PillowImage.Image) -> bytes:
    """A picture (H, W, 3), (H, W, 1) or (H, W) uint8, or a Pillow image, as the bytes of a PNG."""
    picture = image if isinstance(image, PillowImage.Image) else _as_picture(image)
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def write_png(path: Path, image: Image) -> None:
    """Write a picture (H, W, 3), (H, W, 1) or (H, W) uint8, atomically."""
    write_bytes(path, png_bytes(image))


def read_image(path: Path) -> Image:
    """(H, W, 3) uint8 of a PNG file."""
    with open_png(path) as picture:
        return np.array(picture.convert("RGB"))


class ImageFiles(Sequence[Image]):
    """Images (H, W, 3) uint8 in PNG files, each read when it is asked for and held by nobody."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = paths

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> ImageFiles: ...
    def __getitem__(self, index: int | slice) -> Image | ImageFiles:
        return ImageFiles(self.paths[index]) if isinstance(index, slice) else read_image(self.paths[index])

    def subset(self, indices: Sequence[int]) -> ImageFiles:
        """Those of the given places, in the given order."""
        return ImageFiles([self.paths[index] for index in indices])


def contact_sheet(
    images: Sequence[Image],
    *,
    columns: int = 8,
    captions: Sequence[str] | None = None,
    selected: Collection[int] = (),
    size: int = 128,
) -> Image:
    """Thumbnails with a thin edge in rows, each with its caption below, the selected ones framed.

    Parameters
    ----------
    images
        N images (H, W, 3), (H, W, 1) or (H, W) uint8, read one at a time.
    columns
        Thumbnails in a row.
    captions
        N texts, cut to the width of a thumbnail; the indices when not given.
    selected
        Indices to frame in green.
    size
        Side of a thumbnail, px.

    Returns
    -------
    Image
        (h, w, 3) uint8.
    """
    texts = [str(index) for index in range(len(images))] if captions is None else list(captions)
    if len(texts) != len(images) or not len(images):
        raise InputError(f"a contact sheet needs images, each with a caption: got {len(images)} and {len(texts)}")
    if columns < 1 or size < 8:
        raise InputError(f"a contact sheet needs columns >= 1 and size >= 8, not {columns} and {size}")
    gap, text_height = 6, 14
    columns = min(columns, len(images))
    step_x, step_y = size + 2 * gap, size + 2 * gap + text_height
    rows = -(-len(images) // columns)
    sheet = PillowImage.new("RGB", (columns * step_x, rows * step_y), "white")
    draw = ImageDraw.Draw(sheet)
    for index, text in enumerate(texts):
        x, y = index % columns * step_x, index // columns * step_y
        if index in selected:
            draw.rectangle((x + 1, y + 1, x + step_x - 2, y + size + 2 * gap - 2), fill=_FRAME)
        thumbnail = _as_picture(images[index]).resize((size, size), PillowImage.Resampling.BOX)
        draw.rectangle((x + gap - 1, y + gap - 1, x + gap + size, y + gap + size), outline=_EDGE)
        sheet.paste(thumbnail, (x + gap, y + gap))
        draw.text((x + gap, y + size + 2 * gap), _cut(draw, text, size + gap), fill="black")
    return np.array(sheet)


def row_sheet(rows: Sequence[tuple[Sequence[Image], Sequence[str]]], *, size: int) -> Image:
    """A contact sheet by rows, of a class each for instance, however many images are in each.

    Parameters
    ----------
    rows
        Of each one image or more, and their captions, as of :func:`contact_sheet`.
    size
        Edge of the images, px; thumbnails are of 64 px at least.

    Returns
    -------
    Image
        (h, w, 3) uint8, as wide as the longest row.
    """
    thumbnail = max(size, _LEAST_OF_CLASSES)
    sheets = [contact_sheet(images, columns=len(images), captions=texts, size=thumbnail) for images, texts in rows]
    width = max(sheet.shape[1] for sheet in sheets)
    filled = [np.pad(sheet, ((0, 0), (0, width - sheet.shape[1]), (0, 0)), constant_values=255) for sheet in sheets]
    return np.concatenate(filled)


def _as_picture(image: Image) -> PillowImage.Image:
    return PillowImage.fromarray(image[..., 0] if image.shape[2:] == (1,) else image)


def _cut(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    """A text, or so much of its beginning as fits into a width in px."""
    shorter = (f"{text[:end]}..." for end in range(len(text) - 1, 0, -1))
    return next((each for each in (text, *shorter) if draw.textbbox((0, 0), each)[2] <= width), "")
