"""A generator's features: extracted, stored at their native resolution, read upsampled."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiling.lazy import lazy_names

if TYPE_CHECKING:
    from hdgan.features.extraction import extract
    from hdgan.features.patch import Patch, Window
    from hdgan.features.store import FeatureStore, stored_latents

__all__ = ["FeatureStore", "Patch", "Window", "extract", "stored_latents"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "FeatureStore": "hdgan.features.store",
        "Patch": "hdgan.features.patch",
        "Window": "hdgan.features.patch",
        "extract": "hdgan.features.extraction",
        "stored_latents": "hdgan.features.store",
    },
)
