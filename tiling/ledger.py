"""The ledger of a tile set: every slide that was looked at, what it gave, and why not more."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tiling.damage import DamagedCell
from tiling.errors import InputError
from tiling.files import replacing
from tiling.parquet import read_table
from tiling.stage import read_record
from tiling.wording import counted, first_few, one_line

LEDGER, PAGE = "ledger.parquet", "index.html"
_LATER = ("without_class",)  # columns that ledgers of version 0.1.0 may lack
STATUSES = ("done", "empty", "failed")
_AGAIN = "run the same `hdgan tile` again"

DROPPED = {
    "below_tissue": "below the tissue fraction",
    "outside_classes": "outside the classes asked for",
    "over_limit": "over the limit",
    "damaged": "with pixels that cannot be decoded",
}
"""The columns that count what each filter dropped, in words."""

COLUMNS = pa.schema(
    [
        ("slide", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("tiles", pa.int64()),
        ("candidates", pa.int64()),
        *((name, pa.int64()) for name in DROPPED),
        ("corrupt_cells", pa.list_(pa.struct([(field.name, pa.int64()) for field in fields(DamagedCell)]))),
        ("classes", pa.list_(pa.string())),
        ("without_area", pa.int64()),
        ("without_class", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("mpp", pa.float64()),
        ("mpp_from", pa.string()),
        ("objective_power", pa.float64()),
        ("backend", pa.string()),
        ("icc", pa.string()),
        ("stored", pa.string()),
        ("fingerprint", pa.string()),
        ("key", pa.string()),
        ("patient", pa.string()),
        ("fold", pa.int16()),
        ("error", pa.string()),
        ("traceback", pa.string()),
    ]
)
"""The ledger's columns; those of labels follow them.

Of cells that cannot be decoded, those are listed that inspected tiles or the thumbnail lack. `mpp_from` tells who says
the resolution, `slide` or `user`; `key`, what a slide's files in `parts/` and its stored array are called.
"""

Row = Mapping[str, Any]


def write_ledger(folder: Path, rows: Sequence[Row]) -> None:
    """Write the ledger of a tile folder: a row per slide, its columns by name, and any more columns of text."""
    more = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in COLUMNS.names]
    schema = pa.schema([*COLUMNS, *((name, pa.string()) for name in more)])
    with replacing(folder / LEDGER) as partial:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), partial)


def read_ledger(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The rows of the ledger of a tile folder; an :class:`InputError` that says what to do if it cannot be read."""
    path = Path(folder) / LEDGER
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; restore it, or {_AGAIN}") from error
    try:
        table = read_table(pa.BufferReader(content))
        rows: list[dict[str, Any]] = table.to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({one_line(error)}); restore it, or delete it and {_AGAIN}") from error
    if lacking := [name for name in COLUMNS.names if name not in (*table.column_names, *_LATER)]:
        raise InputError(f"{path} has no column {lacking[0]!r}; restore it, or delete it and {_AGAIN}")
    return rows


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """How many slides were done, empty and failed."""
    statuses = [row["status"] for row in rows]
    return {status: statuses.count(status) for status in STATUSES}


def dropped(rows: Iterable[Row]) -> dict[str, int]:
    """How many tiles each filter dropped, those that dropped any."""
    rows = list(rows)
    sums = {name: sum(row.get(name) or 0 for row in rows) for name in DROPPED}
    return {name: count for name, count in sums.items() if count}


def told_dropped(rows: Iterable[Row]) -> str:
    """The same in words; empty where none was dropped."""
    return ", ".join(f"{count} {DROPPED[name]}" for name, count in dropped(rows).items())


def corrupt_cells(rows: Iterable[Row]) -> tuple[int, int]:
    """How many cells could not be decoded, and of how many slides."""
    counts = [len(row.get("corrupt_cells") or ()) for row in rows]
    return sum(counts), sum(count > 0 for count in counts)


def without_tiles(folder: Path) -> str | None:
    """One line on the slides of a tile folder that gave no tile: how many, and why the first ones did not."""
    rows = read_ledger(folder)
    number = counts(rows)
    told = [f"{counted(number['failed'], 'slide')} failed"] * (number["failed"] > 0)
    told += [f"{counted(number['empty'], 'slide')} gave no tile"] * (number["empty"] > 0)
    lacking = [row for status in ("failed", "empty") for row in rows if row["status"] == status]
    return f"{' and '.join(told)}: {reasons(lacking)} (every slide is in {folder / PAGE})" if lacking else None


def told(folder: Path) -> list[str]:
    """What a user should know of a tile folder: slides without tiles, dropped tiles, corrupt cells; a line each."""
    rows, config = read_ledger(folder), read_record(folder)["config"]
    lines = [line for line in [without_tiles(folder)] if line]
    if words := told_dropped(rows):
        lines.append(f"of {sum(row['candidates'] or 0 for row in rows)} tiles were dropped: {words}")
    there = {name.casefold() for row in rows for name in row["classes"] or ()}
    if missing := [name for name in config.get("keep_classes", ()) if name.casefold() not in there]:
        known = sorted({name for row in rows for name in row["classes"] or ()})
        lines.append(f"no annotation has {' or '.join(missing)}; they have {', '.join(known) or 'no classes'}")
    if passed_over := [count for row in rows if (count := row.get("without_area"))]:
        lines.append(
            f"passed over {counted(sum(passed_over), 'annotated shape')} without an area (points, lines, rulers) of "
            f"{counted(len(passed_over), 'slide')}: the ledger's column `without_area` tells which"
        )
    if nameless := [count for row in rows if (count := row.get("without_class"))]:
        lines.append(
            f"passed over {counted(sum(nameless), 'annotated region')} without a class of "
            f"{counted(len(nameless), 'slide')}: set theirs in the program that drew them; the ledger's column "
            "`without_class` tells which slides"
        )
    cells, slides = corrupt_cells(rows)
    if cells:
        where = "; their tiles were dropped" if config["corrupt"] == "drop" else ""
        if config["corrupt"] == "mask" and config["inspect"]:
            where = ", the manifest's column `corrupt` which tiles they lie in"
        hurt = f"{counted(cells, 'cell')} of {counted(slides, 'slide')} cannot be decoded"
        lines.append(f"{hurt}: {folder / PAGE} tells where{where}")
    return lines


def reasons(rows: Sequence[Row]) -> str:
    """Why the first of these slides gave no tile, on one line; those with the same reason are told together."""
    alike: dict[str, list[str]] = {}
    for row in rows:
        told = row["reason"] if row["status"] == "failed" else f"{row['slide']}: {row['reason']}"
        alike.setdefault(_without_name(told, row["slide"]), []).append(told)
    several = [told[0] + f" (and {len(told) - 1} more alike)" * (len(told) > 1) for told in alike.values()]
    return first_few(several, " | ")


def _without_name(text: str, slide: str) -> str:
    """A reason without the slide's name, and without the numbers that differ from slide to slide."""
    return re.sub(r"\d+(\.\d+)?", "0", text.replace(slide, "").replace(PurePosixPath(slide).name, ""))
