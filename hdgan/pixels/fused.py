"""The fast way on a CPU: a block of a window goes through all layers of a member without leaving the cache."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hdgan.features.patch import Floats, Indices, Patch, block_taps, native_span
from hdgan.labels import LabelMap
from hdgan.pixels.folded import Extent, Folded
from hdgan.pixels.kernels import LANES, PIXELS, STRIP, label_block

_HEIGHT, _WIDTH = 64, 128  # px of a block: what a member's first layer gives for it fits the second-level cache


class FusedNetwork:
    """A folded ensemble's weights as the kernel reads them.

    Parameters
    ----------
    folded
        On the CPU, in float32.
    """

    def __init__(self, folded: Folded) -> None:
        self._weights = [weight.numpy() for weight in folded.weights]
        self._biases = [bias.numpy()[:, :, 0] for bias in folded.biases]
        self._widths = np.array([_up(b.shape[1], STRIP if i == 0 else LANES) for i, b in enumerate(self._biases)])
        self._packed: dict[tuple[tuple[int, int], ...], Floats] = {}

    def label(self, patches: Sequence[Patch], extent: Extent, *, by_vote: bool) -> tuple[LabelMap, Floats]:
        """Labels (h, w) uint8 and uncertainty (h, w) float32 of a window (y, x, h, w) that the patches cover.

        Its blocks are divided among as many threads as PyTorch uses. Each needs some 5 MB for hidden layers of 128 and
        32 units, however large the window is. A pixel's sums have one order, so that no border of a block or of a
        window shows in the results, not even in their rounding.
        """
        top, left, height, width = extent
        levels, weights = _levels(patches), self._pack(patches)
        classes = self._biases[-1].shape[1]
        labels, uncertainty = np.empty((height, width), np.uint8), np.empty((height, width), np.float32)

        def label_at(y: int, x: int) -> None:
            h, w = min(_HEIGHT, height - y), min(_WIDTH, width - x)
            verdict = np.empty((h, w), np.uint8), np.empty((h, w), np.float32)
            label_block(*_block(levels, top + y, left + x, h, w), weights, self._widths, classes, by_vote, *verdict)
            labels[y : y + h, x : x + w], uncertainty[y : y + h, x : x + w] = verdict

        ys, xs = np.mgrid[0:height:_HEIGHT, 0:width:_WIDTH].reshape(2, -1).tolist()
        with ThreadPoolExecutor(torch.get_num_threads()) as threads:
            list(threads.map(label_at, ys, xs))
        return labels, uncertainty

    def _pack(self, patches: Sequence[Patch]) -> Floats:
        """(M, n): all layers of each member in the order of use, the first one level by level; kept for next time."""
        key = tuple((patch.scale, len(patch.values)) for patch in patches)
        if key not in self._packed:
            levels = [self._weights[0][:, :, level.channels] for level in _levels(patches)]
            parts = [_layer(weight, 0 * self._biases[0], STRIP) for weight in levels[:-1]]
            parts.append(_layer(levels[-1], self._biases[0], STRIP))
            for weight, bias, inputs in zip(self._weights[1:], self._biases[1:], self._widths, strict=False):
                filled = np.pad(weight, ((0, 0), (0, 0), (0, inputs - weight.shape[2])))
                parts.append(_layer(filled, bias, LANES))
            self._packed[key] = np.concatenate(parts, axis=1)
        return self._packed[key]


@dataclass(frozen=True, eq=False)
class _Level:
    """The patches of one scale, and where their channels are among those of all."""

    scale: int
    patches: tuple[Patch, ...]
    channels: Indices

    def native(self, y: int, x: int, h: int, w: int) -> Floats:
        """(rows, columns, channels): what the upsampled values of a block are interpolated from."""
        (top, bottom), (left, right) = native_span(y, h, self.scale), native_span(x, w, self.scale)
        values = np.empty((bottom - top, right - left, len(self.channels)), np.float32)
        first = 0
        for patch in self.patches:
            part = patch.values[:, top - patch.y0 : bottom - patch.y0, left - patch.x0 : right - patch.x0]
            values[:, :, first : first + len(part)] = np.moveaxis(part, 0, 2)
            first += len(part)
        return values


def _levels(patches: Sequence[Patch]) -> list[_Level]:
    """Patches by scale, from coarse to fine; the last level is of scale 1, and empty if no patch is."""
    scales = np.repeat([patch.scale for patch in patches], [len(patch.values) for patch in patches])
    return [
        _Level(
            scale,
            tuple(Patch(_array(p.values), p.y0, p.x0, scale) for p in patches if p.scale == scale),
            np.flatnonzero(scales == scale),
        )
        for scale in sorted({1, *scales.tolist()}, reverse=True)
    ]


def _block(levels: Sequence[_Level], y: int, x: int, h: int, w: int) -> tuple[npt.NDArray[Any], ...]:
    """What the kernel is told of a block: values, levels, down, down_shares, across, across_shares."""
    native = [level.native(y, x, h, w) for level in levels]
    pixels = [v.reshape(v.shape[0] * v.shape[1], v.shape[2]) for v in native]
    parts = [np.pad(v, ((0, -len(v) % PIXELS), (0, 0))) for v in pixels]
    beyond = np.zeros(PIXELS * pixels[-1].shape[1], np.float32)  # the last level's last row may end within a group
    starts, columns = _sums([part.size for part in parts]), _sums([v.shape[1] for v in native])
    down = [block_taps(y, h, level.scale) for level in levels]
    across = [block_taps(x, w, level.scale) for level in levels]
    return (
        np.concatenate([*(part.ravel() for part in parts), beyond]),
        np.array([(start, *v.shape) for start, v in zip(starts, native, strict=True)]),
        np.stack([taps for taps, _ in down], axis=1),
        np.stack([shares for _, shares in down], axis=1),
        np.stack([taps + first for first, (taps, _) in zip(columns, across, strict=True)], axis=1).ravel(),
        np.stack([shares for _, shares in across], axis=1).ravel(),
    )


def _layer(weight: Floats, bias: Floats, multiple: int) -> Floats:
    """Weights (M, O, I) and biases (M, O) as the kernel's (M, n), outputs filled up to a multiple with zeros."""
    members, outputs, inputs = weight.shape
    filled = np.pad(weight, ((0, 0), (0, -outputs % multiple), (0, 0)))
    panels = filled.reshape(members, filled.shape[1] // LANES, LANES, inputs).swapaxes(2, 3)
    return np.concatenate([np.pad(bias, ((0, 0), (0, -outputs % multiple))), panels.reshape(members, -1)], axis=1)


def _array(values: Any) -> npt.NDArray[Any]:
    """NumPy knows no bfloat16."""
    return values if isinstance(values, np.ndarray) else np.asarray(values.float().cpu())


def _sums(sizes: Sequence[int]) -> list[int]:
    """Where each of several things begins that stand one behind another."""
    return list(accumulate(sizes[:-1], initial=0))


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple
