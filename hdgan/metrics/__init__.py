"""Measures of what the pipeline makes, each under its own name."""

from hdgan.metrics.folders import compare_folders
from hdgan.metrics.segmentation import SegmentationReport, measure_text, score_rows, segmentation_report
from hdgan.metrics.words import beats, footnotes, verdict

__all__ = [
    "SegmentationReport",
    "beats",
    "compare_folders",
    "footnotes",
    "measure_text",
    "score_rows",
    "segmentation_report",
    "verdict",
]
