"""Several pixel classifiers as one batched network, and their joint verdict on a window."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from hdgan.checks import check_number, check_texts
from hdgan.features.patch import Patch
from hdgan.labels import ClassList, LabelClass, LabelMap
from hdgan.pixels.folded import Folded, Predictor
from tiling.errors import InputError
from training.checkpoint import build_network, load_weights, save_weights
from training.devices import fast_precision

_KIND = "pixel ensemble"
_OF_ALL = ("mean", "deviation")


class MemberLinear(nn.Module):
    """One linear layer of every member: (M, I, n) or a shared (I, n) -> (M, O, n)."""

    def __init__(self, members: int, inputs: int, outputs: int, deviation: float | None, draw: torch.Generator) -> None:
        super().__init__()
        deviation = (2 / inputs) ** 0.5 if deviation is None else deviation
        self.weight = nn.Parameter(torch.randn(members, outputs, inputs, generator=draw) * deviation)
        self.bias = nn.Parameter(torch.zeros(members, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        """One matrix product for a shared input, a batched one for the members' own."""
        return torch.matmul(self.weight, x) + self.bias


class MemberNorm(nn.BatchNorm1d):
    """Batch normalisation of every member's units over the pixels of a batch: (M, O, n) -> (M, O, n)."""

    def __init__(self, members: int, units: int) -> None:
        super().__init__(members * units)

    def forward(self, x: Tensor) -> Tensor:
        """Members' units are the channels of one sequence of n pixels."""
        return super().forward(x.reshape(1, -1, x.shape[-1])).view(x.shape)


class PixelEnsemble(nn.Module):
    """Members of Linear, ReLU, BatchNorm, ..., Linear on the upsampled features of a pixel (Zhang et al. 2021, 3.1).

    A new ensemble has random weights; :func:`hdgan.pixels.fit` makes one that knows something.

    Parameters
    ----------
    layers
        {layer: channels} of the features, in order.
    classes
        Class names in index order, or a `ClassList`.
    members
        How many networks.
    hidden
        Widths of their hidden layers.
    generator
        Draws the weights.
    dropout
        Share of the first hidden layer's outputs that training drops.
    weight_deviation
        Of the initial weights; None: He et al. 2015, by fan-in.

    Attributes
    ----------
    licence
        Terms that hold for what is made with the ensemble; it carries them in its file.
    fitted_on
        Fingerprint of the generator whose features it was fitted on; "" where it was not.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        *,
        layers: Mapping[str, int],
        classes: Iterable[str | LabelClass],
        members: int = 10,
        hidden: tuple[int, ...] = (128, 32),
        generator: torch.Generator,
        dropout: float = 0.0,
        weight_deviation: float | None = None,
    ) -> None:
        super().__init__()
        _check_sizes(layers, members, hidden, dropout)
        self.layers = dict(layers)
        self.class_list = with_colours(classes)
        self.members, self.hidden, self.dropout = members, tuple(hidden), dropout
        self.licence: tuple[str, ...] = ()
        self.fitted_on = ""
        channels = sum(self.layers.values())
        widths = [channels, *hidden, len(self.class_list)]
        pairs = pairwise(widths)
        self.linear = nn.ModuleList(MemberLinear(members, i, o, weight_deviation, generator) for i, o in pairs)
        self.norm = nn.ModuleList(MemberNorm(members, units) for units in hidden)
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("deviation", torch.ones(channels))
        self.eval()

    @property
    def classes(self) -> list[str]:
        """Class names in index order."""
        return self.class_list.names

    def forward(self, x: Tensor, *, uniform: Callable[[torch.Size], Tensor] | None = None) -> Tensor:
        """Standardised features (C, n) -> (M, K, n); `uniform` draws numbers in [0, 1) for the dropout of training."""
        for depth, (linear, norm) in enumerate(zip(self.linear, self.norm, strict=False)):
            x = norm(torch.relu(linear(x)))
            if uniform is not None and depth == 0 and self.dropout > 0:
                x = x * (uniform(x.shape) >= self.dropout) / (1 - self.dropout)
        logits: Tensor = self.linear[-1](x)
        return logits

    def subset(self, members: range) -> PixelEnsemble:
        """Some neighbouring members, copied into an ensemble of their own on the same device."""
        some = PixelEnsemble(
            layers=self.layers, classes=self.class_list, members=len(members), hidden=self.hidden,
            generator=torch.Generator(), dropout=self.dropout,
        )  # fmt: skip
        own = {
            name: rows_of(members, tensor, self.members) if has_members(name, tensor) else tensor
            for name, tensor in self.state_dict().items()
        }
        some.load_state_dict(own)
        return some.to(self.mean.device)

    @torch.no_grad()
    def logits(self, features: npt.ArrayLike | Tensor) -> Tensor:
        """Features (n, C) -> (members, n, K) float32: the plain definition, as in inference."""
        x = torch.as_tensor(features, dtype=torch.float32, device=self.mean.device)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise InputError(f"features must be (n, {len(self.mean)}), not {tuple(x.shape)}")
        was_training = self.training
        self.eval()
        logits: Tensor = self(((x - self.mean) / self.deviation).T)
        self.train(was_training)
        return logits.transpose(1, 2)

    def predict(
        self, window: npt.NDArray[Any] | Tensor | Mapping[str, Patch], *, label: str = "vote"
    ) -> tuple[LabelMap, npt.NDArray[np.float32]]:
        """Labels (h, w) uint8 and uncertainty (h, w) float32 in nats of a window; for many, see :meth:`predictor`.

        The uncertainty is the Jensen-Shannon divergence of the members' predictions (Zhang et al. 2021, section 3.2).

        Parameters
        ----------
        window
            Upsampled features (C, h, w), or the patches {layer: Patch} of a window, which is faster: each first layer
            runs at native resolution and its outputs are upsampled, `W @ up(x) = up(W @ x)`.
        label
            "vote": the class of most members, among equals the one of higher mean probability; "mean": that of the
            highest mean probability.

        Raises
        ------
        InputError
            For other channels than the ensemble's, patches that share no pixel, and an unknown `label`.
        """
        return self.predictor().predict(window, label=label)

    def predictor(self, *, dtype: torch.dtype | None = None) -> Predictor:
        """The ensemble as it is now, prepared to predict many windows.

        Parameters
        ----------
        dtype
            In which it computes; None: bfloat16 on a GPU that has it, else float32. On a CPU float32 is compiled,
            where numba is installed.
        """
        folded = self.folded()
        return Predictor(folded.to(dtype or fast_precision(folded.device)), self.layers)

    @torch.no_grad()
    def folded(self) -> Folded:
        """Linear layers (M, O, I) and biases (M, O, 1), with standardisation and batch normalisation folded in."""
        weights, biases = [], []
        scale, shift = 1 / self.deviation, -self.mean / self.deviation
        for depth, linear in enumerate(self.linear):
            assert isinstance(linear, MemberLinear)
            weights.append(linear.weight * scale.view(-1, 1, linear.weight.shape[2]))
            biases.append(linear.bias + linear.weight @ shift.view(-1, linear.weight.shape[2], 1))
            if depth < len(self.norm):
                norm = self.norm[depth]
                assert isinstance(norm, MemberNorm)
                assert norm.running_mean is not None
                assert norm.running_var is not None
                scale = (norm.weight * torch.rsqrt(norm.running_var + norm.eps)).view(self.members, -1)
                shift = norm.bias.view(self.members, -1) - norm.running_mean.view(self.members, -1) * scale
        return Folded(tuple(weights), tuple(biases))

    def save(self, path: str | Path) -> None:
        """Write weights and, in the file's header, everything else, as safetensors."""
        about = {
            "layers": self.layers,
            "classes": [c.to_dict() for c in self.class_list],
            "members": self.members,
            "hidden": list(self.hidden),
            "dropout": self.dropout,
            "licence": list(self.licence),
            "fitted_on": self.fitted_on,
        }
        save_weights(Path(path), self.state_dict(), kind=_KIND, about=about)

    @classmethod
    def load(cls, path: str | Path, *, device: str | torch.device = "cpu") -> PixelEnsemble:
        """Read what :meth:`save` wrote; anything else is an :class:`InputError`."""
        path = Path(path)
        needs = ("layers", "classes", "members", "hidden", "dropout", "licence", "fitted_on")
        tensors, about = load_weights(path, kind=_KIND, needs=needs)
        return build_network(lambda: _ensemble_of(about), tensors, path).to(device)


