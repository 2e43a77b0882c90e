"""Networks that classify images."""

from __future__ import annotations

import itertools
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from hdgan.augmenters.base import Shape
from hdgan.augmenters.normalisation import BatchNorm
from hdgan.checks import check_number
from tiling.errors import InputError

_SLOPE, _STUDENTS_SLOPE = 0.2, 0.1


class ClassifierNetwork(nn.Module, ABC):
    """Images (n, C, H, W) in [-1, 1] to logits (n, K), by way of features (n, F)."""

    head: nn.Linear

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees, (n, F)."""

    def forward(self, images: Tensor) -> Tensor:
        """Logits, (n, K)."""
        logits: Tensor = self.head(self.features(images))
        return logits


class StridedNetwork(ClassifierNetwork):
    """Strided convolutions with leaky ReLU and dropout, the mean over the image, a linear layer."""

    def __init__(self, shape: Shape, *, width: int = 64, dropout: float = 0.3) -> None:
        super().__init__()
        check_number("width", width, 1, 4096)
        check_number("dropout", dropout, 0, 1, whole=False)
        widths = [shape.channels, width, 2 * width, 4 * width]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(before, after, 5, 2, 2), nn.LeakyReLU(_SLOPE), nn.Dropout(dropout))
                for before, after in itertools.pairwise(widths)
            )
        )
        self.head = nn.Linear(widths[-1], len(shape.classes))

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees, (n, 4 * width)."""
        maps: Tensor = self.stages(images)
        return maps.mean(dim=(2, 3))


class StudentNetwork(ClassifierNetwork):
    """GMCL's student: 3x3 convolutions, two of them strided, each with batch norm and leaky ReLU; the mean; linear."""

    def __init__(self, shape: Shape, *, width: int = 64) -> None:
        super().__init__()
        check_number("width", width, 1, 4096)
        widths, strides = [shape.channels, width, 2 * width, 2 * width, 4 * width, 4 * width], [1, 2, 1, 2, 1]
        stages: list[nn.Module] = []
        for (before, after), stride in zip(itertools.pairwise(widths), strides, strict=True):
            stages += [nn.Conv2d(before, after, 3, stride, 1), BatchNorm(after), nn.LeakyReLU(_STUDENTS_SLOPE)]
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(widths[-1], len(shape.classes))
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, a=_STUDENTS_SLOPE)

    def features(self, images: Tensor) -> Tensor:
        """What the last layer sees, (n, 4 * width)."""
        maps: Tensor = self.stages(images)
        return maps.mean(dim=(2, 3))


_KINDS: Mapping[str, Callable[..., ClassifierNetwork]] = {"strided": StridedNetwork, "student": StudentNetwork}


def network_of(about: object, shape: Shape) -> ClassifierNetwork:
    """A network as a file's header describes it, its kind and its settings, initialised by PyTorch's own draws."""
    if not isinstance(about, dict) or about.get("kind") not in tuple(_KINDS):
        raise InputError(f"no network of a classifier: {reprlib.repr(about)}; there are: {', '.join(_KINDS)}")
    settings = {name: value for name, value in about.items() if name != "kind"}
    try:
        return _KINDS[about["kind"]](shape, **settings)
    except TypeError as error:
        raise InputError(f"a {about['kind']} network has no such settings: {reprlib.repr(settings)}") from error
