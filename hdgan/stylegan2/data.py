"""Tiles as training batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tiling.errors import InputError
from training.draws import numpy_draws
from training.stream import prefetch


class Tiles(Protocol):
    """Square RGB tiles by number: a :class:`tiling.TileSet`, or anything like it."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """Tile `index` as (size, size, 3) uint8."""


class TileBatches:
    """Batches of tiles in random order, each epoch a new one, optionally turned and mirrored.

    What batch `step` holds depends on (seed, step) alone.
    """

    def __init__(
        self, tiles: Tiles, indices: Sequence[int], *, resolution: int, batch: int, turn: bool, seed: int
    ) -> None:
        if not indices:
            raise InputError("there is no tile to train on")
        size = tiles.read(indices[0]).shape[0]
        if size != resolution:
            raise InputError(f"tiles are {size} px, the generator makes {resolution} px; tile with --size {resolution}")
        self._tiles, self._indices = tiles, np.asarray(indices)
        self._batch, self._turn, self._seed = batch, turn, seed

    def read(self, step: int) -> npt.NDArray[np.uint8]:
        """Batch `step` as (batch, R, R, 3) uint8."""
        places = np.arange(step * self._batch, (step + 1) * self._batch)
        images = [self._tiles.read(int(i)) for i in self._chosen(places)]
        if self._turn:
            symmetries = numpy_draws(self._seed, "turns", step).integers(8, size=len(images))
            images = [_turned(image, int(s)) for image, s in zip(images, symmetries, strict=True)]
        return np.stack(images)

    def stream(self, start: int, stop: int) -> Iterator[Tensor]:
        """Batches start to stop - 1 as (batch, 3, R, R) float32 in [-1, 1], read ahead in a thread."""
        for images in prefetch(self.read, start, stop):
            yield torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 127.5 - 1

    def _chosen(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tile numbers at these places of the endless sequence of shuffled epochs."""
        count = len(self._indices)
        order = {
            int(epoch): numpy_draws(self._seed, "epoch", int(epoch)).permutation(count)
            for epoch in np.unique(places // count)
        }
        return self._indices[[order[int(place // count)][place % count] for place in places]]


def _turned(image: npt.NDArray[np.uint8], symmetry: int) -> npt.NDArray[np.uint8]:
    """One of the eight symmetries of the square."""
    turned = np.rot90(image, symmetry % 4)
    return np.ascontiguousarray(turned[:, ::-1] if symmetry >= 4 else turned)


def to_uint8(images: Tensor) -> npt.NDArray[np.uint8]:
    """Images (N, 3, H, W) in [-1, 1] as (N, H, W, 3) uint8: x * 127.5 + 128, clamped and truncated."""
    scaled = (images.detach().float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).cpu().numpy())
