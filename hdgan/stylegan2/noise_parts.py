"""The noise of a layer as windows take it: part by part, of maps that need not be whole in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from hdgan.stylegan2.synthesis import Draws, NoiseMode, SynthesisLayer
from training.mapped import let_go

_WHOLE_BYTES = 2**26  # of a map that is drawn once and kept: that of 4096 px
_BAND = 64  # rows that are drawn together


class NoiseParts(Protocol):
    """A map of noise (R, R), before its strength."""

    def part(self, rows: slice, columns: slice) -> Tensor:
        """(1, 1, h, w) float32 on the layer's device."""


def noise_parts(layer: SynthesisLayer, mode: NoiseMode, draws: Draws) -> NoiseParts | None:
    """The noise that `layer.noise(1, mode, draws)` gives; `draws` is left in the same state."""
    if mode == "const":
        return StoredNoise(layer.noise_const)
    stored = layer.noise_const
    if mode == "random" and stored.nbytes > _WHOLE_BYTES:
        one = draws[0] if isinstance(draws, Sequence) else draws
        if one is None and stored.device.type == "cpu":
            one = torch.default_generator
        if one is not None and one.device.type == "cpu":  # others do not draw in bands what they draw at once
            return DrawnNoise(len(stored), one, stored.device)
    drawn = layer.noise(1, mode, draws)
    return None if drawn is None else StoredNoise(drawn[0, 0])


class StoredNoise:
    """A map that is in memory, or in a file: then nothing of it stays in memory.

    Parameters
    ----------
    values
        (R, R) float32.
    """

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def part(self, rows: slice, columns: slice) -> Tensor:
        """(1, 1, h, w), a copy."""
        part = self._values[None, None, rows, columns].clone()
        let_go(self._values)
        return part


class DrawnNoise:
    """A map that is drawn again wherever it is asked for; what the last part lay in is kept, for the one beside it.

    It is what `torch.randn` draws at once. So all of it is drawn when this is made, and dropped, but for the state of
    the generator before every band of rows.

    Parameters
    ----------
    size
        R.
    draws
        On the CPU; it is left as after drawing the map.
    device
        Where parts go.
    """

    def __init__(self, size: int, draws: torch.Generator, device: torch.device) -> None:
        self._size, self._device = size, device
        self._states: list[Tensor] = []
        passing = self._band()  # one for all: states that lie between bands would keep the memory of these apart
        for _ in range(0, size, _BAND):
            self._states.append(draws.get_state())
            passing.normal_(generator=draws)
        self._kept: dict[int, Tensor] = {}

    def part(self, rows: slice, columns: slice) -> Tensor:
        """(1, 1, h, w)."""
        bands = range(rows.start // _BAND, (rows.stop - 1) // _BAND + 1)
        before = self._kept
        self._kept = kept = {band: before[band] if band in before else self._again(band) for band in bands}
        part = torch.cat([values[:, columns] for values in kept.values()])
        start = rows.start - _BAND * bands.start
        return part[None, None, start : start + rows.stop - rows.start].to(self._device)

    def _again(self, band: int) -> Tensor:
        return self._band().normal_(generator=torch.Generator().set_state(self._states[band]))

    def _band(self) -> Tensor:
        """Room for a power of two of at least 16 numbers, which come as if all were drawn at once."""
        return torch.empty((min(_BAND, self._size), self._size))
