"""Measures of what the pipeline makes, each under its own name."""

from hdgan.metrics.folders import compare_folders
from hdgan.metrics.segmentation import SegmentationReport, measure_text, score_rows, segmentation_report

__all__ = ["SegmentationReport", "compare_folders", "measure_text", "score_rows", "segmentation_report"]
