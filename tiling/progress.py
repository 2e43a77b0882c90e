"""Progress: bars on a terminal, a line now and then elsewhere, nothing where a script wants none."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from tiling.wording import lasting

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
SECONDS_BETWEEN_LINES = 30.0
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Switch progress and notes off (or on again) for the whole process: `hdgan VERB --quiet`."""
    global _quiet
    _quiet = quiet


def note(message: str) -> None:
    """Say something on standard error; nothing when quiet."""
    if not _quiet:
        print(message, file=sys.stderr)


@contextmanager
def bar(description: str, *, total: int | None, completed: int = 0) -> Iterator[Callable[..., None]]:
    """Draw a progress bar on standard error, or print a line every half a minute where that is no terminal.

    Gives a function that moves it: `show(completed=3, detail="loss 0.5")`, each of them if it has changed.
    """
    terminal = None if _quiet else _terminal()
    if terminal is None:
        yield _Lines(description, total, completed).show
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.table import Column

    columns = [TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn()]
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")  # what the line has no room for is cut from the detail
    columns += [TimeRemainingColumn(), TextColumn("{task.fields[detail]}", table_column=rest)]
    with Progress(*columns, console=terminal, expand=True) as progress:
        task = progress.add_task(description, total=total, completed=completed, detail="")
        yield functools.partial(progress.update, task)


class _Lines:
    """What a log file gets in place of a bar."""

    def __init__(
        self, description: str, total: int | None, completed: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._description, self._total, self._clock = description, total, clock
        self._first: float = completed
        self._completed: float = completed
        self._detail = ""
        self._began = self._said = clock()

    def show(self, completed: float | None = None, detail: str | None = None) -> None:
        """Take over what has changed, and print it if the last line is long ago."""
        self._completed = self._completed if completed is None else completed
        self._detail = self._detail if detail is None else detail
        now = self._clock()
        if now - self._said >= SECONDS_BETWEEN_LINES:
            self._said = now
            note(self._line(now - self._began))

    def _line(self, seconds: float) -> str:
        of = "" if self._total is None else f" of {self._total}"
        parts = [f"{self._description}: {math.floor(self._completed)}{of}", f"{lasting(seconds)} so far"]
        if self._total is not None and self._first < self._completed < self._total:
            left = seconds * (self._total - self._completed) / (self._completed - self._first)
            parts.append(f"about {lasting(left)} left")
        return ", ".join([*parts, self._detail] if self._detail else parts)


@functools.cache
def _terminal() -> Console | None:
    """What bars are drawn on, if there is a terminal; a bare GPU host may have no rich to draw with."""
    try:
        from rich.console import Console
    except ModuleNotFoundError:
        return None
    console = Console(stderr=True)
    return console if console.is_terminal else None


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Iterate over `items` behind a progress bar.

    Examples
    --------
    >>> set_quiet(True)
    >>> [2 * i for i in track(range(3), "doubling")]
    [0, 2, 4]
    """
    if total is None and isinstance(items, Sized):
        total = len(items)
    with bar(description, total=total) as show:
        for done, item in enumerate(items, start=1):
            yield item
            show(completed=done)
