"""Labelled images of one size, as every augmenter takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hdgan.labels import Image
from hdgan.lazy import LazyMapping
from hdgan.provenance import digest
from tiling.errors import InputError
from tiling.wording import counted, first_few

Indices = npt.NDArray[np.int64]
LEAST, MOST = 16, 1024
"""Edges of the smallest and the largest images that augmenters take, px."""
MOST_CLASSES = 1000

_AT_ONCE = 1024


@runtime_checkable
class Pixels(Protocol):
    """Images (N, H, W, C): an array, or what is read when it is indexed like one."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, C)."""

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """uint8."""

    def __getitem__(self, indices: Indices, /) -> Image:
        """Some images, (n, H, W, C) uint8."""


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Square images with their classes.

    Attributes
    ----------
    pixels
        (N, H, H, C) uint8 with 1 (grey) or 3 (RGB) channels: an array, or what is indexed like one.
    labels
        (N,) int64: the place of each image's class.
    classes
        Their names.
    licence
        Of the images, where it is known.

    Raises
    ------
    InputError
        For images of another shape or type, labels that are none, and numbers of the two that differ.

    Examples
    --------
    >>> images = LabelledImages(np.zeros((2, 28, 28, 1), np.uint8), np.array([0, 1]), ("normal", "pneumonia"))
    >>> images.counts
    {'normal': 1, 'pneumonia': 1}
    """

    pixels: Pixels
    labels: Indices
    classes: tuple[str, ...]
    licence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_pixels(self.pixels)
        labels = np.asarray(self.labels)
        if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
            raise InputError(f"labels must be (N,) whole numbers, not {labels.shape} {labels.dtype}")
        if len(labels) != self.pixels.shape[0]:
            raise InputError(f"{self.pixels.shape[0]} images have {len(labels)} labels; each image needs one")
        check_classes(self.classes)
        outside = np.flatnonzero((labels < 0) | (labels >= len(self.classes)))
        if len(outside):
            raise InputError(
                f"image {outside[0]} has label {labels[outside[0]]}, and so are {len(outside)} of {len(labels)} out of "
                f"range: labels of {counted(len(self.classes), 'class', 'classes')} are 0 to {len(self.classes) - 1}"
            )
        object.__setattr__(self, "labels", labels.astype(np.int64))
        object.__setattr__(self, "classes", tuple(self.classes))

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in self.counts.items())
        return f"LabelledImages({' x '.join(map(str, self.pixels.shape))}: {counts})"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of an image."""
        _, height, width, channels = self.pixels.shape
        return height, width, channels

    @property
    def counts(self) -> dict[str, int]:
        """Images of each class."""
        tally = np.bincount(self.labels, minlength=len(self.classes)).tolist()
        return dict(zip(self.classes, tally, strict=True))

    def fingerprint(self) -> str:
        """Of pixels and labels: all pixels are read for it."""
        both = digest({"labels": self.labels}) + fingerprint_of(self.pixels)
        return hashlib.sha256(both.encode()).hexdigest()

    def subset(self, indices: Sequence[int] | Indices) -> LabelledImages:
        """Those of the given places, in the given order, read into memory."""
        chosen = np.asarray(indices, np.int64)
        return LabelledImages(self.pixels[chosen], self.labels[chosen], self.classes, self.licence)

    def joined(self, other: LabelledImages) -> LabelledImages:
        """These and others of the same classes and size, in memory."""
        if other.classes != self.classes or other.shape != self.shape:
            raise InputError(
                f"images of {self.shape} of {', '.join(self.classes)} cannot be joined with images of {other.shape} of "
                f"{', '.join(other.classes)}"
            )
        pixels = np.concatenate([each.pixels[np.arange(len(each))] for each in (self, other)])
        licence = tuple(sorted({*self.licence, *other.licence}))
        return LabelledImages(pixels, np.concatenate([self.labels, other.labels]), self.classes, licence)

    def require_classes(self) -> None:
        """An :class:`InputError` unless there are images of two classes or more, and of each that is named."""
        if empty := [name for name, count in self.counts.items() if not count]:
            raise InputError(
                f"of the {len(self)} images here none is of {first_few(empty)}: number classes from 0 and leave none "
                "out, or bring images of it, to this part, too, where others have some"
            )
        if len(self.classes) < 2:
            raise InputError(f"all {len(self)} images are of one class, {self.classes[0]}: two are needed at least")

    def require_batch(self, batch: int) -> None:
        """An :class:`InputError` unless there are as many images as a batch takes."""
        if len(self) < batch:
            smaller = f"take a smaller one, such as batch={max(len(self) // 2, 2)}"
            raise InputError(f"{len(self)} images are fewer than a batch of {batch}: {smaller}")


def check_classes(classes: Sequence[object]) -> None:
    """An :class:`InputError` unless there are names of classes, each once, and not too many."""
    if not 0 < len(classes) <= MOST_CLASSES:
        raise InputError(f"there are {len(classes)} classes, and 1 to {MOST_CLASSES} are taken")
    if not all(isinstance(name, str) for name in classes) or len(set(classes)) < len(classes):
        raise InputError(f"classes must be names, each once, not {first_few([str(name) for name in classes])}")


def check_pixels(pixels: object, *, most: int = MOST) -> None:
    """An :class:`InputError` unless these are images (N, H, H, 1 or 3) uint8 of an edge up to `most` px."""
    if not isinstance(pixels, Pixels):
        raise InputError(f"images must be an array (N, H, W, C) uint8, not {type(pixels).__name__}")
    if pixels.dtype != np.uint8:
        isnan = isinstance(pixels, np.ndarray) and np.issubdtype(pixels.dtype, np.floating) and np.isnan(pixels).any()
        nan = ", and some of its values are not numbers (NaN)" if isnan else ""
        raise InputError(f"images must be uint8, 0 to 255, and these are {pixels.dtype}{nan}: convert them")
    shape = pixels.shape
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise InputError(f"images must be (N, H, W, 1) or (N, H, W, 3), not {shape}; grey ones take a last axis of 1")
    if shape[1] != shape[2] or not LEAST <= shape[1] <= most:
        raise InputError(f"images must be squares of {LEAST} to {most} px, not {shape[1]} x {shape[2]} px")
    if not shape[0]:
        raise InputError("there is no image")


def fingerprint_of(pixels: Pixels) -> str:
    """SHA-256 in hex of images, read some at a time."""
    count = pixels.shape[0]
    starts = range(0, count, _AT_ONCE)
    return digest(LazyMapping(starts, lambda at: pixels[np.arange(at, min(at + _AT_ONCE, count))]))