def has_members(name: str, tensor: Tensor) -> bool:
    """Whether a named tensor of an ensemble, or of its optimiser, has values of each member, along its first axis."""
    return tensor.ndim > 0 and name not in _OF_ALL


def rows_of(members: range, tensor: Tensor, of: int) -> Tensor:
    """The part of some members in a tensor of `of`; its first axis is theirs, or theirs and their units'."""
    each = len(tensor) // of
    return tensor[members.start * each : members.stop * each]


def _ensemble_of(about: Mapping[str, Any]) -> PixelEnsemble:
    """An ensemble as a file's header describes it."""
    layers, classes, hidden = about["layers"], about["classes"], about["hidden"]
    if not isinstance(layers, dict) or not isinstance(classes, list) or not isinstance(hidden, list):
        raise InputError("no layers, classes and hidden widths of an ensemble in the header")
    check_texts("licence", about["licence"])
    check_texts("fitted_on", [about["fitted_on"]])
    ensemble = PixelEnsemble(
        layers=layers,
        classes=[LabelClass.from_dict(value) for value in classes],
        members=about["members"],
        hidden=tuple(hidden),
        generator=torch.Generator(),
        dropout=about["dropout"],
    )
    ensemble.licence, ensemble.fitted_on = tuple(about["licence"]), about["fitted_on"]
    return ensemble


def _check_sizes(layers: Mapping[str, int], members: int, hidden: tuple[int, ...], dropout: float) -> None:
    """Refuse what no network has, far beyond what anybody fits."""
    check_number("members", members, 1, 1000)
    check_number("number of hidden layers", len(hidden), 1, 16)
    for width in hidden:
        check_number("hidden width", width, 1, 2**16)
    for name, channels in layers.items():
        check_number(f"channels of layer {name}", channels, 1, 2**16)
    check_number("channels of all layers", sum(layers.values()), 1, 2**20)
    check_number("dropout", dropout, 0, 1, whole=False)


def with_colours(classes: Iterable[str | LabelClass]) -> ClassList:
    """A class list; classes that are only names get colours spread round the colour circle."""
    listed = list(classes)
    return ClassList(tuple(LabelClass(c, _hue(i)) if isinstance(c, str) else c for i, c in enumerate(listed)))


def _hue(index: int) -> tuple[int, int, int]:
    red, green, blue = colorsys.hsv_to_rgb(index * 0.618034 % 1, 0.65, 0.9)  # golden section: neighbours far apart
    return round(255 * red), round(255 * green), round(255 * blue)
