"""A generator's features: extracted, stored at their native resolution, read upsampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiling.lazy import lazy_names

if TYPE_CHECKING:
    from hdgan.features.extraction import extract
    from hdgan.features.features import Features
    from hdgan.features.patch import Patch, Window
    from hdgan.features.resynthesis import ResynthesisedFeatures, open_features
    from hdgan.features.store import FeatureStore, stored_latents

__all__ = [
    "FeatureStore",
    "Features",
    "Patch",
    "ResynthesisedFeatures",
    "Window",
    "extract",
    "open_features",
    "stored_latents",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "FeatureStore": "hdgan.features.store",
        "Features": "hdgan.features.features",
        "Patch": "hdgan.features.patch",
        "ResynthesisedFeatures": "hdgan.features.resynthesis",
        "Window": "hdgan.features.patch",
        "extract": "hdgan.features.extraction",
        "open_features": "hdgan.features.resynthesis",
        "stored_latents": "hdgan.features.store",
    },
)
