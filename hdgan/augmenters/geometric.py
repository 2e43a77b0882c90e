"""Real images turned, shifted and mirrored: what every other method is compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hdgan.augmenters.base import Augmenter, Shape
from hdgan.augmenters.images import LabelledImages
from hdgan.augmenters.work import Task, Work
from hdgan.checks import check_bool, check_number
from hdgan.labels import Image
from tiling.errors import InputError
from training.draws import numpy_draws
from training.host import Host


@dataclass(frozen=True)
class GeometricConfig:
    """Settings of :class:`Geometric`.

    Attributes
    ----------
    rotation
        Largest angle in either sense, degrees.
    shift
        Largest shift along each axis, in either sense, as a share of the edge.
    flips
        Whether images are mirrored, horizontally and vertically, half of the time each.
    """

    rotation: float = 90.0
    shift: float = 0.2
    flips: bool = True

    def __post_init__(self) -> None:
        check_number("rotation", self.rotation, 0, 180, whole=False)
        check_number("shift", self.shift, 0, 1, whole=False)
        check_bool("flips", self.flips)

    def __call__(self, image: Image, draws: np.random.Generator) -> Image:
        """An image (H, W, C) uint8 somewhere else; what comes in from outside continues its border."""
        angle = math.radians(draws.uniform(-self.rotation, self.rotation))
        x, y = draws.uniform(-2 * self.shift, 2 * self.shift, 2)  # of an image that reaches from -1 to 1
        mirrored = np.where(draws.integers(0, 2, 2) if self.flips else np.zeros(2, int), -1.0, 1.0)
        turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]) * mirrored
        matrix = torch.from_numpy(np.column_stack([turned, (x, y)]).astype(np.float32))
        source = torch.from_numpy(image).permute(2, 0, 1)[None].float()
        grid = F.affine_grid(matrix[None], list(source.shape), align_corners=False)
        found = F.grid_sample(source, grid, padding_mode="border", align_corners=False)
        return found[0].permute(1, 2, 0).round().to(torch.uint8).numpy()


class Geometric(Augmenter):
    """Samples are images that it was fitted on, each somewhere else. Its file holds them."""

    name, settings = "geometric", GeometricConfig
    config: GeometricConfig
    holds_images = True

    def __init__(self, config: GeometricConfig) -> None:
        super().__init__(config)
        self._images: LabelledImages | None = None

    def _begin(self, task: Task) -> Work:
        return _Keeping(self, task)

    def _draw(self, label: int, seed: int, samples: Sequence[int]) -> Image:
        images = self._held()
        of_class = np.flatnonzero(images.labels == label)
        draws = [numpy_draws(seed, f"samples of class {label}", sample) for sample in samples]
        chosen = np.array([each.choice(of_class) for each in draws], np.int64)
        return np.stack([self.config(*each) for each in zip(images.pixels[chosen], draws, strict=True)])

    def _held(self) -> LabelledImages:
        if self._images is None:
            raise InputError("this geometric augmenter is not fitted: call fit, or load one that was saved")
        return self._images

    def _tensors(self) -> Mapping[str, Tensor]:
        images = self._held()
        return {
            "pixels": torch.from_numpy(images.pixels[np.arange(len(images))]),
            "labels": torch.from_numpy(images.labels),
        }

    def _restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        if set(tensors) != {"pixels", "labels"}:
            raise InputError(f"{path} has no images of a geometric augmenter")
        self._images = LabelledImages(tensors["pixels"].numpy(), tensors["labels"].numpy(), self.classes, self.licence)
        if Shape.of(self._images) != self.shape:
            raise InputError(f"{path} has images of another shape than it tells")
        self._images.require_classes()


class _Keeping(Work):
    """The images are all there is to keep: on the seed and the device nothing depends."""

    def __init__(self, augmenter: Geometric, task: Task) -> None:
        super().__init__(task, Host(task.device))
        self.augmenter = augmenter
        self.summary["images"] = len(task.labelled)

    def train(self) -> None:
        """Nothing is trained."""

    def take_over(self) -> None:
        self.augmenter._images = self.task.labelled.subset(np.arange(len(self.task.labelled)))
