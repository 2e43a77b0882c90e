"""The fast way from a window's features to labels: folded layers, the first one at native resolution.

On a CPU one compiled pass over the pixels does it all (`fused`). What is here does without a compiler, and is the way
on a GPU: products of matrices, cell by cell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdgan.features.patch import Floats, Patch, coverage, interpolation_matrix, native_span
from hdgan.labels import LabelMap
from tiling.choices import chosen
from tiling.errors import InputError

_CELL = {"cpu": 32, "cuda": 256}  # px: a cell's first-layer outputs stay in cache, or fill a GPU

Extent = tuple[int, int, int, int]


class LabelRule(StrEnum):
    """Which class a pixel is given, where the members differ."""

    VOTE = "vote"
    """That of most members, among equals the one of higher mean probability (Zhang et al. 2021, section 3.2)."""
    MEAN = "mean"
    """That of the highest mean probability."""


@dataclass(frozen=True)
class Folded:
    """Plain linear layers with ReLU between them: weights (M, O, I) and biases (M, O, 1), first layer first."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weights[0].device

    @property
    def dtype(self) -> torch.dtype:
        """What they are, and all that is computed with them."""
        return self.weights[0].dtype

    def to(self, dtype: torch.dtype) -> Folded:
        """The same layers in another precision."""
        return Folded(tuple(w.to(dtype) for w in self.weights), tuple(b.to(dtype) for b in self.biases))


class Predictor:
    """An ensemble prepared for many windows: :meth:`PixelEnsemble.predictor` makes it.

    Later changes of the ensemble do not reach it. Threads may share it.

    Parameters
    ----------
    folded
        The ensemble's layers.
    layers
        {layer: channels} of the features, in order.
    compiled
        Whether by the compiled pass, which needs numba and float32 on the CPU; None: where these are.
    """

    def __init__(self, folded: Folded, layers: Mapping[str, int], *, compiled: bool | None = None) -> None:
        self._folded, self._layers = folded, dict(layers)
        self._fused = None
        possible = folded.device.type == "cpu" and folded.dtype == torch.float32 and find_spec("numba") is not None
        if possible if compiled is None else compiled:
            from hdgan.pixels.fused import FusedNetwork

            self._fused = FusedNetwork(folded)

    @torch.no_grad()
    def predict(
        self, window: npt.NDArray[Any] | Tensor | Mapping[str, Patch], *, label: str = "vote"
    ) -> tuple[LabelMap, Floats]:
        """Labels and uncertainty of a window, as :meth:`PixelEnsemble.predict` gives them."""
        by_vote = chosen(LabelRule, label, option="label") is LabelRule.VOTE
        patches = self._patches(window)
        extent = coverage({str(i): patch for i, patch in enumerate(patches)})
        if self._fused:
            return self._fused.label(patches, extent, by_vote=by_vote)
        return label_cells(self._folded, first_layer_groups(patches, self._folded), extent, by_vote=by_vote)

    def _patches(self, window: npt.NDArray[Any] | Tensor | Mapping[str, Patch]) -> list[Patch]:
        """All channels in order; a window that is upsampled already is one patch at the image's resolution."""
        if isinstance(window, Mapping):
            if list(window) != list(self._layers):
                raise InputError(f"patches must be of the layers {list(self._layers)}, not {list(window)}")
            for name, patch in window.items():
                if patch.values.ndim != 3 or len(patch.values) != self._layers[name]:
                    found = tuple(patch.values.shape)
                    raise InputError(f"the patch of {name} must be ({self._layers[name]}, h, w), not {found}")
            return list(window.values())
        channels = sum(self._layers.values())
        if window.ndim != 3 or window.shape[0] != channels:
            raise InputError(f"a window must be ({channels}, h, w), not {tuple(window.shape)}")
        return [Patch(window, 0, 0, 1)]


@dataclass(frozen=True)
class Group:
    """All layers of one resolution: native values (C', h', w') from (y0, x0), and their share of the first layer."""

    values: Tensor
    weight: Tensor
    y0: int
    x0: int
    scale: int


def first_layer_groups(patches: Sequence[Patch], folded: Folded) -> list[Group]:
    """Join the patches of one resolution: a linear layer's outputs can be summed before they are upsampled."""
    columns = folded.weights[0].flatten(0, 1).split([len(p.values) for p in patches], dim=1)
    origins = [(p.scale, p.y0, p.x0, *p.values.shape[1:]) for p in patches]
    groups = []
    for origin in dict.fromkeys(origins):
        own = [i for i, other in enumerate(origins) if other == origin]
        values = torch.cat([_tensor(patches[i].values).to(folded.weights[0]) for i in own])
        weight = torch.cat([columns[i] for i in own], dim=1)
        groups.append(Group(values, weight, y0=origin[1], x0=origin[2], scale=origin[0]))
    return groups


