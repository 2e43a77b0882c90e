"""Measures of what the pipeline makes, each under its own name."""

from hdgan.metrics.segmentation import SegmentationReport, segmentation_report

__all__ = ["SegmentationReport", "segmentation_report"]
