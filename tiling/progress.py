"""Progress bars that a script can switch off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

T = TypeVar("T")
_console = Console(stderr=True)


def set_quiet(quiet: bool) -> None:
    """Switch progress bars off (or on again) for the whole process: `hdgan --quiet`."""
    _console.quiet = quiet


def note(message: str) -> None:
    """Say something on standard error, as one line whatever its length; nothing when quiet."""
    _console.print(message, soft_wrap=True, markup=False, highlight=False)


def bar() -> Progress:
    """A progress display on standard error, if that is a terminal; use it as a context manager and add tasks to it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
        console=_console,
        disable=not _console.is_terminal,
    )


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
    with bar() as progress:
        task = progress.add_task(description, total=total, detail="")
        for item in items:
            yield item
            progress.advance(task)
