"""The one training loop: steps, metrics, checkpoints, resume, a clean stop."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from tiling.errors import InputError
from tiling.files import write_bytes
from tiling.progress import bar
from training.checkpoint import Checkpoints
from training.errors import DivergedError

METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"


class Trainer(Protocol):
    """What the loop drives. A step, which may be a whole epoch, depends on the state and on its index alone."""

    def step(self, index: int) -> Mapping[str, float]:
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
    done, means = 0, _Means({})
    if latest := checkpoints.latest():
        done, state = latest
        trainer.restore(state["trainer"])
        means = _Means(state["pending"])
    metrics_file = folder / METRICS
    _cut_metrics(metrics_file, done)
    saved_at = time.monotonic()
    ended = done >= config.steps or finished()
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
            if ended or interrupted.is_set() or config.due(done, time.monotonic() - saved_at):
                checkpoints.save(done, {"trainer": trainer.state(), "pending": means.sums})
                saved_at = time.monotonic()
            if interrupted.is_set():
                raise KeyboardInterrupt(f"stopped after step {done}; the same command continues from there")


class Level(float):
    """A metric that is logged as it stands, not as a mean over steps: images seen, a probability that is steered."""


class _Means:
    """Means of metrics over the steps since they were last taken; a metric need not be there in every step."""

    def __init__(self, sums: dict[str, list[float]]) -> None:
        self.sums = sums

    def add(self, metrics: Mapping[str, float], step: int) -> None:
        for name, value in metrics.items():
            if not math.isfinite(value):
                raise DivergedError(f"step {step}: {name} is {value}; begin again with a lower learning rate")
            total, count = (0.0, 0.0) if isinstance(value, Level) else self.sums.get(name, (0.0, 0.0))
            self.sums[name] = [total + value, count + 1]

    def take(self) -> dict[str, float]:
        means = {name: total / count for name, (total, count) in self.sums.items()}
        self.sums.clear()
        return means


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The logged metrics of a run, in order of steps."""
    path = folder / METRICS
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _cut_metrics(path: Path, step: int) -> None:
    """Drop what was logged after the checkpoint, and a last line that a killed process left unfinished."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("}\n") and json.loads(line)["step"] <= step]
    write_bytes(path, "".join(kept).encode())


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """While inside, the first Ctrl-C sets the event; a second one interrupts at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = signal.getsignal(signal.SIGINT)

    def note(_signal: int, _frame: FrameType | None) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, previous)

    signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, previous)
