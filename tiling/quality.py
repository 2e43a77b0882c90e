"""What spoils tiles: felt pen on the slide, and blur."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numpy.lib.stride_tricks import sliding_window_view
from scipy import ndimage
from skimage.measure import blur_effect

from tiling.backends.base import Image
from tiling.masks import Mask
from tiling.tissue import has_dark_background

Plane = npt.NDArray[np.float32]

# Inks in HSV (hue in degrees), and the stains that the bounds keep out. They follow the ranges of Eriksson and Hu
# ("Whole-slide image preprocessing in Python", 2018), narrowed where those take trichrome stains for pen.
# Haematoxylin, PAS and eosin have least green of the three channels: a hue above 240. A blue ink has least red.
_BLUE_HUE, _BLUE_SATURATION = (185.0, 238.0), 0.45
_GREEN_HUE, _GREEN_SATURATION = (75.0, 185.0), 0.25  # no stain in use but light green comes near
_RED_HUE, _RED_SATURATION, _RED_VALUE = (345.0, 15.0), 0.75, 0.4  # eosin: 0.3 to 0.6; blood and fuchsin: textured
_COLOURED_VALUE = 0.15  # below, the hue is noise
_BLACK_VALUE, _BLACK_CHROMA = 0.22, 0.08  # silver comes as fine lines; dense nuclei keep their colour

# Ink is a film without structure, in strokes of 1 to 3 mm: what is as blue but has cells and fibres in it is tissue.
_LONGEST = 1024  # px at which this is judged; strokes are then tens of px wide
_RADIUS = 0.004  # of the longest side: half the window for the local deviation, and half a stroke's least width
_SMOOTH, _SMOOTH_GREEN = (
    0.05,
    0.1,
)  # highest standard deviation in that window, of any channel, by the lamp's brightness
_LEAST_AREA = 2e-3  # of the picture
_DIMMEST_LAMP = 0.3  # a picture without any glass is not taken for a dim one beyond this

_PATCH, _STEP = 256, 16  # px: what blur is measured on, and how finely patches are looked at before one is chosen
_PATCHES_ACROSS = 4
_SMALLEST_PATCH = 32  # the measure blurs over 11 px and needs some around them
_LEAST_CONTRAST = 0.02  # standard deviation of what is worth judging; noise on glass has 0.01 at most


def find_pen(thumbnail: Image, *, dark: bool | None = None) -> Mask:
    """Find the marks of blue, green, red and black felt pens on a bright-field slide.

    Ink differs from stain by its colour (saturated blue, green or red, or black) and by being smooth: where the
    colour fits, the local standard deviation must be low over an area as wide and large as a stroke. Each such area
    is then grown to the stroke's rim.

    Parameters
    ----------
    thumbnail
        (h, w, 3) uint8.
    dark
        Whether the background is dark, by default judged by the thumbnail itself; such slides have no visible pen.

    Returns
    -------
    (h, w) bool
    """
    if has_dark_background(thumbnail) if dark is None else dark:
        return np.zeros(thumbnail.shape[:2], bool)
    height, width = thumbnail.shape[:2]
    block = -(-max(height, width) // _LONGEST)
    planes = _block_means(thumbnail, block)
    planes /= max(_DIMMEST_LAMP, float(np.percentile(planes.max(axis=0), 99)))
    radius = max(1, round(_RADIUS * max(planes.shape[1:])))
    ink, green = _ink_coloured(planes)
    deviation = _local_deviation(planes, radius)
    smooth = (ink & (deviation < _SMOOTH)) | (green & (deviation < _SMOOTH_GREEN))
    strokes = _large_parts(ndimage.binary_opening(smooth, _disc(radius)), _LEAST_AREA * ink.size)
    if strokes.any():  # the deviation is high at a stroke's rim too, and the blurred rim is paler
        strokes = ndimage.binary_dilation(strokes, iterations=2 * radius + 1, mask=ink)
    mask: Mask = strokes.repeat(block, axis=0).repeat(block, axis=1)[:height, :width]
    return mask


def blur_score(image: Image) -> float:
    """How blurred a tile is: 0 is sharp, 1 nothing but blur.

    The perceptual measure of Crete et al. (2007), "The blur effect: perception and estimation with a new
    no-reference perceptual blur metric": how little of the differences between neighbouring pixels another blur
    takes away. It is the median over at most 16 patches of 256 px, spread evenly over the tile: of each sixteenth
    of the tile, the patch with most contrast. So tiles of every size compare, if their resolution is the same; one
    of another resolution shows another sharpness. In-focus tissue at 0.25 to 0.5 micrometres per pixel has 0.25 to
    0.5.

    Parameters
    ----------
    image
        (h, w, 3) uint8.

    Returns
    -------
    float
        nan where there is nothing to judge: glass alone, or less than 32 px.
    """
    patch = min(_PATCH, *image.shape[:2])
    if patch < _SMALLEST_PATCH:
        return float("nan")
    scores = [
        float(blur_effect(image[y : y + patch, x : x + patch].mean(axis=-1, dtype=np.float64) / 255))
        for y, x in _patches_to_judge(image, patch)
    ]
    return float(np.median(scores)) if scores else float("nan")


def _patches_to_judge(image: Image, patch: int) -> list[tuple[int, int]]:
    """The upper left corners (y, x) of the patch with most contrast in each part of a tile, where there is one."""
    height, width = image.shape[:2]
    window = patch // _STEP
    samples = sliding_window_view(image[::_STEP, ::_STEP].mean(axis=-1) / 255, (window, window))
    rows, columns = (_starts(length, patch) for length in (height, width))
    contrast = samples[rows[:, None], columns].std(axis=(-2, -1))
    found = []
    for part_of_rows in np.array_split(np.arange(len(rows)), min(_PATCHES_ACROSS, len(rows))):
        for part_of_columns in np.array_split(np.arange(len(columns)), min(_PATCHES_ACROSS, len(columns))):
            part = contrast[part_of_rows[:, None], part_of_columns]
            row, column = np.unravel_index(part.argmax(), part.shape)
            if part[row, column] > _LEAST_CONTRAST:
                found.append((int(rows[part_of_rows[row]]) * _STEP, int(columns[part_of_columns[column]]) * _STEP))
    return found


def _starts(length: int, patch: int) -> npt.NDArray[np.int64]:
    """Where patches begin along an axis, in steps: side by side, the remainder spread between them."""
    count = length // patch
    last = (length - patch) // _STEP
    return np.linspace(last // 2 if count == 1 else 0, last, count).astype(np.int64)


def _block_means(picture: Image, block: int) -> Plane:
    """The picture averaged over blocks of pixels, as (3, h, w) float32 in [0, 1]."""
    height, width = picture.shape[:2]
    padded = np.pad(picture, ((0, -height % block), (0, -width % block), (0, 0)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // block, block, padded.shape[1] // block, block, 3)
    means: Plane = blocks.mean(axis=(1, 3), dtype=np.float32) / 255
    return np.ascontiguousarray(np.moveaxis(means, -1, 0))


def _ink_coloured(planes: Plane) -> tuple[Mask, Mask]:
    """Where the colour is one of an ink, and where it is that of a green one."""
    red, green, blue = planes
    value = planes.max(axis=0)
    chroma = value - planes.min(axis=0)
    saturation = chroma / np.maximum(value, 1e-6)
    unit = 60 / np.maximum(chroma, 1e-6)
    hue = np.where(
        value == red,
        (green - blue) * unit % 360,
        np.where(value == green, 120 + (blue - red) * unit, 240 + (red - green) * unit),
    )
    coloured = value > _COLOURED_VALUE
    is_blue = coloured & _between(hue, _BLUE_HUE) & (saturation > _BLUE_SATURATION)
    is_green = coloured & _between(hue, _GREEN_HUE) & (saturation > _GREEN_SATURATION)
    is_red = ~_between(hue, _RED_HUE[::-1]) & (saturation > _RED_SATURATION) & (value > _RED_VALUE)
    is_black = (value < _BLACK_VALUE) & (chroma < _BLACK_CHROMA)
    return is_blue | is_green | is_red | is_black, is_green


def _between(hue: Plane, bounds: tuple[float, float]) -> Mask:
    inside: Mask = (hue >= bounds[0]) & (hue < bounds[1])
    return inside


def _local_deviation(planes: Plane, radius: int) -> Plane:
    """The standard deviation in a square window around every pixel, the largest of the three channels, (h, w)."""
    window = (0, 2 * radius + 1, 2 * radius + 1)
    mean = ndimage.uniform_filter(planes, window)
    mean_square = ndimage.uniform_filter(planes * planes, window)
    deviation: Plane = np.sqrt(np.maximum(mean_square - mean * mean, 0)).max(axis=0)
    return deviation


def _disc(radius: int) -> Mask:
    y, x = np.ogrid[-radius : radius + 1, -radius : radius + 1]
    disc: Mask = x * x + y * y <= radius * radius + radius
    return disc


def _large_parts(mask: Mask, least: float) -> Mask:
    """The connected parts of at least so many pixels."""
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3), bool))
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    large: Mask = (sizes >= least)[parts]
    return large
