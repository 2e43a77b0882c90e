"""Words that depend on a number."""

from __future__ import annotations


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """A number with its noun, in the plural unless there is one; `plural` where an s at the end does not make it.

    Examples
    --------
    >>> counted(1, "annotated sample"), counted(2, "annotated sample"), counted(0, "entry", "entries")
    ('1 annotated sample', '2 annotated samples', '0 entries')
    """
    return f"{count} {singular if count == 1 else plural or f'{singular}s'}"
