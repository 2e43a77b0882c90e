"""The one training loop: steps, metrics, checkpoints, resume, a clean stop."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Protocol

from torch import Tensor

from tiling.errors import InputError
from tiling.progress import bar, note
from tiling.wording import counted, lasting
from training.checkpoint import Checkpoints, Score
from training.metrics import Means, MetricsLog, Pace, read_metrics

if TYPE_CHECKING:
    from training.host import Host

CHECKPOINTS = "checkpoints"
_COUNTS = ("steps", "keep", "images")
_INTERVALS = ("log_every", "checkpoint_every", "evaluate_every", "picture_every")
_PICTURE, _MEASURE = "picture", "measure"
_FORECAST_AFTER, _LONG = 20.0, 600.0  # seconds: measured so long, what takes longer than that is told


class Trainer(Protocol):
    """What the loop drives. A step, which may be a whole epoch, depends on the state and on its index alone."""

    def step(self, index: int) -> Mapping[str, float | Tensor]:
        """Do step `index` (counted from 0) and return its metrics."""

    def state(self) -> Mapping[str, Any]:
        """All that later steps depend on: nested dicts and lists of tensors and JSON values.

        Of several processes the main one is asked alone: what they need each other for is done in :meth:`step`.
        """

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over a state that :meth:`state` gave."""


Evaluation = Callable[[int], tuple[Mapping[str, float], Score]]
"""Measures a trainer after so many steps: metrics, and what the state is worth by them."""


@dataclass(frozen=True)
class LoopConfig:
    """How long to train and how often to write. Counts are steps.

    A checkpoint is due `checkpoint_seconds` after the last one, and every `checkpoint_every` steps where given. An
    evaluation is due every `evaluate_every` steps, and at the end; a picture every `picture_every`, and then, too.
    `images` is how many a step takes, for the rate that is shown and logged.
    """

    steps: int
    log_every: int = 10
    checkpoint_seconds: float = 120.0
    checkpoint_every: int | None = None
    keep: int = 2
    evaluate_every: int | None = None
    picture_every: int | None = None
    images: int | None = None

    def __post_init__(self) -> None:
        for name in (*_COUNTS, *_INTERVALS):
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
    evaluation: Evaluation | None = None,
    picture: Callable[[int], object] | None = None,
    host: Host | None = None,
    tensorboard: bool = False,
) -> None:
    """Train to `config.steps`, or until `finished` says so, continuing from the newest checkpoint in `folder`.

    Writes `folder/metrics.jsonl` (one line per logged step) and `folder/checkpoints/`. After kill -9 the same call
    loses what came after the last checkpoint and then does the same steps again, after the evaluation or the picture
    that were due at that checkpoint; without `evaluation` it goes on where one fails. Ctrl-C and SIGTERM finish the
    step, write a checkpoint, and raise KeyboardInterrupt.

    Parameters
    ----------
    finished
        Asked before the first step and after each one. It may depend on the trainer's state only, so that a resumed
        training ends where an undisturbed one does.
    evaluation
        What to measure every `config.evaluate_every` steps; the checkpoint with the lowest score is kept.
    picture
        Called with the number of steps done every `config.picture_every` steps and at the end, to show the state.
    host
        This process among several that train together: the main one writes, all stop together.
    tensorboard
        Write the metrics for TensorBoard, too, into `folder/tensorboard/`.

    Raises
    ------
    DivergedError
        When a metric is not finite; the last checkpoint stays as it was.
    """
    _Run(trainer, folder, config, description, finished, evaluation, picture, host, tensorboard).go()


