"""Labels of whole stored images, window by window."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hdgan.features import Features
from hdgan.labels import LabelMap
from hdgan.pixels.ensemble import PixelEnsemble


def predict_stored(
    ensemble: PixelEnsemble, store: Features, i: int, *, window: int = 512
) -> tuple[LabelMap, npt.NDArray[np.float32]]:
    """Labels (H, W) uint8 and uncertainty (H, W) float32 of a stored latent, as :meth:`PixelEnsemble.predict` gives."""
    height, width = store.shape
    predictor = ensemble.predictor()
    labels = np.empty(store.shape, np.uint8)
    uncertainty = np.empty(store.shape, np.float32)
    for y in range(0, height, window):
        for x in range(0, width, window):
            h, w = min(window, height - y), min(window, width - x)
            here = np.s_[y : y + h, x : x + w]
            labels[here], uncertainty[here] = predictor.predict(store.patch(i, y=y, x=x, h=h, w=w))
    return labels, uncertainty
