"""The fast way from a window's features to labels: folded layers, first layer at native resolution, cell by cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdgan.features.patch import Patch, coverage, interpolation_matrix, native_span
from hdgan.labels import LabelMap
from tiling.errors import InputError

_CELL = {"cpu": 32, "cuda": 256}  # px: a cell's first-layer outputs stay in cache, or fill a GPU


@dataclass(frozen=True)
class Folded:
    """Plain linear layers with ReLU between them: weights (M, O, I) and biases (M, O, 1), first layer first."""

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weights[0].device


@dataclass(frozen=True)
class Group:
    """All layers of one resolution: native values (C', h', w') from (y0, x0), and their share of the first layer."""

    values: Tensor
    weight: Tensor
    y0: int
    x0: int
    scale: int


Extent = tuple[int, int, int, int]


def first_layer_groups(patches: Mapping[str, Patch], folded: Folded) -> tuple[list[Group], Extent]:
    """Join the patches of one resolution: a linear layer's outputs can be summed before they are upsampled."""
    first = folded.weights[0].flatten(0, 1)
    columns = dict(zip(patches, first.split([p.values.shape[0] for p in patches.values()], dim=1), strict=True))
    groups = []
    for origin in dict.fromkeys((p.scale, p.y0, p.x0, tuple(p.values.shape[1:])) for p in patches.values()):
        names = [name for name, p in patches.items() if (p.scale, p.y0, p.x0, tuple(p.values.shape[1:])) == origin]
        values = torch.cat([_as_float(patches[name].values, folded.device) for name in names])
        weight = torch.cat([columns[name] for name in names], dim=1)
        groups.append(Group(values, weight, origin[1], origin[2], origin[0]))
    return groups, coverage(patches)


def window_group(window: npt.NDArray[Any] | Tensor, folded: Folded) -> tuple[list[Group], Extent]:
    """A window that is upsampled already: one group at scale 1."""
    channels = folded.weights[0].shape[2]
    if window.ndim != 3 or window.shape[0] != channels:
        raise InputError(f"a window must be ({channels}, h, w), not {tuple(window.shape)}")
    group = Group(_as_float(window, folded.device), folded.weights[0].flatten(0, 1), 0, 0, 1)
    return [group], (0, 0, int(window.shape[1]), int(window.shape[2]))


def label_cells(folded: Folded, groups: Sequence[Group], extent: Extent) -> tuple[LabelMap, npt.NDArray[np.float32]]:
    """Labels and uncertainty of a window, made in cells so that memory stays bounded."""
    top, left, height, width = extent
    labels = np.empty((height, width), np.uint8)
    uncertainty = np.empty((height, width), np.float32)
    cell = _CELL.get(folded.device.type, _CELL["cuda"])
    for y in range(0, height, cell):
        for x in range(0, width, cell):
            h, w = min(cell, height - y), min(cell, width - x)
            voted, divergence = vote(_logits(folded, groups, top + y, left + x, h, w))
            labels[y : y + h, x : x + w] = voted.view(h, w).cpu().numpy()
            uncertainty[y : y + h, x : x + w] = divergence.view(h, w).cpu().numpy()
    return labels, uncertainty


def vote(logits: Tensor) -> tuple[Tensor, Tensor]:
    """(M, n, K) -> majority labels (n,) uint8 and Jensen-Shannon divergence H(mean p) - mean H(p) (n,) in nats."""
    log_probability = logits.log_softmax(dim=2)
    probability = log_probability.exp()
    mean = probability.mean(dim=0)
    entropy = -(probability * log_probability).sum(dim=2).mean(dim=0)
    divergence = -torch.xlogy(mean, mean).sum(dim=1) - entropy
    choices = logits.argmax(dim=2).T
    votes = torch.zeros_like(mean).scatter_add_(1, choices, torch.ones_like(choices, dtype=mean.dtype))
    among_most_voted = torch.where(votes == votes.amax(dim=1, keepdim=True), mean, -1.0)
    return among_most_voted.argmax(dim=1).to(torch.uint8), divergence.clamp_min(0)


def _logits(folded: Folded, groups: Sequence[Group], y: int, x: int, h: int, w: int) -> Tensor:
    """(M, h * w, K) of one cell."""
    outputs = _first_layer(folded.biases[0].flatten(), groups, y, x, h, w)
    activations = outputs.view(h * w, folded.weights[0].shape[0], -1).transpose(0, 1)
    for weight, bias in zip(folded.weights[1:], folded.biases[1:], strict=True):
        activations = torch.baddbmm(bias.mT, activations.relu_(), weight.mT)
    return activations


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
        tall.append((torch.from_numpy(down).to(share.device) @ share).view(h, columns, -1))
        across.append(interpolation_matrix(x, w, scale=group.scale, first=left, size=columns))
    if not tall:
        return outputs
    mixing = torch.from_numpy(np.concatenate(across, axis=1)).to(bias.device).expand(h, -1, -1)
    return torch.baddbmm(outputs, mixing, torch.cat(tall, dim=1))


def _as_float(values: npt.NDArray[Any] | Tensor, device: torch.device) -> Tensor:
    return torch.as_tensor(values).to(device=device, dtype=torch.float32)
