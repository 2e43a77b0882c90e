"""Training batches: crops of labelled images, each drawn from its own key, so that any step can be made again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from hdgan.labels import UNLABELLED, ClassList, Image, LabelMap
from tiling.errors import InputError
from tiling.progress import track
from tiling.wording import counted

_STAIN_SPREAD = 0.12  # standard deviation of the logarithm of each channel's optical density
_BRIGHTNESS_SPREAD = 0.04
_NOISE = 3.0  # largest standard deviation of pixel noise, grey values


class LabelledImages(Protocol):
    """Image-mask pairs by index: (H, W, 3) uint8 and (H, W) uint8, sizes may differ. A list of tuples is one."""

    def __len__(self) -> int:
        """How many pairs there are."""

    def __getitem__(self, index: int, /) -> tuple[Image, LabelMap]:
        """Read one pair."""


@dataclass(frozen=True)
class Survey:
    """What one look at all pairs tells."""

    present: npt.NDArray[np.bool_]
    """(N, K): whether image n has pixels of class k."""

    fingerprint: str
    """SHA-256 of all pixels and labels, in hex."""


def survey(pairs: LabelledImages, classes: ClassList, *, crop: int) -> Survey:
    """Check every pair and note which classes it has.

    Raises
    ------
    InputError
        When there is no pair or no label at all, or a pair has a wrong shape or type, an unknown class, or is
        smaller than a crop.
    """
    digest = hashlib.sha256()
    present = np.zeros((len(pairs), len(classes)), bool)
    for index in track(range(len(pairs)), "reading pairs"):
        image, labels = pairs[index]
        _check(index, image, labels, classes, crop)
        digest.update(repr(image.shape).encode() + np.ascontiguousarray(image).data + np.ascontiguousarray(labels).data)
        present[index] = np.bincount(labels.ravel(), minlength=256)[: len(classes)] > 0
    if not present.any():
        raise InputError(f"no pixel is labelled in {counted(len(pairs), 'pair')}; there is nothing to learn")
    return Survey(present, digest.hexdigest())


def _check(index: int, image: Image, labels: LabelMap, classes: ClassList, crop: int) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(f"pair {index}: an image is (H, W, 3) uint8, not {image.shape} {image.dtype}")
    if labels.shape != image.shape[:2] or labels.dtype != np.uint8:
        raise InputError(
            f"pair {index}: the labels of a {image.shape[:2]} image are the same shape of uint8, "
            f"not {labels.shape} {labels.dtype}"
        )
    if min(labels.shape) < crop:
        raise InputError(f"pair {index} is {labels.shape[1]} x {labels.shape[0]} px, smaller than a crop of {crop} px")
    unknown = [int(value) for value in np.unique(labels) if len(classes) <= value < UNLABELLED]
    if unknown:
        raise InputError(f"pair {index} has labels {unknown}; expected 0 to {len(classes) - 1}, or {UNLABELLED}")


def draw_crop(
    pairs: LabelledImages, present: npt.NDArray[np.bool_], generator: np.random.Generator, *, crop: int, balanced: bool
) -> tuple[Image, LabelMap]:
    """A crop (crop, crop, 3) with its labels, turned, mirrored and recoloured at random.

    Balanced, a class that occurs is drawn first, then an image that has it, then one of its pixels for the crop to
    contain; otherwise the image and the place are uniform over all.
    """
    if balanced:
        wanted = int(generator.choice(np.flatnonzero(present.any(axis=0))))
        image, labels = pairs[int(generator.choice(np.flatnonzero(present[:, wanted])))]
        pixels = np.flatnonzero(labels == wanted)
        anchor = divmod(int(pixels[generator.integers(len(pixels))]), labels.shape[1])
        places = [int(a) - int(generator.integers(crop)) for a in anchor]
        y, x = (min(max(place, 0), side - crop) for place, side in zip(places, labels.shape, strict=True))
    else:
        image, labels = pairs[int(generator.integers(len(pairs)))]
        y, x = (int(generator.integers(side - crop + 1)) for side in labels.shape)
    image, labels = image[y : y + crop, x : x + crop], labels[y : y + crop, x : x + crop]
    turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    image, labels = np.rot90(image, turns), np.rot90(labels, turns)
    if mirrored:
        image, labels = image[:, ::-1], labels[:, ::-1]
    return recolour(image, generator), labels


def recolour(image: Image, generator: np.random.Generator) -> Image:
    """Vary stain, brightness and noise a little.

    A power of the transmitted light scales its optical density, which is what more or less of a stain does
    (Beer-Lambert), and leaves white white.
    """
    powers = np.exp(generator.normal(0, _STAIN_SPREAD, 3))
    gain = 1 + generator.normal(0, _BRIGHTNESS_SPREAD)
    table = 255 * gain * (np.arange(256)[:, None] / 255) ** powers
    varied = table[image, np.arange(3)].astype(np.float32)
    varied += generator.standard_normal(image.shape, np.float32) * np.float32(generator.uniform(0, _NOISE))
    recoloured: Image = np.clip(np.rint(varied), 0, 255).astype(np.uint8)
    return recoloured
