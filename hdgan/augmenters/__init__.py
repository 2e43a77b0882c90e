"""Augmenters of labelled images: fitted on some, they give more of a class; and the benchmark that compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiling.lazy import lazy_names

if TYPE_CHECKING:
    from hdgan.augmenters.base import Augmenter
    from hdgan.augmenters.benchmark import run_benchmark
    from hdgan.augmenters.images import LabelledImages
    from hdgan.augmenters.registry import create, load, names
    from hdgan.augmenters.selection import select
    from hdgan.augmenters.sources import open_images
    from hdgan.augmenters.writing import write_samples

__all__ = [
    "Augmenter",
    "LabelledImages",
    "create",
    "load",
    "names",
    "open_images",
    "run_benchmark",
    "select",
    "write_samples",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Augmenter": "hdgan.augmenters.base",
        "LabelledImages": "hdgan.augmenters.images",
        "create": "hdgan.augmenters.registry",
        "load": "hdgan.augmenters.registry",
        "names": "hdgan.augmenters.registry",
        "open_images": "hdgan.augmenters.sources",
        "run_benchmark": "hdgan.augmenters.benchmark",
        "select": "hdgan.augmenters.selection",
        "write_samples": "hdgan.augmenters.writing",
    },
)
