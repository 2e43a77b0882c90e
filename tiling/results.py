"""What an archive gave, put together: the manifest, the ledger, the store and the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tiling.files import remove
from tiling.job import Orders, SlideJob, picture_name
from tiling.ledger import corrupt_cells, counts, dropped, write_ledger
from tiling.names import PublicNames
from tiling.page import write_page
from tiling.parts import Part
from tiling.people import People
from tiling.store import finish_store
from tiling.tileset import COLUMNS, MANIFEST, write_manifest

PICTURES = "pictures"


def combined(
    jobs: Sequence[SlideJob], parts: Sequence[Part], people: People, names: PublicNames
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The manifest and the rows of the ledger, from the part of every job."""
    pairs = list(zip(jobs, parts, strict=True))
    fold_of = people.folds_of({job.name: part.row["tiles"] for job, part in pairs})
    tables, rows = [], []
    for job, part in pairs:
        patient = people.patients[job.name]
        labels = {label: value_of[job.name] for label, value_of in people.labels.items()}
        about = {"patient": names.patient(patient), "fold": fold_of.get(patient)}
        tables.append(_with_constants(part.tiles, about, labels))
        rows.append(part.row | about | labels)
    return pa.concat_tables(tables), rows


def write_results(
    out: Path,
    table: pa.Table,
    rows: Sequence[dict[str, Any]],
    jobs: Sequence[SlideJob],
    orders: Orders,
    root: Path | None,
) -> dict[str, Any]:
    """Write manifest, ledger and page, and complete the store; gives what a report may show."""
    if orders.store is not None and orders.materialise is not None:
        arrays = {job.public: job.key for job, row in zip(jobs, rows, strict=True) if row["tiles"]}
        finish_store(orders.store, arrays, orders.materialise)
    write_ledger(out, rows)
    write_manifest(out / MANIFEST, table, root=root, icc=orders.icc)
    cells, slides = corrupt_cells(rows)
    summary = {"slides": counts(rows), "tiles": table.num_rows, "dropped": dropped(rows)}
    summary |= {"corrupt_cells": cells, "slides_with_corrupt_cells": slides} if cells else {}
    pictures = _pictures(out, rows)
    write_page(out, rows, pictures=pictures, settings=orders.to_dict())
    return summary


def _with_constants(table: pa.Table, known: Mapping[str, Any], labels: Mapping[str, str | None]) -> pa.Table:
    """Set columns of a slide's tiles, and append those of labels."""
    for name, value in known.items():
        index = COLUMNS.get_field_index(name)
        table = table.set_column(index, COLUMNS.field(name), _constant(value, table, COLUMNS.field(name).type))
    for name, text in labels.items():
        table = table.append_column(pa.field(name, pa.string()), _constant(text, table, pa.string()))
    return table


def _constant(value: Any, table: pa.Table, kind: pa.DataType) -> pa.Array:
    return pa.array([value] * table.num_rows, kind)


def _pictures(out: Path, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The picture of every slide that has one, below the folder; those of other slides go."""
    expected = {out / PICTURES / picture_name(row["slide"]): row["slide"] for row in rows}
    for path in list((out / PICTURES).rglob("*")):
        if path.is_file() and path not in expected:
            remove(path)
    return {slide: path.relative_to(out).as_posix() for path, slide in expected.items() if path.exists()}
