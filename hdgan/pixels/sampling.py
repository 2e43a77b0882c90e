"""Random labelled pixels with their features, in bounded memory."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hdgan.features import Features
from hdgan.features.patch import Floats, Indices
from hdgan.labels import LabelMap
from hdgan.pixels.blocks import BlockPool, LabelBlocks
from hdgan.pixels.statistics import Statistics
from tiling.errors import InputError
from training.draws import numpy_draws
from training.stream import prefetch

_EDGE = 128  # px of a block
_TAKEN = 1 / 4  # of a block's pixels, as many are drawn before another takes its place
_REMEMBERED = 4096  # draws of blocks


@dataclass(frozen=True)
class Noise:
    """With this probability a pixel's standardised features get normal noise of this deviation."""

    probability: float
    deviation: float


@dataclass(frozen=True, eq=False)
class Draw:
    """Which pixels were drawn: arrays (n,) of store index, row, column and label."""

    image: Indices
    y: Indices
    x: Indices
    label: Indices


class PixelSampler:
    """Draws labelled pixels with replacement, balanced by class or as they come.

    Batches are drawn from blocks of 128 x 128 px that are in memory at native resolution, some 256 of 496 channels. If
    there are no more, all are held, and pixels drawn independently of each other. Else every class has its share of the
    slots that hold blocks. A slot's block comes with a probability proportional to the pixels of the class in it,
    and its pixels are drawn among these, so that all pixels of a class are equally probable. Of the class's blocks,
    image by image, each slot has its own part, so that the blocks in memory are at any time from everywhere, and goes
    through it evenly. When as many pixels were drawn as are a quarter of a block, or in a short training so few that
    about every block comes by, another takes its place; slots change in turn, a few with each batch.

    Parameters
    ----------
    store
        The features.
    labels
        {index: (H, W) uint8} with 255 where unlabelled; each is read once and not kept.
    indices
        The images to draw from.
    classes
        Number of classes K.
    balanced
        Every class that occurs is equally probable; else every labelled pixel is.
    statistics
        Standardise the features by these.
    pool_bytes
        What the blocks in memory may take; batches that are made ahead come on top.
    """

    def __init__(
        self,
        store: Features,
        labels: Mapping[int, LabelMap],
        indices: Sequence[int],
        *,
        classes: int,
        balanced: bool,
        statistics: Statistics,
        pool_bytes: int = 2**28,
    ) -> None:
        self._store, self._pool_bytes = store, pool_bytes
        edge = min(max(_EDGE, 2 ** (len({layer.split(".")[0] for layer in store.layers}) - 1)), store.shape[0])
        self._blocks = LabelBlocks(labels, indices, classes=classes, edge=edge)
        if not len(self._blocks):
            raise InputError(f"no pixel is labelled in images {list(indices)}")
        # Strata: the classes that occur; or all labelled pixels, whose positions by class begin with class 0.
        counts = self._blocks.counts.astype(np.int64)
        self._before = np.cumsum(counts, axis=1) - counts if balanced else np.zeros((len(counts), 1), np.int64)
        self._counts = counts if balanced else counts.sum(axis=1, keepdims=True)
        self._ends = self._counts.cumsum(axis=0)
        self._strata = np.flatnonzero(self._ends[-1])
        self._statistics = statistics
        self._pool: BlockPool | None = None
        self._held_by = functools.lru_cache(_REMEMBERED)(self._draw_block)
        self._lock = threading.Lock()

    @property
    def labelled(self) -> int:
        """Labelled pixels in all images."""
        return int(self._blocks.counts.sum(dtype=np.int64))

    @property
    def memory(self) -> int:
        """Bytes that are held to find pixels: compressed labels and counts, without the features of the pool."""
        return self._blocks.memory + self._counts.nbytes + self._before.nbytes + self._ends.nbytes

    def draw(self, n: int, rng: np.random.Generator) -> Draw:
        """Draw n pixels independently: a class each, then one of its pixels in any image, all equally probable."""
        block, rank = self._draw_ranks(n, rng)
        position, label = np.empty(n, np.int64), np.empty(n, np.int64)
        for b in np.unique(block):
            chosen = np.flatnonzero(block == b)
            position[chosen] = self._blocks.by_class(b)[rank[chosen]]
            label[chosen] = self._blocks.labels(b).ravel()[position[chosen]]
        places = [self._blocks.places[b] for b in block.tolist()]
        y, x = np.divmod(position, self._blocks.edge)
        image, top, left = (np.array([getattr(p, name) for p in places], np.int64) for name in ("image", "y", "x"))
        return Draw(image, top + y, left + x, label)

    def features(self, draw: Draw) -> Floats:
        """(n, C) float32: standardised features of drawn pixels."""
        features = np.empty((len(draw.label), self._store.channels), np.float32)
        for i in np.unique(draw.image):
            chosen = np.flatnonzero(draw.image == i)
            features[chosen] = self._store.pixels(int(i), draw.y[chosen], draw.x[chosen])
        features -= self._statistics.mean
        features /= self._statistics.deviation
        return features

    def batches(
        self, numbers: range, *, size: int, seed: int, total: int | None = None, noise: Noise | None = None
    ) -> Iterator[tuple[Floats, Indices]]:
        """Batches of features (size, C) float32 and labels (size,) int64, in random order, made ahead in a thread.

        A batch, and which blocks are in memory for it, is keyed by the seed and its number: a training that goes on
        sees the same. `total` is how many batches the whole training has, so that it sees blocks from everywhere;
        without it the training is taken to be a long one.
        """
        life = self._life(size, total)
        making = prefetch(lambda k: self._batch(numbers[k], size, seed, life, noise), 0, len(numbers), ahead=2)
        yield from making

    def windows(
        self, numbers: range, *, size: int, edge: int, seed: int, noise: Noise | None = None
    ) -> Iterator[tuple[Floats, LabelMap]]:
        """Batches of dense windows: features (size, C, edge, edge) float32 and labels (size, edge, edge) uint8.

        Around pixels that are drawn as :meth:`draw` does, moved into the image; 255 where unlabelled.

        Raises
        ------
        InputError
            If the windows are larger than the images.
        """
        if not 1 <= edge <= min(self._store.shape):
            raise InputError(f"windows have 1 to {min(self._store.shape)} px, the images' edge, not {edge}")
        making = prefetch(lambda k: self._dense(numbers[k], size, edge, seed, noise), 0, len(numbers), ahead=2)
        yield from making

    def _dense(self, number: int, size: int, edge: int, seed: int, noise: Noise | None) -> tuple[Floats, LabelMap]:
        rng = numpy_draws(seed, "windows", number)
        draw = self.draw(size, rng)
        features = np.empty((size, self._store.channels, edge, edge), np.float32)
        labels = np.empty((size, edge, edge), np.uint8)
        corners = (np.clip(at - edge // 2, 0, self._store.shape[0] - edge).tolist() for at in (draw.y, draw.x))
        for k, (i, y, x) in enumerate(zip(draw.image.tolist(), *corners, strict=True)):
            features[k] = self._store.window(i, y=y, x=x, h=edge, w=edge)
            labels[k] = self._blocks.window(i, y, x, edge)
        features -= self._statistics.mean[:, None, None]
        features /= self._statistics.deviation[:, None, None]
        if noise is not None:
            _add_noise(np.moveaxis(features, 1, 3), noise, rng)
        return features, labels

    def _batch(self, number: int, size: int, seed: int, life: float, noise: Noise | None) -> tuple[Floats, Indices]:
        rng = numpy_draws(seed, "pixels", number)
        with self._lock:
            if self._pool is None:
                self._pool = BlockPool(self._store, self._blocks, self._statistics, self._pool_bytes, len(self._strata))
            pool = self._pool
            if pool.slots == len(self._blocks):
                pool.hold(np.arange(pool.slots))
                slot, rank = self._draw_ranks(size, rng)
            else:
                pool.hold(self._held(pool.slots, number, size, seed, life))
                slot, rank = self._draw_held(pool, size, rng)
            position = pool.by_class[slot, rank].astype(np.int64)
            label = pool.labels[slot, position].astype(np.int64)
            features = pool.gather(slot, position)
        if noise is not None:
            _add_noise(features, noise, rng)
        return features, label

    def _draw_ranks(self, n: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Blocks (n,), and places (n,) in their order of classes, of pixels drawn independently."""
        stratum = self._strata[rng.integers(0, len(self._strata), n)]
        rank = rng.integers(0, self._ends[-1, stratum])
        block = np.empty(n, np.int64)
        for t in self._strata:
            chosen = stratum == t
            block[chosen] = np.searchsorted(self._ends[:, t], rank[chosen], side="right")
        in_block = rank - (self._ends[block, stratum] - self._counts[block, stratum])
        return block, self._before[block, stratum] + in_block

    def _stratum_of(self, slots: int) -> Indices:
        """(slots,): whose blocks each slot holds, in equal parts."""
        return self._strata[np.arange(slots) * len(self._strata) // slots]

    def _life(self, size: int, total: int | None) -> float:
        """How many pixels are drawn from a block before another takes its place."""
        most = _TAKEN * self._blocks.edge**2
        return most if total is None else min(most, total * size / np.count_nonzero(self._counts))

    def _held(self, slots: int, number: int, size: int, seed: int, life: float) -> Indices:
        """(slots,): the blocks in memory for a batch."""
        batches = max(int(life * slots / size), 1)
        turns = [(number + slot * batches // slots) // batches for slot in range(slots)]
        return np.array([self._held_by(slot, turn, slots, seed) for slot, turn in enumerate(turns)])

    def _draw_block(self, slot: int, turn: int, slots: int, seed: int) -> int:
        """The block that a slot holds at its turn, from its part of the pixels of its class, image by image.

        As many turns as the part has blocks take places at equal distances, in random order; then it begins anew.
        """
        stratum = self._stratum_of(slots)
        t, first, count = stratum[slot], np.searchsorted(stratum, stratum[slot]), np.sum(stratum == stratum[slot])
        round_of = -(-np.count_nonzero(self._counts[:, t]) // count)
        rng = numpy_draws(seed, f"blocks of slot {slot}", turn // round_of)
        in_part = (rng.permutation(round_of)[turn % round_of] + rng.random()) / round_of
        rank = min(int((slot - first + in_part) / count * self._ends[-1, t]), int(self._ends[-1, t]) - 1)
        return int(np.searchsorted(self._ends[:, t], rank, side="right"))

    def _draw_held(self, pool: BlockPool, n: int, rng: np.random.Generator) -> tuple[Indices, Indices]:
        """Slots (n,), and places (n,) in their blocks' order of classes, of pixels drawn from the blocks in memory."""
        of_slots = self._stratum_of(pool.slots)
        drawn = rng.integers(0, len(self._strata), n)
        first = np.searchsorted(of_slots, self._strata)
        last = np.searchsorted(of_slots, self._strata, side="right")
        slot = rng.integers(first[drawn], last[drawn])
        block, stratum = pool.held[slot], of_slots[slot]
        return slot, self._before[block, stratum] + rng.integers(0, self._counts[block, stratum])


def _add_noise(features: Floats, noise: Noise, rng: np.random.Generator) -> None:
    """To some of the pixels (..., C), in place."""
    chosen = np.nonzero(rng.random(features.shape[:-1]) < noise.probability)
    size = (len(chosen[0]), features.shape[-1])
    features[chosen] += rng.standard_normal(size, np.float32) * np.float32(noise.deviation)
