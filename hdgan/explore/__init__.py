"""Pictures and figures for notebooks: feature maps, masks over images, votes, confusions, training curves.

Pictures are uint8 arrays made with NumPy alone; figures need matplotlib, which is imported when the first one is made.
"""

from hdgan.explore.figures import (
    benchmark_figure,
    confusion_figure,
    efficiency_figure,
    panels,
    training_figure,
    vote_figure,
)
from hdgan.explore.pictures import channel_grid, mask_overlay, pca_rgb

__all__ = [
    "benchmark_figure",
    "channel_grid",
    "confusion_figure",
    "efficiency_figure",
    "mask_overlay",
    "panels",
    "pca_rgb",
    "training_figure",
    "vote_figure",
]
