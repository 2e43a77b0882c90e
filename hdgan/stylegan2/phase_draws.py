"""The random numbers of one phase of one step, for some samples of the global batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from training.draws import sample_draws, torch_draws


@dataclass(frozen=True)
class PhaseDraws:
    """Draws keyed by (seed, phase, step) and the sample's place in the batch: the same however the batch is cut.

    What is small is drawn on the CPU, the same on every device; what is as large as an image is drawn on the device.
    """

    seed: int
    phase: str
    step: int
    samples: Sequence[int]
    device: torch.device

    def of_samples(self, what: str, *, here: bool = False) -> list[torch.Generator]:
        """A generator for each sample, on the CPU or here, on the device."""
        device = self.device if here else None
        return sample_draws(self.seed, f"{self.phase} {what}", self.step, self.samples, device=device)

    def normal(self, what: str, shape: Sequence[int], *, here: bool = False) -> Tensor:
        """(N, *shape) standard normal numbers on the device."""
        each = [
            torch.randn(tuple(shape), generator=draws, device=draws.device)
            for draws in self.of_samples(what, here=here)
        ]
        return torch.stack(each).to(self.device)

    def crossover(self, num_ws: int, probability: float) -> int | None:
        """Where the styles of the whole batch change to others, if they do."""
        draws = torch_draws(self.seed, f"{self.phase} mixing", self.step)
        place = int(torch.randint(1, num_ws, (), generator=draws))
        return place if float(torch.rand((), generator=draws)) < probability else None
