"""A segmentation network fitted on image-mask pairs and applied to images of any size."""

from hdgan.segment.crops import LabelledImages
from hdgan.segment.fit import FitConfig, fit_segmenter
from hdgan.segment.network import UNet
from hdgan.segment.predict import Segmenter

__all__ = ["FitConfig", "LabelledImages", "Segmenter", "UNet", "fit_segmenter"]
