"""What is known of each slide so far, in files: what a killed run leaves to the next one.

`parts/KEY.parquet` is all of a slide that is done: its tiles, and its row of the ledger as metadata; `parts/KEY.jpg` is
its picture. A slide that several tasks share has a folder `parts/KEY` until then: `survey.parquet`, the same without
what inspection tells, and a `START.json` for every stretch of tiles that was inspected. The key tells the slide's
content and all that was asked of it, so that a slide that changed has another, and one that was renamed has not.

Until all are done, `under-way/` tells people how far it is: which slides were asked for, and which failed so far.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tiling.choices import Corrupt
from tiling.damage import DamagedCell
from tiling.errors import InputError
from tiling.files import read_json, remove, replacing, sweep_partials, write_json
from tiling.job import Inspected, Surveyed, picture_path
from tiling.parquet import read_table
from tiling.progress import note, track
from tiling.wording import one_line

PARTS, UNDER_WAY = "parts", "under-way"  # folders in that of the tiles
_ROW = b"hdgan.slide"
_SURVEY, _ASKED = "survey.parquet", "asked.json"
_DAMAGED = (pa.ArrowException, KeyError, OSError, TypeError, ValueError)  # of a file that is no part any more


@dataclass(frozen=True)
class Part:
    """What became of one slide: its tiles, and its row of the ledger."""

    tiles: pa.Table
    row: dict[str, Any]


class _DamagedError(Exception):
    """A file that is no part any more."""


class Parts:
    """The parts in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._under_way = folder, folder.parent / UNDER_WAY
        folder.mkdir(exist_ok=True)
        sweep_partials(folder)

    def ask(self, keys: Sequence[str], places: Sequence[Path]) -> None:
        """Note the keys of the slides that there are to be, and the places given; none where nobody is to be told."""
        remove(self._under_way)
        write_json(self._under_way / _ASKED, {"keys": list(keys), "places": [str(place) for place in places]})

    def all_done(self) -> None:
        """Forget what tells people how far it is."""
        remove(self._under_way)

    def fail(self, key: str, row: dict[str, Any]) -> None:
        """Note that a slide failed, until all are done or it is tried again; `row` is its row of the ledger."""
        write_json(self._under_way / _failed(key), row)

    def finished(self, key: str) -> Part | None:
        """A slide that is done; None if it is not, or what told so is damaged."""
        path = self._path(key)
        if not path.exists():
            return None
        try:
            return _read(path)
        except _DamagedError as error:
            note(f"{path} is damaged ({one_line(error)}): its slide is tiled again")
            return None

    def finish(self, key: str, part: Part) -> None:
        """Keep a slide that is done."""
        _write(self._path(key), part)
        remove(self.folder / key)

    def begun(self, key: str) -> tuple[Surveyed | None, list[Inspected]]:
        """What there is of a slide that several tasks share; what there is without a survey goes."""
        folder = self.folder / key
        if not self.is_begun(key):
            remove(folder)  # the survey to come begins the array anew, where these stretches stored their tiles
            return None, []
        sweep_partials(folder)
        try:
            part = _read(folder / _SURVEY)
            stretches = [_inspected(read_json(path)) for path in sorted(folder.glob("[0-9]*.json"))]
        except (_DamagedError, InputError) as error:
            note(f"{folder} is damaged ({one_line(error)}): its slide is tiled again")
            remove(folder)
            return None, []
        return Surveyed(part.row, part.tiles, None), stretches

    def is_begun(self, key: str) -> bool:
        """Whether a slide that several tasks share has been surveyed, and is not done."""
        return (self.folder / key / _SURVEY).exists()

    def begin(self, key: str, surveyed: Surveyed) -> None:
        """Keep the survey of a slide that several tasks share, and its first stretch."""
        if surveyed.first is not None:
            self.add(key, surveyed.first)
        _write(self.folder / key / _SURVEY, Part(surveyed.tiles, surveyed.row))

    def add(self, key: str, stretch: Inspected) -> None:
        """Keep a stretch of tiles that was inspected."""
        write_json(self.folder / key / f"{stretch.start}.json", asdict(stretch))

    def drop(self, key: str) -> None:
        """Keep nothing of a slide any longer."""
        for path in (self.folder / key, self._path(key), picture_path(self.folder, key)):
            remove(path)  # what is done last: without it, a killed run would go on with what was begun

    def keep_only(self, keys: Collection[str]) -> None:
        """Drop what there is of all other slides."""
        for entry in self.folder.iterdir():
            if entry.stem not in keys:
                remove(entry)

    def _path(self, key: str) -> Path:
        return part_path(self.folder, key)