class _Run:
    """One call of :func:`run_loop`."""

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        config: LoopConfig,
        description: str,
        finished: Callable[[], bool],
        evaluation: Evaluation | None,
        picture: Callable[[int], object] | None,
        host: Host | None,
        tensorboard: bool,
    ) -> None:
        self.trainer, self.config, self.description = trainer, config, description
        self.finished, self.evaluation, self.picture, self.host = finished, evaluation, picture, host
        self.writes = host is None or host.is_main
        self.checkpoints = Checkpoints(folder / CHECKPOINTS, keep=config.keep)
        if self.writes:
            self.checkpoints.sweep()
        self.done, self.means, self.owed, lines = 0, Means({}), [], 0
        if latest := self.checkpoints.latest():
            self.done, state = latest
            trainer.restore(state["trainer"])
            self.means, self.owed = Means(state["pending"]), state.get("owed", [])
            logged = sum(line["step"] <= self.done for line in read_metrics(folder))
            lines = state.get("lines", logged)  # earlier versions told neither
        if host is not None and host.told(self.done) != self.done:
            raise InputError(f"{folder} is at step {self.done} here, and at another for the main process: share it")
        self.log = MetricsLog(folder, lines, self.done, writes=self.writes, tensorboard=tensorboard)
        self.pace = Pace(config.images, self.done)

    def go(self) -> None:
        """All steps that are left."""
        config = self.config
        ended = self.done >= config.steps or self.finished()
        if self.done and not ended and self.writes:
            note(f"{self.description}: going on from step {self.done} of {config.steps}")
        drawn = bar(self.description, total=config.steps, completed=self.done)
        with _interruptible(speaks=self.writes) as interrupted, drawn as show, self.log:
            if self.writes:
                with self.pace.paused():
                    self._look(self.owed)
            saved_at, forecast = time.monotonic(), _Forecast(self.description, self.done, config.steps)
            while not ended:
                self.means.add(self.trainer.step(self.done), self.done + 1)
                self.done += 1
                ended = self.done >= config.steps or self.finished()
                if ended or self.done % config.log_every == 0:
                    metrics = self.means.take() | self.pace.measured(self.done)
                    self.log.write(self.done, metrics)
                    show(detail=_in_words(metrics))
                show(completed=self.done)
                forecast.look(self.done)
                stopped = interrupted.is_set() if self.host is None else self.host.any(interrupted.is_set())
                draws = self.picture is not None and self._is_time(config.picture_every, ended)
                measures = self.evaluation is not None and (ended or self._is_time(config.evaluate_every))
                owed = [_PICTURE] * draws + [_MEASURE] * measures
                if self.writes and (ended or stopped or owed or config.due(self.done, time.monotonic() - saved_at)):
                    with self.pace.paused():
                        self._save(owed)
                        if not stopped:
                            self._look(owed)
                    saved_at = time.monotonic()
                if stopped:
                    raise KeyboardInterrupt(f"stopped after step {self.done}; the same command continues from there")

    def _is_time(self, every: int | None, ended: bool = False) -> bool:
        """Whether it is time for what is done every so many steps, and perhaps at the end; never for None."""
        return every is not None and (ended or self.done % every == 0)

    def _save(self, owed: Sequence[str] = (), score: Score | None = None) -> None:
        """Write the state, with what is to be done with it yet, and what it is worth, if that was measured."""
        state = {
            "trainer": self.trainer.state(), "pending": self.means.settled(), "lines": self.log.lines, "owed": owed,
        }  # fmt: skip
        self.checkpoints.save(self.done, state, score=score)

    def _look(self, owed: Sequence[str]) -> None:
        """Do with a saved state what is owed: a picture is drawn again where a training goes on from it."""
        if _PICTURE in owed and self.picture is not None:
            self._draw(self.picture)
        if _MEASURE in owed and self.evaluation is not None:
            self._save(score=self._measured(self.evaluation))

    def _draw(self, picture: Callable[[int], object]) -> None:
        """Show the state; a training goes on without a picture that cannot be written."""
        try:
            picture(self.done)
        except OSError as error:
            note(f"{self.description}, step {self.done}: no picture ({error})")

    def _measured(self, evaluation: Evaluation) -> Score:
        """Measure, log it, and say what the state is worth; processes that do not write wait at their next step."""
        metrics, score = evaluation(self.done)
        self.log.write(self.done, metrics)
        note(f"{self.description}, step {self.done}: {_in_words(metrics)}")
        return score


def _in_words(metrics: Mapping[str, float]) -> str:
    return " ".join(f"{name} {value:.3g}" for name, value in metrics.items())


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
def _interruptible(*, speaks: bool) -> Iterator[threading.Event]:
    """While inside, the first Ctrl-C or SIGTERM sets the event, and says so; a second one acts at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop_after_step(_signal: int, _frame: FrameType | None) -> None:
        interrupted.set()
        restore()
        if speaks:
            with suppress(RuntimeError):  # it came while something else was being written
                note("stopping after this step; once more stops at once, and loses what came after the last checkpoint")

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    for number in previous:
        signal.signal(number, stop_after_step)
    try:
        yield interrupted
    finally:
        restore()
