"""What images go through when they are shown in a training."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hdgan.labels import Image


@dataclass(frozen=True)
class CropAndFlip:
    """A crop of the image's size out of the image with a reflected margin, mirrored horizontally half of the time.

    Attributes
    ----------
    margin
        px, at most the image's edge less one.
    """

    margin: int = 4

    def __call__(self, image: Image, draws: np.random.Generator) -> Image:
        """An image (H, W, C) uint8, moved by up to the margin."""
        margin = min(self.margin, len(image) - 1)
        padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
        y, x = draws.integers(0, 2 * margin + 1, 2)
        moved = padded[y : y + len(image), x : x + len(image)]
        return np.ascontiguousarray(moved[:, ::-1] if draws.integers(2) else moved)
