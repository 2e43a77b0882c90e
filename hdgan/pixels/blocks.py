"""Label maps in compressed blocks, and the native features of some blocks in memory."""

from __future__ import annotations

import math
import weakref
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hdgan.features import Features
from hdgan.features.patch import Floats, Indices, Patch, block_taps
from hdgan.labels import UNLABELLED, LabelMap
from hdgan.pixels.statistics import Statistics

_ENOUGH = 8192  # pixels that are worth a thread
_ROWS = 2048  # pixels gathered at a time without numba: what they take stays in the processor's cache


@dataclass(frozen=True)
class Place:
    """Where a block lies: index of its image, first row and column."""

    image: int
    y: int
    x: int


class LabelBlocks:
    """The label maps of some images, cut into square blocks.

    A block is kept compressed, some hundred bytes for 128 x 128 px of an expert's annotation, so that 16 maps of
    4096 px take a few MB; maps are read one after the other, once. Blocks without a label are left out.

    Parameters
    ----------
    labels
        {index: (H, W) uint8} with 255 where unlabelled.
    indices
        The images.
    classes
        Number of classes K; pixels of other values count as unlabelled.
    edge
        Of a block, in px; it divides H and W.
    """

    def __init__(self, labels: Mapping[int, LabelMap], indices: Sequence[int], *, classes: int, edge: int) -> None:
        self.edge, self.places = edge, list[Place]()
        self._packed, counts = list[bytes](), list[Indices]()
        for image in indices:
            values = labels[image]
            for y in range(0, values.shape[0], edge):
                for x in range(0, values.shape[1], edge):
                    block = np.ascontiguousarray(values[y : y + edge, x : x + edge])
                    counted = np.bincount(block.ravel(), minlength=classes)[:classes]
                    if counted.any():
                        self.places.append(Place(image, y, x))
                        self._packed.append(zlib.compress(block.tobytes(), 1))
                        counts.append(counted)
        self.counts: npt.NDArray[np.int32] = np.array(counts, np.int32).reshape(-1, classes)
        """(B, K): pixels of every class in every block."""

    def __len__(self) -> int:
        return len(self.places)

    @property
    def memory(self) -> int:
        """Bytes that the compressed labels and the counts take."""
        return sum(map(len, self._packed)) + self.counts.nbytes

    def labels(self, block: int) -> LabelMap:
        """(edge, edge) uint8 of one block; a class beyond the K is there as it was."""
        return np.frombuffer(zlib.decompress(self._packed[block]), np.uint8).reshape(self.edge, self.edge)

    @property
    def position(self) -> type[np.uint16 | np.uint32]:
        """What holds a position in the flattened block."""
        return np.uint16 if self.edge <= 256 else np.uint32

    def by_class(self, block: int) -> npt.NDArray[np.uint16 | np.uint32]:
        """Positions in the flattened block: those of class 0 first, then of class 1, and so on."""
        return np.argsort(self.labels(block), axis=None, kind="stable").astype(self.position)

    def window(self, image: int, y: int, x: int, edge: int) -> LabelMap:
        """(edge, edge) uint8 of a window, 255 where there is no label."""
        result = np.full((edge, edge), UNLABELLED, np.uint8)
        for block, place in enumerate(self.places):
            top, left = place.y - y, place.x - x
            if place.image == image and -self.edge < top < edge and -self.edge < left < edge:
                rows, columns = (slice(max(start, 0), min(start + self.edge, edge)) for start in (top, left))
                source = np.s_[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
                result[rows, columns] = self.labels(block)[source]
        return result


class BlockPool:
    """Some blocks in memory at native resolution, a slot for each; pixels of all of them are gathered at once.

    Native maps are 16 times smaller than upsampled ones, so that millions of pixels are at hand in 256 MiB. Values are
    kept as they are stored. Where numba is missing pixels are gathered by NumPy, some ten times slower.

    Parameters
    ----------
    features, blocks
        What is drawn from, and where there are labels.
    statistics
        To standardise by.
    most_bytes
        What all slots may take.
    least
        Slots that there are in any case, if there are as many blocks.
    """

    def __init__(
        self, features: Features, blocks: LabelBlocks, statistics: Statistics, most_bytes: int, least: int
    ) -> None:
        self._features, self._blocks = features, blocks
        levels = self._patches(0)
        self._shapes = [(*level[0].values.shape[1:], sum(len(patch.values) for patch in level)) for level in levels]
        *self._starts, size = accumulate(map(math.prod, self._shapes), initial=0)
        kind = levels[0][0].values.dtype
        self.slots = min(max(most_bytes // (size * kind.itemsize), least), len(blocks))
        self._values = np.empty((self.slots, size), kind)
        taps, shares = zip(*(block_taps(0, blocks.edge, level[0].scale) for level in levels), strict=True)
        places = np.array([(start, *shape[1:]) for start, shape in zip(self._starts, self._shapes, strict=True)])
        self._layout = places, np.stack(taps), np.stack(shares), -statistics.mean, 1 / statistics.deviation
        self._gather = _gathering(kind)
        self._returned = list[Floats]()
        self.held = np.full(self.slots, -1, np.int64)
        """(slots,): which block is in which slot; -1 for none."""
        self.by_class = np.zeros((self.slots, blocks.edge**2), blocks.position)
        """Positions of every slot's block in the order of their classes."""
        self.labels = np.zeros((self.slots, blocks.edge**2), np.uint8)

    def hold(self, wanted: Indices) -> None:
        """Put block `wanted[slot]` into every slot, those that are there already excepted."""
        changed = np.flatnonzero(self.held != wanted)
        for slot in changed[np.argsort(wanted[changed], kind="stable")].tolist():  # image by image
            block = int(wanted[slot])
            self.by_class[slot], self.labels[slot] = self._blocks.by_class(block), self._blocks.labels(block).ravel()
            for start, shape, level in zip(self._starts, self._shapes, self._patches(block), strict=True):
                target = self._values[slot, start : start + math.prod(shape)].reshape(shape)
                np.concatenate([np.moveaxis(patch.values, 0, 2) for patch in level], axis=2, out=target)
            self.held[slot] = block

    def gather(self, slots: Indices, positions: Indices) -> Floats:
        """(n, C) float32: the standardised features of pixels, by slot and position (n,) int64."""
        result = self._rows(len(slots))
        order = np.argsort(slots * self._blocks.edge**2 + positions)  # neighbours share native pixels in the cache
        values = self._values.view(np.uint16) if self._values.dtype == np.float16 else self._values

        def gather(rows: Indices) -> None:
            self._gather(values, slots, positions, rows, *self._layout, result)

        pieces = np.array_split(order, min(torch.get_num_threads(), len(order) // _ENOUGH + 1))
        if len(pieces) == 1:
            gather(order)
        else:
            with ThreadPoolExecutor(len(pieces)) as threads:
                list(threads.map(gather, pieces))
        return result

    def _rows(self, count: int) -> Floats:
        """(count, C) float32, in memory of earlier ones that nothing refers to any more.

        The system's pages are worth it: new ones, all zeros, take as long as what is written to them.
        """
        size = count * self._features.channels
        memory = self._returned.pop() if self._returned else np.empty(size, np.float32)
        if len(memory) != size:
            memory = np.empty(size, np.float32)
        lent = np.frombuffer(memory.data, np.float32)  # what all views of it refer to
        weakref.finalize(lent, self._returned.append, memory).atexit = False
        return lent.reshape(count, -1)

    def _patches(self, block: int) -> list[list[Patch]]:
        """The patches of a block, those of one scale together."""
        place, edge = self._blocks.places[block], self._blocks.edge
        patches = self._features.patch(place.image, y=place.y, x=place.x, h=edge, w=edge)
        return _by_scale(patches.values())


def _by_scale(patches: Iterable[Patch]) -> list[list[Patch]]:
    levels: dict[int, list[Patch]] = {}
    for patch in patches:
        levels.setdefault(patch.scale, []).append(patch)
    return list(levels.values())


def _gathering(kind: np.dtype[Any]) -> Callable[..., None]:
    """How pixels are gathered of values of this kind: compiled, where that is possible."""
    if find_spec("numba") is not None:
        from hdgan.pixels import kernels

        if kernels.HALVES or kind != np.float16:
            return kernels.gather_pixels
    return gather_uncompiled


def gather_uncompiled(
    values: npt.NDArray[Any],
    slots: Indices,
    positions: Indices,
    order: Indices,
    levels: Indices,
    taps: Indices,
    shares: Floats,
    shift: Floats,
    factor: Floats,
    features: Floats,
) -> None:
    """What :func:`hdgan.pixels.kernels.gather_pixels` does, in pieces that stay in the cache."""
    numbers = values.view(np.float16) if values.dtype == np.uint16 else values
    for rows in np.split(order, range(_ROWS, len(order), _ROWS)):
        slot, (y, x) = slots[rows], np.divmod(positions[rows], taps.shape[1])
        parts = []
        for (start, columns, channels), tap, share in zip(levels, taps, shares, strict=True):
            pixels = numbers[:, start : start + (tap.max() + 1) * columns * channels]
            native = pixels.reshape(len(values), -1, channels)
            parts.append(np.zeros((len(rows), channels), np.float32))
            for i, j in np.ndindex(2, 2):
                parts[-1] += native[slot, tap[y, i] * columns + tap[x, j]] * (share[y, i] * share[x, j])[:, None]
        features[rows] = (np.concatenate(parts, axis=1) + shift) * factor
