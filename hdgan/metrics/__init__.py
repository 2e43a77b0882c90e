"""Measures of what the pipeline makes, each under its own name."""

from hdgan.metrics.classification import (
    CLASSIFICATION_MEASURES,
    ClassificationReport,
    area_under_roc,
    classification_report,
    positive_note,
)
from hdgan.metrics.comparison import (
    Chosen,
    DistributionReport,
    Embed,
    FeatureSpace,
    Images,
    Turned,
    compare_distributions,
    embed_images,
)
from hdgan.metrics.comparison_table import comparison_notes, comparison_rows
from hdgan.metrics.distribution import KernelDistance, Moments, frechet_distance, kernel_distance
from hdgan.metrics.folders import compare_folders
from hdgan.metrics.kept import KeptFeatures
from hdgan.metrics.neighbours import (
    Memorisation,
    Overlap,
    memorisation,
    nearest,
    precision_recall_density_coverage,
)
from hdgan.metrics.segmentation import SegmentationReport, measure_text, score_rows, segmentation_report
from hdgan.metrics.words import beats, footnotes, verdict

__all__ = [
    "CLASSIFICATION_MEASURES",
    "Chosen",
    "ClassificationReport",
    "DistributionReport",
    "Embed",
    "FeatureSpace",
    "Images",
    "KeptFeatures",
    "KernelDistance",
    "Memorisation",
    "Moments",
    "Overlap",
    "SegmentationReport",
    "Turned",
    "area_under_roc",
    "beats",
    "classification_report",
    "compare_distributions",
    "compare_folders",
    "comparison_notes",
    "comparison_rows",
    "embed_images",
    "footnotes",
    "frechet_distance",
    "kernel_distance",
    "measure_text",
    "memorisation",
    "nearest",
    "positive_note",
    "precision_recall_density_coverage",
    "score_rows",
    "segmentation_report",
    "verdict",
]
