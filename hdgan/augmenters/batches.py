"""Labelled images as training batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hdgan.augmenters.images import Indices, LabelledImages
from hdgan.labels import Image
from training.draws import numpy_draws
from training.order import shuffled
from training.stream import prefetch

Transform = Callable[[Image, np.random.Generator], Image]
"""Changes an image (H, W, C) uint8 by random draws."""


class Batches:
    """Batches of labelled images, each epoch in a new order. What row `i` of batch `step` holds depends on these alone.

    Parameters
    ----------
    images
        What is trained on.
    batch
        Images in a batch, over all processes that train.
    seed
        Of the order and of what `transform` draws.
    transform
        What each image goes through every time that it is shown.
    balanced
        Whether the rows go through the classes by turns, each of them with epochs of its own; or else an epoch is of
        all images, and a class is shown as often as it has images.
    """

    def __init__(
        self,
        images: LabelledImages,
        *,
        batch: int,
        seed: int,
        transform: Transform | None = None,
        balanced: bool = False,
    ) -> None:
        images.require_batch(batch)
        self._images, self._batch, self._seed, self._transform = images, batch, seed, transform
        classes = range(len(images.classes))
        self._of_class = [np.flatnonzero(images.labels == label) for label in classes] if balanced else None

    def read(self, step: int, rows: Sequence[int]) -> tuple[Image, Indices]:
        """Some rows of a batch: images (n, H, W, C) uint8, and their classes (n,)."""
        places = np.arange(step * self._batch, (step + 1) * self._batch)[list(rows)]
        chosen = self._chosen(places)
        pixels = self._images.pixels[chosen]
        if self._transform is not None:
            draws = [numpy_draws(self._seed, f"transform of sample {row}", step) for row in rows]
            pixels = np.stack([self._transform(*each) for each in zip(pixels, draws, strict=True)])
        return pixels, self._images.labels[chosen]

    def labels(self, step: int) -> Indices:
        """The classes (N,) of a whole batch; no image is read."""
        return self._images.labels[self._chosen(np.arange(step * self._batch, (step + 1) * self._batch))]

    def _chosen(self, places: Indices) -> Indices:
        """Which images are at these places of the sequence of all batches."""
        if self._of_class is None:
            return shuffled(self._seed, places, len(self._images))
        turns, chosen = len(self._of_class), np.empty_like(places)
        for label, images in enumerate(self._of_class):
            mine = places % turns == label
            order = shuffled(self._seed, places[mine] // turns, len(images), purpose=f"epoch of class {label}")
            chosen[mine] = images[order]
        return chosen

    def stream(self, start: int, stop: int, rows: Sequence[int]) -> Iterator[tuple[Image, Indices]]:
        """Some rows of batches start to stop - 1, read ahead in a thread."""
        return prefetch(lambda step: self.read(step, rows), start, stop)


def to_tensor(pixels: Image, device: torch.device) -> Tensor:
    """Images (N, H, W, C) uint8 as (N, C, H, W) float32 in [-1, 1]."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(images: Tensor) -> Image:
    """Images (N, C, H, W) in [-1, 1] as (N, H, W, C) uint8, rounded and clamped."""
    scaled = ((images.detach().float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).cpu().numpy())


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(N,) int64 as (N, K) float32."""
    return F.one_hot(labels, classes).float()


def as_maps(condition: Tensor, images: Tensor) -> Tensor:
    """Images (N, C, H, W) with a constant channel for each of the K values of a condition (N, K)."""
    maps = condition[:, :, None, None].expand(-1, -1, *images.shape[2:])
    return torch.cat([images, maps.to(images.dtype)], dim=1)


def as_rgb(image: Image) -> Image:
    """An image, or several, (..., H, W, 1 or 3) uint8 as (..., H, W, 3)."""
    return image.repeat(3 // image.shape[-1], axis=-1)