def part_path(folder: Path, key: str) -> Path:
    """The file of a slide that is done."""
    return folder / f"{key}.parquet"


def asked_of(folder: Path) -> tuple[list[str] | None, list[Path]]:
    """The keys of the slides that a tile folder is to hold when it is complete, and what was given, see `Parts.ask`.

    None where nothing is under way.

    Raises
    ------
    InputError
        If what tells so is damaged.
    """
    path = folder / UNDER_WAY / _ASKED
    if not path.exists():
        return None, []
    match read_json(path):
        case {"keys": [*keys], "places": [*places]} if all(isinstance(each, str) for each in (*keys, *places)):
            return keys, [Path(place) for place in places]
    raise InputError(f"{path} does not tell which slides were asked for: run `hdgan tile` again, which writes it anew")


def rows_of(folder: Path, keys: Sequence[str] | None) -> list[dict[str, Any]]:
    """The rows of the ledger that there are so far in a tile folder, of the slides with these keys, or of all."""
    if keys is None:
        keys = [path.stem for path in (folder / PARTS).glob("[0-9a-f]*.parquet")]
    rows = {key: _row_so_far(folder, key) for key in track(dict.fromkeys(keys), "counting slides")}
    return [row for key in keys if (row := rows[key]) is not None]


def _row_so_far(folder: Path, key: str) -> dict[str, Any] | None:
    part, failed = part_path(folder / PARTS, key), folder / UNDER_WAY / _failed(key)
    with contextlib.suppress(*_DAMAGED):  # it is tiled again
        if part.exists():
            row: dict[str, Any] = json.loads(pq.read_schema(part).metadata[_ROW])
            return row
    return read_json(failed) if failed.exists() else None


def _failed(key: str) -> str:
    return f"failed-{key}.json"


def part_of(surveyed: Surveyed, stretches: list[Inspected], corrupt: Corrupt) -> Part:
    """Put what was found out about a slide together."""
    row, table = dict(surveyed.row), surveyed.tiles
    if not stretches:
        return Part(table, row)
    stretches = sorted(stretches, key=lambda stretch: stretch.start)
    for name in ("blur", "corrupt"):
        values = [value for stretch in stretches for value in getattr(stretch, name)]
        index = table.schema.get_field_index(name)
        table = table.set_column(index, table.schema.field(index), pa.array(values, pa.float64(), from_pandas=True))
    cells = {cell for stretch in stretches for cell in stretch.cells}
    cells |= {DamagedCell(**cell) for cell in row["corrupt_cells"]}
    row["corrupt_cells"] = [
        asdict(cell) for cell in sorted(cells, key=lambda cell: (cell.level, cell.row, cell.column))
    ]
    damaged = np.asarray(table["corrupt"]) > 0
    if corrupt is Corrupt.DROP and damaged.any():
        table = table.filter(pa.array(~damaged))
        row |= {"damaged": int(damaged.sum()), "tiles": table.num_rows}
        if not table.num_rows:
            row |= {
                "status": "empty",
                "reason": f"all {len(damaged)} tiles with tissue have pixels that cannot be decoded",
            }
    return Part(table, row)


def _read(path: Path) -> Part:
    """A part from its file; an error of the disk is none of the file."""
    content = pa.BufferReader(path.read_bytes())
    try:
        table = read_table(content)
        return Part(table.replace_schema_metadata(None), json.loads(table.schema.metadata[_ROW]))
    except _DAMAGED as error:
        raise _DamagedError(one_line(error)) from error


def _write(path: Path, part: Part) -> None:
    with replacing(path) as partial:
        pq.write_table(part.tiles.replace_schema_metadata({_ROW: json.dumps(part.row).encode()}), partial)


def _inspected(value: dict[str, Any]) -> Inspected:
    return Inspected(**value | {"cells": [DamagedCell(**cell) for cell in value["cells"]]})
