"""Masks as PNG: class indices (grey or palette), or a picture in exactly the classes' colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngImageFile

from hdgan.labels import UNLABELLED, ClassList, LabelMap
from hdgan.pictures import png_bytes
from tiling.errors import InputError
from tiling.png import open_png
from tiling.wording import first_few

_IHDR_BIT_DEPTH = 24  # offset of the bit depth in a PNG file
_EXPECTED = "expected an 8-bit grey or palette PNG of class indices, or an RGB(A) PNG in the classes' colours"


def read_indexed_png(path: Path, /, *, shape: tuple[int, int] | None, classes: ClassList) -> LabelMap:
    """Read a mask PNG; called like :func:`hdgan.annotations.read_mask`, and with a `shape` of None for any size.

    A grey PNG holds class indices, 255 for unlabelled. So does a palette PNG, unless its palette is the classes'
    colours in another order, as image editors leave them behind: then the colours count. In an RGB(A) PNG every
    pixel has exactly the colour of a class, or is unlabelled: black (where no class is), or fully transparent.
    """
    with open_png(path) as picture:
        # Compared before anything is decoded: the expected size is what guards against decompression bombs.
        if shape is not None and picture.size != shape[::-1]:
            raise InputError(
                f"{path} is {picture.width} x {picture.height} px (width x height), and the image it labels is "
                f"{shape[1]} x {shape[0]} px; export the mask at the image's full size"
            )
        picture.load()
        return _labels(picture, _bit_depth(path), path, classes)


def _labels(picture: PngImageFile, bit_depth: int, path: Path, classes: ClassList) -> LabelMap:
    if picture.mode == "P":
        return _from_palette(picture, path, classes)
    if picture.mode == "L" and bit_depth == 8:  # Pillow stretches 2- and 4-bit greys to 0..255
        return _checked(np.array(picture), path, classes)
    if picture.mode in ("RGB", "RGBA"):
        return _from_colours(np.array(picture.convert("RGBA")), path, classes)
    raise InputError(f"{path} is a {bit_depth}-bit PNG of mode {picture.mode}; {_EXPECTED}")


def _bit_depth(path: Path) -> int:
    with path.open("rb") as file:
        file.seek(_IHDR_BIT_DEPTH)
        return file.read(1)[0]


def _from_palette(picture: PngImageFile, path: Path, classes: ClassList) -> LabelMap:
    indices = np.array(picture)
    palette = np.zeros((256, 3), np.uint8)
    stored = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    palette[: len(stored)] = stored
    used = np.unique(indices)
    by_colour = _value_of_colour(classes)
    colours = [(int(red), int(green), int(blue)) for red, green, blue in palette[used]]
    as_indices = np.array_equal(palette[used], classes.colour_table()[used])
    if as_indices or len(by_colour) <= len(classes) or not all(colour in by_colour for colour in colours):
        return _checked(indices, path, classes)
    values = np.zeros(256, np.uint8)
    values[used] = [by_colour[colour] for colour in colours]
    labels: LabelMap = values[indices]
    return labels


def _from_colours(rgba: npt.NDArray[np.uint8], path: Path, classes: ClassList) -> LabelMap:
    if len({c.colour for c in classes}) < len(classes):
        raise InputError(f"{path} is in colour, and two classes share one; give the classes different colours")
    packed = rgba[..., :3].astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    labels = np.full(packed.shape, UNLABELLED, np.uint8)
    unknown = rgba[..., 3] > 0
    for (red, green, blue), value in _value_of_colour(classes).items():
        of_colour = unknown & (packed == (red << 16 | green << 8 | blue))
        labels[of_colour] = value
        unknown &= ~of_colour
    if unknown.any():
        y, x = (int(place[0]) for place in np.nonzero(unknown))
        known = ", ".join(f"{c.name} {c.colour}" for c in classes)
        raise InputError(
            f"{path} has the colour {tuple(rgba[y, x, :3].tolist())} at x {x}, y {y}, which is no class's; "
            f"the classes' are: {known}"
        )
    return labels


def _value_of_colour(classes: ClassList) -> dict[tuple[int, int, int], int]:
    """Label value of each colour; shorter than classes and unlabelled together where two share a colour."""
    return {(0, 0, 0): UNLABELLED} | {c.colour: index for index, c in enumerate(classes)}


def _checked(indices: LabelMap, path: Path, classes: ClassList) -> LabelMap:
    unknown = [str(value) for value in np.unique(indices) if len(classes) <= value < UNLABELLED]
    if unknown:
        raise InputError(
            f"{path} holds {first_few(unknown)} as class index; allowed are 0 to {len(classes) - 1} "
            f"({', '.join(classes.names)}), and {UNLABELLED} for unlabelled: relabel those pixels, or list their class "
            "in a classes.json and give it with --classes"
        )
    return indices


def encode_indexed_png(labels: LabelMap, classes: ClassList) -> bytes:
    """A label map (H, W) uint8 as the bytes of a palette PNG: indices for programs, the classes' colours for eyes."""
    picture = PillowImage.fromarray(labels)
    picture.putpalette(classes.colour_table().tobytes())
    return png_bytes(picture)
