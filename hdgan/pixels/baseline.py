"""What colour alone can tell: a pixel gets the class whose mean colour is nearest."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from hdgan.labels import Image, LabelMap


class NearestColour:
    """Mean RGB of every class, fitted on images (H, W, 3) uint8 and their label maps; absent classes never win."""

    def __init__(self, labelled: Iterable[tuple[Image, LabelMap]], classes: int) -> None:
        sums, counts = np.zeros((classes, 3)), np.zeros(classes)
        for image, labels in labelled:
            for k in range(classes):
                pixels = image[labels == k]
                sums[k] += pixels.sum(axis=0, dtype=np.float64)
                counts[k] += len(pixels)
        absent = counts == 0
        self.colours: npt.NDArray[np.float64] = sums / np.maximum(counts, 1)[:, None]
        self.colours[absent] = np.inf

    def predict(self, image: Image) -> LabelMap:
        """(H, W, 3) uint8 -> (H, W) uint8."""
        best = np.full(image.shape[:2], np.inf, np.float32)
        labels = np.zeros(image.shape[:2], np.uint8)
        for k, colour in enumerate(self.colours):
            distance = ((image - colour.astype(np.float32)) ** 2).sum(axis=2)
            nearer = distance < best
            best[nearer], labels[nearer] = distance[nearer], k
        return labels
