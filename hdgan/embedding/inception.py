"""Inception-v3 up to its last pooling: the features of FID, from a file of weights.

Szegedy et al. 2016, section 6, in the variant that TensorFlow's FID network is, with the parameter names that its
weights have in PyTorch. The network is ours; the weights are not, and do not come with hdgan.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hdgan.embedding.space import ModuleSpace
from tiling.errors import InputError
from tiling.files import fingerprint
from training.checkpoint import build_network

_DIMENSIONS = 2048
_PUBLISHED = "pt_inception-2015-12-05-6726825d.pth"
_EDGE = 299  # px, to which images are resized
_UNUSED = ("fc.", "AuxLogits.")  # what such files hold of the classifier
_COUNTER = ".num_batches_tracked"

Size = int | tuple[int, int]


def inception_space(weights: Path | str, device: torch.device | str = "cpu") -> ModuleSpace:
    """The feature space of FID: Inception-v3's last pooling, of 2048 dimensions, with weights from a file.

    Parameters
    ----------
    weights
        A safetensors file, or a state file of PyTorch, of which tensors alone are read (`weights_only`), with the names
        of `pt_inception-2015-12-05-6726825d.pth`. Those weights give what is called FID; those that torchvision trained
        give other numbers. The beginning of the file's SHA-256 is in the space's name.
    device
        Where to compute.

    Raises
    ------
    InputError
        For a file that is neither, or that lacks parameters, has other ones, or has them in other shapes.
    """
    path = Path(weights)
    tensors = {
        name: tensor
        for name, tensor in _read(path).items()
        if not name.startswith(_UNUSED) and not name.endswith(_COUNTER)
    }
    network = build_network(InceptionV3, tensors, path)
    return ModuleSpace(
        network.requires_grad_(False),
        name=f"inception-v3-{fingerprint(path)[:8]}",
        dimensions=_DIMENSIONS,
        note=f"FID if the weights are {_PUBLISHED}",
        device=device,
    )


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"no such file of Inception's weights: {path}")
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise InputError(
            f"{path} is no file of weights; the feature space takes Inception's as {_PUBLISHED}, a file of PyTorch "
            "with nothing but tensors, or as a .safetensors file with the same names (nothing in it was executed)"
        ) from error
    if not isinstance(tensors, dict) or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise InputError(f"{path} holds no tensors by name; give the network's state_dict, saved with torch.save")
    return tensors


class InceptionV3(nn.Module):
    """Images (N, 3, H, W) in [-1, 1] to features (N, 2048).

    Images are resized to 299 px by bilinear interpolation without averaging down, as FID's convention is in PyTorch:
    large images are sampled, not reduced (Parmar et al. 2022 discuss what this costs).
    """

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Convolution(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Convolution(32, 32, 3)
        self.Conv2d_2b_3x3 = Convolution(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Convolution(64, 80, 1)
        self.Conv2d_4a_3x3 = Convolution(80, 192, 3)
        self.Mixed_5b = MixedA(192, pooled=32)
        self.Mixed_5c = MixedA(256, pooled=64)
        self.Mixed_5d = MixedA(288, pooled=64)
        self.Mixed_6a = ReductionA(288)
        self.Mixed_6b = MixedB(768, inner=128)
        self.Mixed_6c = MixedB(768, inner=160)
        self.Mixed_6d = MixedB(768, inner=160)
        self.Mixed_6e = MixedB(768, inner=192)
        self.Mixed_7a = ReductionB(768)
        self.Mixed_7b = MixedC(1280, pool=_average)
        self.Mixed_7c = MixedC(2048, pool=_maximum)

    def forward(self, images: Tensor) -> Tensor:
        """(N, 2048)."""
        x = F.interpolate(images, size=(_EDGE, _EDGE), mode="bilinear", align_corners=False)
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))  # (N, 64, 147, 147)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, stride=2)))  # (N, 192, 71, 71)
        x = F.max_pool2d(x, 3, stride=2)
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(x)))  # (N, 288, 35, 35)
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))  # (N, 768, 17, 17)
        last: Tensor = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))  # (N, 2048, 8, 8)
        return last.mean(dim=(2, 3))


class Convolution(nn.Module):
    """Convolution without a bias, normalisation by stored statistics, ReLU."""

    def __init__(self, inputs: int, outputs: int, size: Size, *, stride: int = 1, padding: Size = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, bias=False)
        self.bn = Normalisation(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, outputs, h, w)."""
        normalised: Tensor = self.bn(self.conv(x))
        return F.relu(normalised)


