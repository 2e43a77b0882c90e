"""Ensembles of pixel classifiers on a generator's features (DatasetGAN, HDGAN)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiling.lazy import lazy_names

if TYPE_CHECKING:
    from hdgan.pixels.ensemble import PixelEnsemble
    from hdgan.pixels.fitting import fit
    from hdgan.pixels.folded import LabelRule, Predictor
    from hdgan.pixels.predict import predict_stored, predict_windows
    from hdgan.pixels.presets import PRESETS, Preset
    from hdgan.pixels.protocol import efficiency_rows, protocol_rows, run_protocol
    from hdgan.pixels.sampling import Noise, PixelSampler
    from hdgan.pixels.split import split_images
    from hdgan.pixels.statistics import Statistics, upsampled_statistics

__all__ = [
    "PRESETS",
    "LabelRule",
    "Noise",
    "PixelEnsemble",
    "PixelSampler",
    "Predictor",
    "Preset",
    "Statistics",
    "efficiency_rows",
    "fit",
    "predict_stored",
    "predict_windows",
    "protocol_rows",
    "run_protocol",
    "split_images",
    "upsampled_statistics",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "LabelRule": "hdgan.pixels.folded",
        "Noise": "hdgan.pixels.sampling",
        "PRESETS": "hdgan.pixels.presets",
        "PixelEnsemble": "hdgan.pixels.ensemble",
        "PixelSampler": "hdgan.pixels.sampling",
        "Predictor": "hdgan.pixels.folded",
        "Preset": "hdgan.pixels.presets",
        "Statistics": "hdgan.pixels.statistics",
        "efficiency_rows": "hdgan.pixels.protocol",
        "fit": "hdgan.pixels.fitting",
        "predict_stored": "hdgan.pixels.predict",
        "predict_windows": "hdgan.pixels.predict",
        "protocol_rows": "hdgan.pixels.protocol",
        "run_protocol": "hdgan.pixels.protocol",
        "split_images": "hdgan.pixels.split",
        "upsampled_statistics": "hdgan.pixels.statistics",
    },
)
