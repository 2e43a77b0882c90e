"""Ensembles of pixel classifiers on a generator's features (DatasetGAN, HDGAN)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdgan.pixels.ensemble import PixelEnsemble
    from hdgan.pixels.fitting import fit
    from hdgan.pixels.predict import predict_stored
    from hdgan.pixels.presets import PRESETS, Preset
    from hdgan.pixels.split import split_images

__all__ = ["PRESETS", "PixelEnsemble", "Preset", "fit", "predict_stored", "split_images"]

_HOME = {
    "PRESETS": "presets",
    "PixelEnsemble": "ensemble",
    "Preset": "presets",
    "fit": "fitting",
    "predict_stored": "predict",
    "split_images": "split",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
