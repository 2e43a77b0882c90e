"""Features without weights to download: random convolutions of fixed seed, at several scales."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdgan.embedding.space import ModuleSpace
from tiling.errors import InputError

RANDOM_SPACE = "random-conv-v1"

_SCALES = 4  # the image, and averaged down by 2, 4 and 8
_CHANNELS = 16
_STRUCTURE_GAIN = 4  # tissue varies within a tile about a quarter as much as it differs from black
_SMALLEST = 1 << (_SCALES - 1)  # px, of which the coarsest scale is one
_DIMENSIONS = _SCALES * 2 * 2 * _CHANNELS  # two layers, mean and deviation


def random_space(device: torch.device | str = "cpu") -> ModuleSpace:
    """The feature space `random-conv-v1`, of 256 dimensions.

    Networks of random weights know no objects, but tell textures, colours and structures of several sizes apart: enough
    to synthesise textures by (Ustyuzhaninov et al. 2017), and used to compare sets of images that are unlike ImageNet's
    (Naeem et al. 2020). Their numbers are on a scale of their own and say less about what an expert sees than those of
    trained networks; compare them among generators of the same tiles only.
    """
    return ModuleSpace(
        RandomConvolutions(),
        name=RANDOM_SPACE,
        dimensions=_DIMENSIONS,
        note="not Inception: compare only with itself",
        device=device,
    )


class RandomConvolutions(nn.Module):
    """Mean and deviation of every channel of two layers of 3 x 3 convolutions with stride 2 and ReLU, at four scales.

    All scales have the same weights: those of He et al. 2015, drawn from numpy's legacy generator, whose numbers are
    the same in every version (NEP 19). The second half of the first layer's filters sum to zero over their area, so
    that they see structure whatever the brightness, and are stronger for it: else colour would drown blur and seams.
    Images (N, 3, H, W) in [-1, 1], of 8 px at least, give (N, 256).
    """

    first: Tensor
    second: Tensor

    def __init__(self) -> None:
        super().__init__()
        draws = np.random.RandomState(0)
        for name, channels in (("first", 3), ("second", _CHANNELS)):
            weights = draws.randn(_CHANNELS, channels, 3, 3) * math.sqrt(2 / (9 * channels))
            self.register_buffer(name, torch.tensor(weights, dtype=torch.float32))
        structure = self.first[_CHANNELS // 2 :]
        structure -= structure.mean(dim=(2, 3), keepdim=True)
        structure *= _STRUCTURE_GAIN

    def forward(self, images: Tensor) -> Tensor:
        """(N, 256)."""
        if min(images.shape[2:]) < _SMALLEST:
            raise InputError(f"{RANDOM_SPACE} takes images of {_SMALLEST} px at least, not {tuple(images.shape[2:])}")
        pooled: list[Tensor] = []
        for scale in range(_SCALES):
            x = images if scale == 0 else F.avg_pool2d(images, 2**scale)
            for weights in (self.first, self.second):
                x = F.relu(F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), weights, stride=2))
                pooled += [x.mean(dim=(2, 3)), x.std(dim=(2, 3), correction=0)]
        return torch.cat(pooled, dim=1)
