"""A generator's features: extracted, stored at their native resolution, read upsampled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdgan.features.extraction import extract
    from hdgan.features.patch import Patch, Window
    from hdgan.features.store import FeatureStore

__all__ = ["FeatureStore", "Patch", "Window", "extract"]

_HOME = {"FeatureStore": "store", "Patch": "patch", "Window": "patch", "extract": "extraction"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
