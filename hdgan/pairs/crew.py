"""Who does the work on pairs: this process, workers of this machine, or those of a scheduler."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from hdgan.checks import check_number
from tiling.wording import one_line
from tiling.workers import Done, Task, Workers, check_workers, start_workers

T = TypeVar("T", bound=Task)
_MEMORY = "4GiB"  # of a worker of this machine
_KILLED = "KilledWorker"


@dataclass(frozen=True)
class Crew:
    """Who works on pairs: this process, so many workers of this machine, or those of a dask scheduler.

    Attributes
    ----------
    scheduler, workers, memory
        See :func:`tiling.workers.start_workers`; without a scheduler, 0 workers are this process.
    retries
        How often a worker tries a pair again that ended with an error. In this process an error ends the work.

    Raises
    ------
    InputError
        For what :func:`tiling.workers.check_workers` refuses, and numbers that make no sense.
    """

    scheduler: str | None = None
    workers: int = 0
    memory: str | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        check_number("workers", self.workers, 0, 10_000)
        check_number("retries", self.retries, 0, 1000)
        check_workers(scheduler=self.scheduler, count=self.workers or None, memory=self.memory)

    @property
    def is_this_process(self) -> bool:
        """Whether nobody else works."""
        return self.scheduler is None and not self.workers

    def of_at_most(self, count: int) -> Crew:
        """The same with no more workers of this machine than there is work for."""
        return replace(self, workers=min(self.workers, count))

    def do(self, tasks: Iterator[T], settle: Callable[[Done[T]], None]) -> None:
        """Do tasks, and hand on each as it ends."""
        if self.is_this_process:
            for task in tasks:
                settle(Done(task, result=task()))
        elif self.scheduler is not None:
            with start_workers(scheduler=self.scheduler, count=None) as workers:
                _share_out(workers, tasks, settle, self.retries)
        else:
            with start_workers(scheduler=None, count=self.workers, memory=self.memory or _MEMORY) as workers:
                _share_out(workers, tasks, settle, self.retries)


def _share_out(workers: Workers, tasks: Iterator[T], settle: Callable[[Done[T]], None], retries: int) -> None:
    """Do tasks that are made, each with what it needs, when somebody is about to be free for them."""
    waiting: deque[T] = deque(itertools.islice(tasks, max(workers.count(), 1)))
    for done in workers.run(waiting, retries=retries):
        settle(done)
        waiting.extend(itertools.islice(tasks, max(workers.count() - len(waiting), 0)))


def why_it_failed(error: BaseException) -> str:
    """The error that a task ended with, in a line."""
    kind = type(error).__name__
    if kind == _KILLED:
        return "its worker died again and again, perhaps for want of memory; give workers more memory"
    return f"{kind}: {one_line(error)}"
