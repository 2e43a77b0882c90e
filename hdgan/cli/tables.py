"""Tables of the verbs that tell numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

_UNBOUNDED = 10_000  # columns, far more than any table has: names are never cut
_PROSE = 36  # columns, at least


def print_table(
    title: str, rows: Sequence[Mapping[str, str]], *, words: Collection[str], prose: Collection[str] = ()
) -> None:
    """Print rows {heading: text}, whatever the width of the terminal.

    The columns in `words` are no numbers, and those in `prose` are broken into lines.
    """
    table = Table(title=title)
    for heading in rows[0]:
        table.add_column(
            heading,
            justify="left" if heading in words else "right",
            no_wrap=heading not in prose,
            max_width=_PROSE if heading in prose else None,
        )
    for row in rows:
        table.add_row(*row.values())
    console = Console()
    needed = Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).maximum
    for column in table.columns:
        column.max_width = None
    Console(width=max(console.width, needed)).print(table)
