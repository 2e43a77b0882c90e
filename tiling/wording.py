"""Words that depend on a number."""

from __future__ import annotations

from collections.abc import Sequence

_NAMED = 3


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun, in the plural unless there is one; `plural` where an s at the end does not make it.

    Examples
    --------
    >>> counted(1, "annotated sample"), counted(2, "annotated sample"), counted(0, "entry", "entries")
    ('1 annotated sample', '2 annotated samples', '0 entries')
    """
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"


def first_few(items: Sequence[str], separator: str = ", ") -> str:
    """The first three, and how many more there are.

    Examples
    --------
    >>> first_few(["a.svs", "b.svs", "c.svs", "d.svs", "e.svs"])
    'a.svs, b.svs, c.svs, and 2 more'
    """
    more = [f"and {len(items) - _NAMED} more"] * (len(items) > _NAMED)
    return separator.join([*items[:_NAMED], *more])
