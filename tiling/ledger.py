"""The ledger of a tile set: every slide that was looked at, what it gave, and why not more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tiling.files import replacing
from tiling.wording import counted, first_few

LEDGER = "ledger.parquet"
STATUSES = ("done", "empty", "failed")

_COLUMNS = pa.schema(
    [
        ("slide", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("tiles", pa.int64()),
        ("candidates", pa.int64()),
        ("below_tissue", pa.int64()),
        ("over_limit", pa.int64()),
        ("width", pa.int64()),
        ("height", pa.int64()),
        ("mpp", pa.float64()),
        ("backend", pa.string()),
        ("fingerprint", pa.string()),
        ("patient", pa.string()),
        ("fold", pa.int16()),
    ]
)

Row = Mapping[str, Any]


def write_ledger(folder: Path, rows: Sequence[Row]) -> None:
    """Write the ledger of a tile folder: a row per slide, its columns by name."""
    with replacing(folder / LEDGER) as partial:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=_COLUMNS), partial)


def read_ledger(folder: Path) -> list[dict[str, Any]]:
    """The rows of the ledger of a tile folder."""
    rows: list[dict[str, Any]] = pq.read_table(folder / LEDGER).to_pylist()
    return rows


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """How many slides were done, empty and failed."""
    statuses = [row["status"] for row in rows]
    return {status: statuses.count(status) for status in STATUSES}


def without_tiles(folder: Path) -> str | None:
    """One line on the slides of a tile folder that gave no tile: how many, and why the first ones did not."""
    rows = read_ledger(folder)
    number = counts(rows)
    told = [f"{counted(number['failed'], 'slide')} failed"] * (number["failed"] > 0)
    told += [f"{counted(number['empty'], 'slide')} gave no tile"] * (number["empty"] > 0)
    lacking = [row for status in ("failed", "empty") for row in rows if row["status"] == status]
    return f"{' and '.join(told)}: {reasons(lacking)} (every slide is in {folder / LEDGER})" if lacking else None


def reasons(rows: Sequence[Row]) -> str:
    """Why the first of these slides gave no tile, on one line that names each."""
    told = [row["reason"] if row["status"] == "failed" else f"{row['slide']}: {row['reason']}" for row in rows]
    return first_few(told, " | ")
