"""Words for numbers, lists and times."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

_NAMED = 3
_UNITS = ((86400.0, "days"), (3600.0, "h"), (60.0, "min"))  # the longest that the time is twice as long as


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun, in the plural unless there is one; `plural` where an s at the end does not make it.

    Examples
    --------
    >>> counted(1, "annotated sample"), counted(2, "annotated sample"), counted(0, "entry", "entries")
    ('1 annotated sample', '2 annotated samples', '0 entries')
    """
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"


def first_few(items: Sequence[str], separator: str = ", ", *, named: int = _NAMED) -> str:
    """The first three, or `named`, and how many more there are.

    Examples
    --------
    >>> first_few(["a.svs", "b.svs", "c.svs", "d.svs", "e.svs"])
    'a.svs, b.svs, c.svs, and 2 more'
    """
    more = [f"and {len(items) - named} more"] * (len(items) > named)
    return separator.join([*items[:named], *more])


def one_line(error: BaseException) -> str:
    """What an error says, on one line; its kind where it says nothing.

    Examples
    --------
    >>> one_line(ValueError("no\\n  such tag")), one_line(MemoryError())
    ('no such tag', 'MemoryError')
    """
    return " ".join(str(error).split()) or type(error).__name__


def lasting(seconds: float) -> str:
    """A duration in the unit that suits it, with a decimal where it is below ten.

    Examples
    --------
    >>> lasting(8), lasting(100), lasting(150), lasting(9000), lasting(300_000)
    ('8 s', '100 s', '2.5 min', '2.5 h', '3.5 days')
    """
    for length, unit in _UNITS:
        if seconds >= 2 * length:
            count = seconds / length
            return f"{count:.1f} {unit}" if count < 9.95 else f"{count:.0f} {unit}"
    return f"{seconds:.0f} s"


def quoted(path: Path) -> str:
    """A path as it is typed in a shell.

    Examples
    --------
    >>> quoted(Path("kidney")), quoted(Path("my study"))
    ('kidney', "'my study'")
    """
    return shlex.quote(str(path))
