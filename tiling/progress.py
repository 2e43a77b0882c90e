"""Progress bars that a script can switch off."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Switch progress bars and notes off (or on again) for the whole process: `hdgan VERB --quiet`."""
    global _quiet
    _quiet = quiet


def note(message: str) -> None:
    """Say something on standard error; nothing when quiet."""
    if not _quiet:
        print(message, file=sys.stderr)


@contextmanager
def bar(description: str, *, total: int | None, completed: int = 0) -> Iterator[Callable[..., None]]:
    """Draw a progress bar on standard error, if that is a terminal.

    Gives a function that moves it: `show(completed=3, detail="loss 0.5")`, each of them if it has changed.
    """
    terminal = None if _quiet else _terminal()
    if terminal is None:
        yield lambda **_: None
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    columns += [TimeRemainingColumn(), TextColumn("{task.fields[detail]}")]
    with Progress(*columns, console=terminal) as progress:
        task = progress.add_task(description, total=total, completed=completed, detail="")
        yield functools.partial(progress.update, task)


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
