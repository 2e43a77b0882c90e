"""The one training loop: steps, metrics, checkpoints, resume, a clean stop."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from torch import Tensor

from tiling.errors import InputError
from tiling.progress import bar, note
from tiling.wording import counted, lasting
from training.checkpoint import Checkpoints
from training.metrics import METRICS, Means, cut_metrics

CHECKPOINTS = "checkpoints"
_FORECAST_AFTER, _LONG = 20.0, 600.0  # seconds: measured so long, what takes longer than that is told


class Trainer(Protocol):
    """What the loop drives. A step, which may be a whole epoch, depends on the state and on its index alone."""

    def step(self, index: int) -> Mapping[str, float | Tensor]:
        """Do step `index` (counted from 0) and return its metrics."""

    def state(self) -> Mapping[str, Any]:
        """All that later steps depend on: nested dicts and lists of tensors and JSON values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that :meth:`state` gave."""


@dataclass(frozen=True)
class LoopConfig:
    """How long to train and how often to write. Counts are steps.

    A checkpoint is due `checkpoint_seconds` after the last one, and every `checkpoint_every` steps where given.
    """

    steps: int
    log_every: int = 10
    checkpoint_seconds: float = 120.0
    checkpoint_every: int | None = None
    keep: int = 2

    def __post_init__(self) -> None:
        for name in ("steps", "log_every", "checkpoint_every", "keep"):
            if (count := getattr(self, name)) is not None and count < 1:
                raise InputError(f"{name} must be at least 1, not {count}")

    def due(self, done: int, seconds: float) -> bool:
        """Whether to write a checkpoint after `done` steps and so many seconds since the last one."""
        every = self.checkpoint_every
        return seconds > self.checkpoint_seconds or (every is not None and done % every == 0)


def run_loop(
    trainer: Trainer,
    folder: Path,
    config: LoopConfig,
    description: str,
    *,
    finished: Callable[[], bool] = lambda: False,
) -> None:
    """Train to `config.steps`, or until `finished` says so, continuing from the newest checkpoint in `folder`.

    Writes `folder/metrics.jsonl` (one line per logged step) and `folder/checkpoints/`. After kill -9 the same call
    loses what came after the last checkpoint and then does the same steps again. Ctrl-C finishes the step, writes a
    checkpoint, and raises KeyboardInterrupt.

    `finished` is asked before the first step and after each one. It may depend on the trainer's state only, so that
    a resumed training ends where an undisturbed one does.

    Raises
    ------
    DivergedError
        When a metric is not finite; the last checkpoint stays as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    checkpoints = Checkpoints(folder / CHECKPOINTS, keep=config.keep)
    done, means = 0, Means({})
    if latest := checkpoints.latest():
        done, state = latest
        trainer.restore(state["trainer"])
        means = Means(state["pending"])
    metrics_file = folder / METRICS
    cut_metrics(metrics_file, done)
    saved_at = time.monotonic()
    ended = done >= config.steps or finished()
    forecast = _Forecast(description, done, config.steps)
    drawn = bar(description, total=config.steps, completed=done)
    with _interruptible() as interrupted, drawn as show, metrics_file.open("a", encoding="utf-8") as log:
        while not ended:
            means.add(trainer.step(done), done + 1)
            done += 1
            ended = done >= config.steps or finished()
            if ended or done % config.log_every == 0:
                metrics = means.take()
                log.write(json.dumps({"step": done, **metrics}) + "\n")
                log.flush()
                show(detail=" ".join(f"{name} {value:.3g}" for name, value in metrics.items()))
            show(completed=done)
            forecast.look(done)
            if ended or interrupted.is_set() or config.due(done, time.monotonic() - saved_at):
                checkpoints.save(done, {"trainer": trainer.state(), "pending": means.settled()})
                saved_at = time.monotonic()
            if interrupted.is_set():
                raise KeyboardInterrupt(f"stopped after step {done}; the same command continues from there")


class _Forecast:
    """Tells once, when some steps are done, how long a long training is going to take."""

    def __init__(self, description: str, done: int, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._description, self._first, self._steps, self._clock = description, done, steps, clock
        self._began, self._told = clock(), False

    def look(self, done: int) -> None:
        seconds = self._clock() - self._began
        if self._told or seconds < _FORECAST_AFTER:
            return
        self._told = True
        left = seconds * (self._steps - done) / (done - self._first)
        if left > _LONG:
            note(
                f"{self._description}: {counted(self._steps - done, 'more step')} would take about {lasting(left)}; "
                "Ctrl-C stops it at any time, and the same command goes on"
            )


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """While inside, the first Ctrl-C sets the event; a second one interrupts at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = signal.getsignal(signal.SIGINT)

    def stop_after_step(_signal: int, _frame: FrameType | None) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, stop_after_step)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
