"""Augmenters of labelled images: fitted on some, they give more of a class; and the benchmark that compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiling.lazy import lazy_names

if TYPE_CHECKING:
    from hdgan.augmenters.base import Augmenter
    from hdgan.augmenters.benchmark import run_benchmark
    from hdgan.augmenters.benchmark_plan import Plan
    from hdgan.augmenters.classifier import Classifier, ClassifierConfig, fit_classifier
    from hdgan.augmenters.images import LabelledImages
    from hdgan.augmenters.judging import Judge
    from hdgan.augmenters.registry import create, load, names
    from hdgan.augmenters.selection import (
        CentroidDistance,
        Centroids,
        LabelConfidence,
        NearestCentroid,
        in_space,
        select,
    )
    from hdgan.augmenters.sources import open_images, open_unlabelled
    from hdgan.augmenters.writing import write_samples, write_selection

__all__ = [
    "Augmenter",
    "CentroidDistance",
    "Centroids",
    "Classifier",
    "ClassifierConfig",
    "Judge",
    "LabelConfidence",
    "LabelledImages",
    "NearestCentroid",
    "Plan",
    "create",
    "fit_classifier",
    "in_space",
    "load",
    "names",
    "open_images",
    "open_unlabelled",
    "run_benchmark",
    "select",
    "write_samples",
    "write_selection",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Augmenter": "hdgan.augmenters.base",
        "CentroidDistance": "hdgan.augmenters.selection",
        "Centroids": "hdgan.augmenters.selection",
        "Classifier": "hdgan.augmenters.classifier",
        "ClassifierConfig": "hdgan.augmenters.classifier",
        "Judge": "hdgan.augmenters.judging",
        "LabelConfidence": "hdgan.augmenters.selection",
        "LabelledImages": "hdgan.augmenters.images",
        "NearestCentroid": "hdgan.augmenters.selection",
        "Plan": "hdgan.augmenters.benchmark_plan",
        "create": "hdgan.augmenters.registry",
        "fit_classifier": "hdgan.augmenters.classifier",
        "in_space": "hdgan.augmenters.selection",
        "load": "hdgan.augmenters.registry",
        "names": "hdgan.augmenters.registry",
        "open_images": "hdgan.augmenters.sources",
        "open_unlabelled": "hdgan.augmenters.sources",
        "run_benchmark": "hdgan.augmenters.benchmark",
        "select": "hdgan.augmenters.selection",
        "write_samples": "hdgan.augmenters.writing",
        "write_selection": "hdgan.augmenters.writing",
    },
)