def _tensor(values: Tensor | Floats) -> Tensor:
    """The same, copied where it is a part of a file that is mapped to be read only."""
    return values if isinstance(values, Tensor) else torch.from_numpy(np.require(values, requirements="W"))


def label_cells(folded: Folded, groups: Sequence[Group], extent: Extent, *, by_vote: bool) -> tuple[LabelMap, Floats]:
    """Labels and uncertainty of a window, made in cells so that memory stays bounded."""
    top, left, height, width = extent
    labels = torch.empty((height, width), dtype=torch.uint8, device=folded.device)
    uncertainty = torch.empty((height, width), device=folded.device)
    cell = _CELL.get(folded.device.type, _CELL["cuda"])
    for y in range(0, height, cell):
        for x in range(0, width, cell):
            h, w = min(cell, height - y), min(cell, width - x)
            labelled, divergence = verdict(_logits(folded, groups, top + y, left + x, h, w), by_vote=by_vote)
            labels[y : y + h, x : x + w] = labelled.view(h, w)
            uncertainty[y : y + h, x : x + w] = divergence.view(h, w)
    return labels.cpu().numpy(), uncertainty.cpu().numpy()


def verdict(logits: Tensor, *, by_vote: bool = True) -> tuple[Tensor, Tensor]:
    """(M, n, K) -> labels (n,) uint8 and Jensen-Shannon divergence H(mean p) - mean H(p) (n,) in nats."""
    log_probability = logits.log_softmax(dim=2)
    probability = log_probability.exp()
    mean = probability.mean(dim=0)
    entropy = -(probability * log_probability).sum(dim=2).mean(dim=0)
    divergence = -torch.xlogy(mean, mean).sum(dim=1) - entropy
    candidates = mean
    if by_vote:
        choices = logits.argmax(dim=2).T
        votes = torch.zeros_like(mean).scatter_add_(1, choices, torch.ones_like(choices, dtype=mean.dtype))
        candidates = torch.where(votes == votes.amax(dim=1, keepdim=True), mean, -1.0)
    return candidates.argmax(dim=1).to(torch.uint8), divergence.clamp_min(0)


def _logits(folded: Folded, groups: Sequence[Group], y: int, x: int, h: int, w: int) -> Tensor:
    """(M, h * w, K) float32 of one cell."""
    outputs = _first_layer(folded.biases[0].flatten(), groups, y, x, h, w)
    activations = outputs.view(h * w, folded.weights[0].shape[0], -1).transpose(0, 1)
    for weight, bias in zip(folded.weights[1:], folded.biases[1:], strict=True):
        activations = torch.baddbmm(bias.mT, activations.relu_(), weight.mT)
    return activations.float()


def _first_layer(bias: Tensor, groups: Sequence[Group], y: int, x: int, h: int, w: int) -> Tensor:
    """First-layer outputs (h, w, units) of all members in one cell: `W @ up(x) = up(W @ x)`, summed over groups.

    Upsampling is a product along each axis. Down the rows it is made for each group; across the columns all groups
    are summed by one product per row, as its outputs are the largest array here and should be written once.
    """
    outputs = bias.expand(h, w, -1)
    across, tall = [], []
    for group in groups:
        (top, bottom), (left, right) = native_span(y, h, group.scale), native_span(x, w, group.scale)
        native = group.values[:, top - group.y0 : bottom - group.y0, left - group.x0 : right - group.x0]
        rows, columns = native.shape[1:]
        pixels = native.reshape(len(native), -1).T
        if group.scale == 1:
            outputs = outputs + (pixels @ group.weight.T).view(h, w, -1)
            continue
        down = interpolation_matrix(y, h, scale=group.scale, first=top, size=rows)
        share = (pixels @ group.weight.T).view(rows, -1)
        tall.append((torch.from_numpy(down).to(share) @ share).view(h, columns, -1))
        across.append(interpolation_matrix(x, w, scale=group.scale, first=left, size=columns))
    if not tall:
        return outputs
    mixing = torch.from_numpy(np.concatenate(across, axis=1)).to(bias).expand(h, -1, -1)
    return torch.baddbmm(outputs, mixing, torch.cat(tall, dim=1))
