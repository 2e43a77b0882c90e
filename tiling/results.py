"""What an archive gave, put together: the manifest, the ledger, the store and the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from tiling.errors import InputError
from tiling.files import remove, replacing
from tiling.job import Orders, SlideJob, picture_path
from tiling.ledger import corrupt_cells, counts, dropped, write_ledger
from tiling.manifest import COLUMNS, MANIFEST, write_manifest
from tiling.names import PublicNames
from tiling.page import write_page
from tiling.parts import Part, Parts
from tiling.people import People
from tiling.store import count_lacking, finish_store
from tiling.wording import counted, first_few

PICTURES = "pictures"
_NOT_THERE = "the slide cannot be read now, or is not there; its tiles are those that were found before"


def combined(
    jobs: Sequence[SlideJob], parts: Sequence[Part], people: People, names: PublicNames, kept: Collection[str]
) -> tuple[pa.Table, list[dict[str, Any]]]:
    """The manifest and the rows of the ledger, from the part of every job; those `kept` are not there."""
    pairs = list(zip(jobs, parts, strict=True))
    fold_of = people.folds_of({job.name: part.row["tiles"] for job, part in pairs})
    tables, rows = [], []
    for job, part in pairs:
        patient = people.patients[job.name]
        labels = {label: value_of[job.name] for label, value_of in people.labels.items()}
        about = {"slide": job.public, "patient": names.patient(patient), "fold": fold_of.get(patient)}
        tables.append(_with_constants(part.tiles, about, labels))
        reason = {"reason": _NOT_THERE} if job.name in kept else {}
        rows.append(part.row | about | labels | reason)
    return pa.concat_tables(tables), rows


def write_results(
    out: Path,
    parts: Parts,
    table: pa.Table,
    rows: Sequence[dict[str, Any]],
    jobs: Sequence[SlideJob],
    orders: Orders,
    root: Path | None,
) -> dict[str, Any]:
    """Write manifest, ledger and page, and complete the store; gives what a report may show.

    What there is of other slides goes.

    Raises
    ------
    InputError
        If tiles are not in the store that were stored. Their slides count as not done any more.
    """
    if orders.store is not None:
        _check_stored(orders.store, parts, table, rows, jobs)
    tiled = [job for job, row in zip(jobs, rows, strict=True) if row["status"] != "failed"]
    pictures = _show_pictures(out, parts.folder, tiled, orders)
    parts.keep_only({job.key for job in jobs})  # before their arrays go: a part says that its tiles are stored
    if orders.store is not None and orders.materialise is not None:
        arrays = {job.public: job.key for job, row in zip(jobs, rows, strict=True) if row["tiles"]}
        begun = {job.key for job in jobs if parts.is_begun(job.key)}
        finish_store(orders.store, arrays, orders.materialise, begun=begun)
    write_ledger(out, rows)
    write_manifest(out / MANIFEST, table, root=root, icc=orders.icc)
    cells, slides = corrupt_cells(rows)
    summary = {"slides": counts(rows), "tiles": table.num_rows, "dropped": dropped(rows)}
    summary |= {"corrupt_cells": cells, "slides_with_corrupt_cells": slides} if cells else {}
    write_page(out, rows, pictures=pictures, settings=orders.to_dict())
    return summary


def _check_stored(
    store: Path, parts: Parts, table: pa.Table, rows: Sequence[dict[str, Any]], jobs: Sequence[SlideJob]
) -> None:
    """See that every tile is in the store; slides that lack some are to be tiled again."""
    start, lacking, slides = 0, 0, dict[str, str]()
    for job, row in zip(jobs, rows, strict=True):
        tiles = table.slice(start, row["tiles"])
        start += row["tiles"]
        if row["tiles"] and (count := count_lacking(store, job.key, _places(tiles))):
            lacking += count
            slides[job.key] = job.public
    for key in slides:
        parts.drop(key)
    if slides:
        raise InputError(
            f"{store} lacks {counted(lacking, 'tile')} that {'was' if lacking == 1 else 'were'} stored, of "
            f"{counted(len(slides), 'slide')}: {first_few(list(slides.values()))}; run the same command again, where "
            "these slides can be read, to tile them anew"
        )


def _places(tiles: pa.Table) -> Iterator[tuple[int, int]]:
    return zip(tiles["x"].to_pylist(), tiles["y"].to_pylist(), strict=True)


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


def _show_pictures(out: Path, parts: Path, jobs: Sequence[SlideJob], orders: Orders) -> dict[str, str]:
    """Give the pictures of slides their names; where each is, below the folder. Those of other slides go."""
    drawn = {job.public: picture_path(parts, job.key) for job in jobs if orders.pictures is not None}
    shown = {slide: out / PICTURES / f"{slide}.jpg" for slide, picture in drawn.items() if picture.exists()}
    for slide, place in shown.items():
        if not (place.exists() and place.samefile(drawn[slide])):
            with replacing(place) as partial:
                _link(drawn[slide], partial)
    expected = set(shown.values())
    for path in list((out / PICTURES).rglob("*")):
        if path.is_file() and path not in expected:
            remove(path)
    for path in sorted((out / PICTURES).rglob("*/"), reverse=True):
        if not any(path.iterdir()):
            remove(path)
    return {slide: place.relative_to(out).as_posix() for slide, place in shown.items()}


def _link(file: Path, name: Path) -> None:
    """Give a file another name, or copy it where the disk knows no links."""
    try:
        os.link(file, name)
    except OSError:
        shutil.copyfile(file, name)
