"""Metrics of a training: means over steps, and the file of them."""

from __future__ import annotations

import importlib
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tiling.errors import InputError
from tiling.files import write_bytes
from training.errors import DivergedError

if TYPE_CHECKING:
    from torch import Tensor

METRICS, TENSORBOARD = "metrics.jsonl", "tensorboard"
PACE = ("images_per_second", "memory_gib")
"""What is logged of how a training goes, not of what it trains."""


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


class MetricsLog:
    """The file of metrics of a run, continued after some of its lines, and TensorBoard's after a step, where wanted.

    What was logged after those lines is dropped.

    Attributes
    ----------
    lines
        In the file, so far.
    """

    def __init__(self, folder: Path, lines: int, step: int, *, writes: bool, tensorboard: bool) -> None:
        self._path, self._writes, self._board, self.lines = folder / METRICS, writes, None, 0
        if writes:
            folder.mkdir(parents=True, exist_ok=True)
            kept = _whole_lines(self._path)[:lines]
            write_bytes(self._path, "".join(kept).encode())
            self.lines = len(kept)
            self._board = _open_tensorboard(folder / TENSORBOARD, step) if tensorboard else None

    def __enter__(self) -> None:
        self._file = self._path.open("a", encoding="utf-8") if self._writes else None

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()

    def write(self, step: int, metrics: Mapping[str, float]) -> None:
        """Log the metrics of a step."""
        if self._file is not None:
            self._file.write(json.dumps({"step": step, **metrics}) + "\n")
            self._file.flush()
            self.lines += 1
        if self._board is not None:
            for name, value in metrics.items():
                self._board.add_scalar(name, value, step)


def require_tensorboard() -> None:
    """An :class:`InputError` if TensorBoard's log cannot be written."""
    try:
        importlib.import_module("torch.utils.tensorboard")
    except ModuleNotFoundError as error:
        raise InputError("TensorBoard is not installed: pip install tensorboard") from error


def _open_tensorboard(folder: Path, step: int) -> Any:
    require_tensorboard()
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder), purge_step=step + 1)


class Pace:
    """How fast the steps of a training are, and how much memory it has taken at most, for its log."""

    def __init__(self, images: int | None, done: int) -> None:
        self._images, self._done, self._since = images, done, time.monotonic()
        _forget_peak_memory()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """What is done inside is no step."""
        _finish_queued_work()
        began = time.monotonic()
        yield
        self._since += time.monotonic() - began

    def measured(self, done: int) -> dict[str, float]:
        """Images a second since the last call, and GiB; nothing where steps take no images."""
        if self._images is None:
            return {}
        now = time.monotonic()
        rate = (done - self._done) * self._images / max(now - self._since, 1e-9)
        self._done, self._since = done, now
        return dict(zip(PACE, (round(rate, 4), round(_peak_memory() / 2**30, 3)), strict=True))


def _finish_queued_work() -> None:
    """Wait for what a GPU was told to do, which belongs to the steps before."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _forget_peak_memory() -> None:
    """Begin a GPU's peak anew, which is that of the process, for one that trains several networks in turn."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory() -> int:
    """Bytes: the most that the GPU has held for this process, or where it uses none, that the process has held."""
    import resource

    import torch

    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _whole_lines(path: Path) -> list[str]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [line for line in lines if line.endswith("}\n")]
