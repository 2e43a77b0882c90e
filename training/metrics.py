"""Metrics of a training: means over steps, and the file of them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from tiling.files import write_bytes
from training.errors import DivergedError

METRICS = "metrics.jsonl"


class Level(float):
    """A metric that is logged as it stands, not as a mean over steps: images seen, a probability that is steered."""


class Means:
    """Means of metrics over the steps since they were last taken; a metric need not be there in every step.

    Tensors are only looked at when the means are wanted: a step on a GPU is not waited for.
    """

    def __init__(self, sums: dict[str, list[float]]) -> None:
        self._sums = sums
        self._pending: list[tuple[int, str, float | Tensor]] = []

    def add(self, metrics: Mapping[str, float | Tensor], step: int) -> None:
        """Take in the metrics of a step."""
        self._pending += [(step, name, value) for name, value in metrics.items()]

    def settled(self) -> dict[str, list[float]]:
        """Sum and count of each metric; a :class:`DivergedError` if a value is not finite."""
        for step, name, given in self._pending:
            value = given if isinstance(given, Level) else float(given)
            if not math.isfinite(value):
                raise DivergedError(f"step {step}: {name} is {value}; begin again with a lower learning rate")
            total, count = (0.0, 0.0) if isinstance(value, Level) else self._sums.get(name, (0.0, 0.0))
            self._sums[name] = [total + value, count + 1]
        self._pending.clear()
        return self._sums

    def take(self) -> dict[str, float]:
        """The means, and begin anew."""
        means = {name: total / count for name, (total, count) in self.settled().items()}
        self._sums.clear()
        return means


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The logged metrics of a run, in order of steps."""
    return [json.loads(line) for line in _whole_lines(folder / METRICS)]


def cut_metrics(path: Path, step: int) -> None:
    """Drop what was logged after the checkpoint, and a last line that a killed process left unfinished."""
    if path.exists():
        kept = [line for line in _whole_lines(path) if json.loads(line)["step"] <= step]
        write_bytes(path, "".join(kept).encode())


def _whole_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("}\n")]
