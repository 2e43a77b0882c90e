"""One page for an archive: what became of every slide, in a file that any browser opens without a network."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tiling.files import write_bytes
from tiling.ledger import DROPPED, PAGE, told_dropped
from tiling.page_assets import SCRIPT, STYLE
from tiling.wording import counted

Row = Mapping[str, Any]

_FIRST = ("slide", "status", "reason", "tiles", "candidates")
_LAST = ("width", "height", "mpp", "backend", "patient", "fold")
_UNFOLDED = ("error", "traceback", "corrupt_cells")  # below the reason
_TOLD_ELSEWHERE = {*_UNFOLDED, "fingerprint", "key"}
_CELL_FIELDS = ("level", "row", "column", "x", "y", "width", "height")
_CELL_WIDTH = 7
_CELLS_LISTED = 100  # a slide can have thousands; the ledger has them all
_DIGITS = 4  # of a number that is no whole one


class _Column(NamedTuple):
    name: str
    title: str
    is_number: bool


def write_page(
    folder: Path,
    rows: Iterable[Row],
    *,
    title: str = "Tiles of an archive",
    pictures: Mapping[str, str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Path:
    """Write the page of a ledger: failures first, then slides with corrupt cells, then empty ones, then the rest.

    It is one file that loads nothing but the slides' pictures, when they come into view, and runs nothing but its own
    script, which sorts and searches; without scripts it is a plain table. The same rows give the same bytes.

    Parameters
    ----------
    folder
        Where `index.html` is written, whole or not at all.
    rows
        Of the ledger (:data:`tiling.ledger.COLUMNS`), a slide each, with `slide`, `status` and `tiles` at least. Any
        further column is shown.
    title
        Heading of the page.
    pictures
        Paths of pictures below `folder`, POSIX, by slide.
    settings
        What was asked for, shown folded.

    Returns
    -------
    Path
        Of the page.
    """
    ordered = sorted(rows, key=lambda row: (_rank(row), row["slide"]))
    columns = _columns(ordered)
    parts = [
        f"<h1>{escape(title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in _in_words(ordered)),
        _folded("Settings", _facts(settings)) if settings else "",
        _table(ordered, columns, pictures or {}),
    ]
    page = _document(title, parts, STYLE + _column_style(columns, with_pictures=bool(pictures)))
    path = folder / PAGE
    write_bytes(path, page.encode("utf-8", "replace"))  # a name that is no text has lone surrogates
    return path


def _rank(row: Row) -> int:
    """0 for failed, 1 for slides with corrupt cells, 2 for empty, 3 for done."""
    if row["status"] == "failed":
        return 0
    if row.get("corrupt_cells"):
        return 1
    return 2 if row["status"] == "empty" else 3


def _columns(rows: Sequence[Row]) -> list[_Column]:
    """The columns that hold something: what, why, how many tiles, what was dropped, the slide, all else."""
    values: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            if value is not None and name not in _TOLD_ELSEWHERE and (value or name not in DROPPED):
                values.setdefault(name, []).append(value)
    if any(row.get("corrupt_cells") for row in rows):
        values["corrupt_cells"] = [0]
    if any(row.get(name) for row in rows for name in _UNFOLDED):
        values.setdefault("reason", [""])
    named = (*_FIRST, *DROPPED, "corrupt_cells", *_LAST)
    names = [name for name in named if name in values] + [name for name in values if name not in named]
    columns = [_Column(name, _words(name), _all_numbers(values[name])) for name in names]
    if any(row.get("fingerprint") for row in rows):
        columns.append(_Column("fingerprint", "fingerprint", is_number=False))
    return columns


def _all_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _words(name: str) -> str:
    return name.replace("_", " ")


def _in_words(rows: Sequence[Row]) -> list[str]:
    """What became of the archive, a line each."""
    statuses = [row["status"] for row in rows]
    number = {status: statuses.count(status) for status in ("done", "empty", "failed")}
    told = [f"{_counted(len(rows), 'slide')}: " + ", ".join(f"{count:,} {status}" for status, count in number.items())]
    tiles, candidates = (sum(row.get(name) or 0 for row in rows) for name in ("tiles", "candidates"))
    told[0] += f". {_counted(tiles, 'tile')}" + (f" of {_counted(candidates, 'candidate')}." if candidates else ".")
    if dropped := told_dropped(rows):
        told.append(f"Dropped: {dropped}.")
    cells = [len(row.get("corrupt_cells") or ()) for row in rows]
    if any(cells):
        lines = f"{_counted(sum(cells), 'corrupt cell')} in {_counted(sum(map(bool, cells)), 'slide')}."
        told.append(lines[0].upper() + lines[1:])
    return told


def _counted(count: int, noun: str) -> str:
    """As `counted`, with the thousands set apart."""
    return counted(count, noun).replace(str(count), f"{count:,}", 1)


def _facts(facts: Mapping[str, Any]) -> str:
    """A list of names and values; those that are None are left out."""
    pairs = "".join(
        f"<dt>{escape(_words(name))}</dt><dd>{escape(_shown(value))}</dd>"
        for name, value in facts.items()
        if value is not None
    )
    return f"<dl>{pairs}</dl>" if pairs else ""


def _shown(value: Any) -> str:
    """A value as text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.{_DIGITS}g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(str(name))} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(map(_shown, value))
    return str(value)


