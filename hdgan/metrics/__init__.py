"""Measures of what the pipeline makes, each under its own name."""

from hdgan.metrics.segmentation import SegmentationReport, measure_text, score_rows, segmentation_report

__all__ = ["SegmentationReport", "measure_text", "score_rows", "segmentation_report"]
