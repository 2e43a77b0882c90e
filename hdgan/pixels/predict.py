"""Labels of stored images, window by window."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hdgan.checks import check_window_edge
from hdgan.features import Features
from hdgan.features.patch import Floats
from hdgan.labels import LabelMap
from hdgan.pixels.ensemble import PixelEnsemble

Place = tuple[slice, slice]


def predict_stored(
    ensemble: PixelEnsemble, store: Features, i: int, *, window: int = 512, label: str = "vote"
) -> tuple[LabelMap, npt.NDArray[np.float32]]:
    """Labels (H, W) uint8 and uncertainty (H, W) float32 of a stored latent, as :meth:`PixelEnsemble.predict` gives.

    Parameters
    ----------
    ensemble, store, i
        What predicts, from which features, of which latent.
    window
        Edge of the windows that are predicted at a time, 8 to 4096 px.
    label
        As for :meth:`PixelEnsemble.predict`.
    """
    labels, uncertainty = np.empty(store.shape, np.uint8), np.empty(store.shape, np.float32)
    for here, of_labels, of_uncertainty in predict_windows(ensemble, store, i, window=window, label=label):
        labels[here], uncertainty[here] = of_labels, of_uncertainty
    return labels, uncertainty


def predict_windows(
    ensemble: PixelEnsemble, store: Features, i: int, *, window: int = 512, label: str = "vote"
) -> Iterator[tuple[Place, LabelMap, Floats]]:
    """What :func:`predict_stored` gives, window by window, none kept: (rows, columns), labels and uncertainty there."""
    check_window_edge(window)
    predictor = ensemble.predictor()
    for rows, columns in windows_of(store.shape, window):
        h, w = rows.stop - rows.start, columns.stop - columns.start
        patches = store.patch(i, y=rows.start, x=columns.start, h=h, w=w)
        yield (rows, columns), *predictor.predict(patches, label=label)


def windows_of(shape: tuple[int, int], edge: int = 512) -> Iterator[Place]:
    """(rows, columns) of the windows of an image (H, W), row by row; at its lower and right border they are smaller."""
    height, width = shape
    for y in range(0, height, edge):
        for x in range(0, width, edge):
            yield slice(y, min(y + edge, height)), slice(x, min(x + edge, width))
