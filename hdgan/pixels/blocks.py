"""Label maps in compressed blocks, and the native features of some blocks in memory."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from hdgan.features import Features
from hdgan.features.patch import Floats, Indices, Patch, taps
from hdgan.labels import UNLABELLED, LabelMap
from hdgan.pixels.statistics import Statistics

_ROWS = 2048  # pixels gathered at a time: what they take stays in the processor's cache


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

    def by_class(self, block: int) -> npt.NDArray[np.uint16]:
        """Positions in the flattened block: those of class 0 first, then of class 1, and so on."""
        return np.argsort(self.labels(block), axis=None, kind="stable").astype(np.uint16)

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


class _Level:
    """The layers of one scale, of all slots: a table (slots x pixels, C), and the taps of every position of a block."""

    def __init__(self, patches: Sequence[Patch], slots: int, edge: int) -> None:
        scale, (_, height, width) = patches[0].scale, patches[0].values.shape
        type_ = torch.float16 if patches[0].values.dtype == np.float16 else torch.float32
        self.area, self.channels = height * width, sum(len(patch.values) for patch in patches)
        self.table = torch.empty(slots * self.area, self.channels, dtype=type_)
        lower, _, weight = taps(np.arange(edge), scale)
        lower = lower + (scale > 1)  # a patch begins one pixel before the block
        offsets = torch.from_numpy(lower[:, None] * width + lower).flatten()
        self.interpolates = scale > 1
        self.offsets = (offsets[:, None] + torch.tensor([0, 1, width, width + 1])).int() if scale > 1 else offsets.int()
        single = torch.from_numpy(np.stack([1 - weight, weight], axis=1))
        self.weights = torch.einsum("ya,xb->yxab", single, single).reshape(-1, 4).to(type_)

    def load(self, slot: int, patches: Sequence[Patch], statistics: tuple[Tensor, Tensor]) -> None:
        """Standardise a block's patches into a slot; statistics are factor and shift, of these layers' channels."""
        rows, first = self.table[slot * self.area : (slot + 1) * self.area], 0
        for patch in patches:
            channels = slice(first, first + len(patch.values))
            values = np.moveaxis(patch.values, 0, 2).reshape(self.area, -1)
            factor, shift = (part[channels] for part in statistics)
            rows[:, channels] = torch.addcmul(shift, torch.tensor(values).float(), factor)
            first = channels.stop

    def gather(self, slots: Tensor, positions: Tensor) -> Tensor:
        """(n, C) in the table's type."""
        start = slots * self.area
        if not self.interpolates:
            return self.table[start + self.offsets[positions]]
        rows = start[:, None] + self.offsets[positions]
        return embedding_bag(rows, self.table, per_sample_weights=self.weights[positions], mode="sum")


class BlockPool:
    """Some blocks in memory at native resolution, a slot for each; pixels of all of them are gathered at once.

    Native maps are 16 times smaller than upsampled ones, so that millions of pixels are at hand in 256 MiB. They are
    standardised, which commutes with upsampling.

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
        first = self._patches(0)
        size = sum(patch.values.nbytes for patches in first for patch in patches)
        self.slots = min(max(most_bytes // size, least), len(blocks))
        self._levels = [_Level(patches, self.slots, blocks.edge) for patches in first]
        widths = [level.channels for level in self._levels]
        factor, shift = 1 / statistics.deviation, -statistics.mean / statistics.deviation
        parts = [torch.from_numpy(part).split(widths) for part in (factor, shift)]
        self._statistics = list(zip(*parts, strict=True))
        self.held = np.full(self.slots, -1, np.int64)
        """(slots,): which block is in which slot; -1 for none."""
        self.by_class = np.zeros((self.slots, blocks.edge**2), np.uint16)
        """Positions of every slot's block in the order of their classes."""
        self.labels = np.zeros((self.slots, blocks.edge**2), np.uint8)

    def hold(self, wanted: Indices) -> None:
        """Put block `wanted[slot]` into every slot, those that are there already excepted."""
        changed = np.flatnonzero(self.held != wanted)
        for slot in changed[np.argsort(wanted[changed], kind="stable")].tolist():  # image by image
            block = int(wanted[slot])
            self.by_class[slot], self.labels[slot] = self._blocks.by_class(block), self._blocks.labels(block).ravel()
            for level, patches, of_level in zip(self._levels, self._patches(block), self._statistics, strict=True):
                level.load(slot, patches, of_level)
            self.held[slot] = block

    def gather(self, slots: Indices, positions: Indices) -> Floats:
        """(n, C) float32: the standardised features of pixels, of half precision if those stored are."""
        # NumPy asks for huge pages: a batch's many small ones would take as long as all that fills them
        result = np.empty((len(slots), self._features.channels), np.float32)
        rows = torch.from_numpy(result).split(_ROWS)
        at = (torch.from_numpy(slots).int().split(_ROWS), torch.from_numpy(positions).split(_ROWS))
        for target, slot, position in zip(rows, *at, strict=True):
            target.copy_(torch.cat([level.gather(slot, position) for level in self._levels], dim=1))
        return result

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