class Normalisation(nn.Module):
    """Batch normalisation by stored statistics only, so that there is no counter of batches to be stored."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=1e-3)


class MixedA(nn.Module):
    """The modules of figure 5, at 35 px."""

    def __init__(self, inputs: int, *, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 64, 1)
        self.branch5x5_1 = Convolution(inputs, 48, 1)
        self.branch5x5_2 = Convolution(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, padding=1)
        self.branch_pool = Convolution(inputs, pooled, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 224 + pooled, h, w)."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_average(x))], dim=1)


class ReductionA(nn.Module):
    """From 35 px to 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Convolution(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Convolution(inputs, 64, 1)
        self.branch3x3dbl_2 = Convolution(64, 96, 3, padding=1)
        self.branch3x3dbl_3 = Convolution(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 480 + inputs, h, w)."""
        twice = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), twice, F.max_pool2d(x, 3, stride=2)], dim=1)


class MixedB(nn.Module):
    """The modules of figure 6, at 17 px: convolutions of 7 x 7 in rows and columns."""

    def __init__(self, inputs: int, *, inner: int) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 192, 1)
        self.branch7x7_1 = Convolution(inputs, inner, 1)
        self.branch7x7_2 = _row(inner, inner)
        self.branch7x7_3 = _column(inner, 192)
        self.branch7x7dbl_1 = Convolution(inputs, inner, 1)
        self.branch7x7dbl_2 = _column(inner, inner)
        self.branch7x7dbl_3 = _row(inner, inner)
        self.branch7x7dbl_4 = _column(inner, inner)
        self.branch7x7dbl_5 = _row(inner, 192)
        self.branch_pool = Convolution(inputs, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 768, h, w)."""
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_average(x))], dim=1)


class ReductionB(nn.Module):
    """From 17 px to 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1 = Convolution(inputs, 192, 1)
        self.branch3x3_2 = Convolution(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Convolution(inputs, 192, 1)
        self.branch7x7x3_2 = _row(192, 192)
        self.branch7x7x3_3 = _column(192, 192)
        self.branch7x7x3_4 = Convolution(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 512 + inputs, h, w)."""
        three = self.branch3x3_2(self.branch3x3_1(x))
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([three, seven, F.max_pool2d(x, 3, stride=2)], dim=1)


class MixedC(nn.Module):
    """The modules of figure 7, at 8 px; in the last one FID's network pools by the maximum, not by the mean."""

    def __init__(self, inputs: int, *, pool: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.branch1x1 = Convolution(inputs, 320, 1)
        self.branch3x3_1 = Convolution(inputs, 384, 1)
        self.branch3x3_2a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3_2b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch3x3dbl_1 = Convolution(inputs, 448, 1)
        self.branch3x3dbl_2 = Convolution(448, 384, 3, padding=1)
        self.branch3x3dbl_3a = Convolution(384, 384, (1, 3), padding=(0, 1))
        self.branch3x3dbl_3b = Convolution(384, 384, (3, 1), padding=(1, 0))
        self.branch_pool = Convolution(inputs, 192, 1)
        self._pool = pool

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2048, h, w)."""
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        branches = [self.branch1x1(x), self.branch3x3_2a(once), self.branch3x3_2b(once)]
        branches += [self.branch3x3dbl_3a(twice), self.branch3x3dbl_3b(twice), self.branch_pool(self._pool(x))]
        return torch.cat(branches, dim=1)


def _row(inputs: int, outputs: int) -> Convolution:
    return Convolution(inputs, outputs, (1, 7), padding=(0, 3))


def _column(inputs: int, outputs: int) -> Convolution:
    return Convolution(inputs, outputs, (7, 1), padding=(3, 0))


def _average(x: Tensor) -> Tensor:
    """3 x 3 means, at the border of what is inside: a difference of FID's network to torchvision's."""
    return F.avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)


def _maximum(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=1, padding=1)