def _table(rows: Sequence[Row], columns: Sequence[_Column], pictures: Mapping[str, str]) -> str:
    """The table with what the script needs to sort and search it."""
    head = "".join(f'<th scope="col"{_sorted_by(column)}>{escape(column.title)}</th>' for column in columns)
    if pictures:
        head = f'<th scope="col" data-fixed>picture</th>{head}'
    body = "\n".join(_table_row(row, columns, pictures) for row in rows)
    controls = (
        '<form id="controls" hidden><input type="search" placeholder="Search" aria-label="Search slides">'
        '<select aria-label="Status"><option value="">all slides</option><option value="0">failed</option>'
        '<option value="1">with corrupt cells</option><option value="2">empty</option><option value="3">done</option>'
        '</select><select aria-label="Sort by"></select><output aria-live="polite"></output>'
        '<button type="button">Show all</button></form>'
    )
    return f"{controls}\n<table><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>"


def _sorted_by(column: _Column) -> str:
    """How the script orders a column: as numbers, by the rank of the row, else as text."""
    if column.is_number:
        return " data-number"
    return " data-rank" if column.name == "status" else ""


def _table_row(row: Row, columns: Sequence[_Column], pictures: Mapping[str, str]) -> str:
    cells = []
    if pictures:
        cells.append(_picture(pictures.get(row["slide"])))
    for column in columns:
        if column.name == "reason":
            cells.append(_reason(row))
        elif column.name == "corrupt_cells":
            cells.append(str(len(row.get("corrupt_cells") or ()) or ""))
        else:
            cells.append(escape(_shown(row.get(column.name))))
    return f'<tr data-rank="{_rank(row)}">' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def _picture(path: str | None) -> str:
    if path is None:
        return ""
    address = escape(quote(path, errors="surrogateescape"))
    return f'<a href="{address}"><img src="{address}" loading="lazy" width="96" height="72" alt="overview"></a>'


def _reason(row: Row) -> str:
    """Why a slide gave no more, and what can be unfolded: its traceback, its corrupt cells."""
    reason, error = (_shown(row.get(name)) for name in ("reason", "error"))
    parts = [escape(reason)]
    if error and error not in reason:
        parts.append(f"<p>{escape(error)}</p>")
    if row.get("traceback"):
        parts.append(_folded("Traceback", f"<pre>{escape(row['traceback'])}</pre>"))
    cells = row.get("corrupt_cells") or ()
    if cells:
        listed = [_CELL_FIELDS, *([_shown(cell.get(name)) for name in _CELL_FIELDS] for cell in cells[:_CELLS_LISTED])]
        lines = ["".join(f"{text:>{_CELL_WIDTH}}" for text in line) for line in listed]
        if len(cells) > _CELLS_LISTED:
            lines.append(f"and {len(cells) - _CELLS_LISTED} more, in the ledger")
        parts.append(_folded(_counted(len(cells), "corrupt cell"), f"<pre>{escape(chr(10).join(lines))}</pre>"))
    return "".join(parts)


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def _column_style(columns: Sequence[_Column], *, with_pictures: bool) -> str:
    """What the style of single columns is, by their number: so no cell needs to say it."""
    first = 2 if with_pictures else 1
    wide, narrow = [], []
    for number, column in enumerate(columns, first):
        special = _COLUMN_STYLES.get(column.name)
        if column.is_number:
            wide.append(f":is(th,td):nth-child({number}){{text-align:right;font-variant-numeric:tabular-nums}}")
        elif special:
            wide.append(f"td:nth-child({number}){{{special}}}")
        if not special:
            narrow.append(f"td:nth-child({number})::before{{content:{_css_text(column.title)}}}")
    return "\n".join([*wide, "@media (max-width: 48rem) {", *narrow, "}"]) + "\n"


_COLUMN_STYLES = {
    "slide": "font-weight:600;overflow-wrap:anywhere;min-width:11rem",
    "status": "white-space:nowrap;color:var(--rank)",
    "reason": "overflow-wrap:anywhere;min-width:16rem",
    "fingerprint": "font-family:monospace;max-width:9ch;overflow:hidden;text-overflow:ellipsis",
}


def _css_text(text: str) -> str:
    """A CSS string in which no character can end the string or the style element."""
    return '"' + re.sub(r"[^A-Za-z0-9 ]", lambda found: f"\\{ord(found.group()):x} ", text) + '"'


def _document(title: str, parts: Sequence[str], style: str) -> str:
    """The whole page, with a policy under which it runs its own script and style and loads nothing but pictures."""
    policy = (
        f"default-src 'none'; img-src 'self' file:; script-src '{_source(SCRIPT)}'; style-src '{_source(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{style}</style></head><body>\n"
        + "\n".join(part for part in parts if part)
        + f"\n<script>{SCRIPT}</script>\n</body></html>\n"
    )


def _source(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
