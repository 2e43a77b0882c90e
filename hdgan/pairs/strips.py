"""A pair as it is made: a strip of rows at a time, so that none is ever whole; and what is learnt of it on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.labels import Image, LabelMap

HalfMap = npt.NDArray[np.float16]
_HALVES = 1 << 15  # bit patterns of the float16 numbers from 0 up: as whole numbers they are in the same order


@dataclass(frozen=True, eq=False)
class Strip:
    """Some whole rows of a pair.

    Attributes
    ----------
    image
        (h, W, 3) uint8.
    mask
        (h, W) uint8, class indices.
    uncertainty
        (h, W) float16, in nats.
    """

    image: Image
    mask: LabelMap
    uncertainty: HalfMap

    @classmethod
    def empty(cls, height: int, width: int) -> Strip:
        """Rows to be filled in."""
        shape = (height, width)
        return cls(np.empty((*shape, 3), np.uint8), np.empty(shape, np.uint8), np.empty(shape, np.float16))

    @classmethod
    def joined(cls, parts: Sequence[Strip]) -> Strip:
        """Strips that follow each other, as one."""
        if len(parts) == 1:
            return parts[0]
        image, mask, uncertainty = zip(*(part.arrays for part in parts), strict=True)
        return cls(np.concatenate(image), np.concatenate(mask), np.concatenate(uncertainty))

    @property
    def arrays(self) -> tuple[Image, LabelMap, HalfMap]:
        """Image, mask and uncertainty."""
        return self.image, self.mask, self.uncertainty

    def rows(self, start: int, stop: int | None = None) -> Strip:
        """Some of the rows, as a view."""
        return Strip(self.image[start:stop], self.mask[start:stop], self.uncertainty[start:stop])

    def __len__(self) -> int:
        return len(self.mask)


def banded(strips: Iterable[Strip], height: int) -> Iterator[Strip]:
    """The same rows in strips of this height, whatever that of the given ones; the last may be lower."""
    parts: list[Strip] = []
    missing = height
    for strip in strips:
        while len(strip) >= missing:
            yield Strip.joined([*parts, strip.rows(0, missing)])
            strip, parts, missing = strip.rows(missing), [], height
        if len(strip):
            parts.append(strip)
            missing -= len(strip)
    if parts:
        yield Strip.joined(parts)


class TopTenth:
    """The mean over the most uncertain tenth of some pixels, in nats (Zhang et al. 2021, section 3.2).

    Pixels are counted by their value, of which half precision has few: so it is exact for a map as it is kept, in
    memory that does not grow with it. The map itself is within 0.05% of the ensemble's float32.
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_HALVES, np.int64)

    def add(self, values: HalfMap) -> None:
        """Take some pixels, of any shape."""
        bits = np.abs(values).view(np.uint16).ravel()  # -0 is 0
        self._counts += np.bincount(bits, minlength=_HALVES)

    @property
    def mean(self) -> float:
        """Of the pixels so far."""
        left = wanted = max(int(self._counts.sum()) // 10, 1)
        total = 0.0
        for bits in np.flatnonzero(self._counts)[::-1].tolist():
            taken = min(left, int(self._counts[bits]))
            total += taken * float(np.uint16(bits).view(np.float16))
            left -= taken
            if not left:
                break
        return total / wanted


class Tally:
    """What is learnt of a pair while its strips go by, in memory that does not grow with it.

    Parameters
    ----------
    classes
        How many there are.
    size
        Edge of the image, px.
    thumbnail
        Edge that the image is averaged down to, px; must divide `size`. None: not at all.
    """

    def __init__(self, classes: int, size: int, *, thumbnail: int | None = None) -> None:
        self._labels = np.zeros(classes, np.int64)
        self._uncertainty = TopTenth()
        self._sums = None if thumbnail is None else np.zeros((thumbnail, thumbnail, 3), np.uint32)
        self._size, self._row = size, 0

    def watch(self, strips: Iterable[Strip]) -> Iterator[Strip]:
        """Pass strips on, from the first row to the last."""
        for strip in strips:
            self._labels += np.bincount(strip.mask.ravel(), minlength=len(self._labels))
            self._uncertainty.add(strip.uncertainty)
            self._add_to_thumbnail(strip.image)
            yield strip

    @property
    def fractions(self) -> tuple[float, ...]:
        """Share of the pixels of each class."""
        return tuple((self._labels / self._labels.sum()).tolist())

    @property
    def score(self) -> float:
        """How uncertain the mask is: see :class:`TopTenth`."""
        return self._uncertainty.mean

    @property
    def thumbnail(self) -> Image | None:
        """(t, t, 3) uint8: the image averaged down by area."""
        if self._sums is None:
            return None
        area = (self._size // len(self._sums)) ** 2
        return ((self._sums + area // 2) // area).astype(np.uint8)

    def _add_to_thumbnail(self, rows: Image) -> None:
        if self._sums is not None:
            edge, scale = len(self._sums), self._size // len(self._sums)
            across = rows.reshape(len(rows), edge, scale, 3).sum(axis=2, dtype=np.uint32)
            np.add.at(self._sums, np.arange(self._row, self._row + len(rows)) // scale, across)
        self._row += len(rows)


def image_score(uncertainty: npt.NDArray[np.floating[Any]]) -> float:
    """The score of an uncertainty map that is there as a whole: see :class:`TopTenth`."""
    tenth = TopTenth()
    tenth.add(uncertainty.astype(np.float16))
    return tenth.mean
