"""What is known of each slide so far, in files: what a killed run leaves to the next one.

`parts/KEY.parquet` is all of a slide that is done: its tiles, and its row of the ledger as metadata. A slide that
several tasks share has a folder `parts/KEY` until then: `survey.parquet`, the same without what inspection tells, and a
`START.json` for every stretch of tiles that was inspected. The key tells the slide's content and all that was asked of
it, so that a slide that changed has another.

Until all are done, `under-way/` tells people how far it is: how many slides were asked for, and which failed so far.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tiling.choices import Corrupt
from tiling.damage import DamagedCell
from tiling.files import read_json, remove, replacing, sweep_partials, write_json
from tiling.job import Inspected, Surveyed
from tiling.progress import track

PARTS, UNDER_WAY = "parts", "under-way"  # folders in that of the tiles
_ROW = b"hdgan.slide"
_SURVEY, _ASKED = "survey.parquet", "asked.json"


@dataclass(frozen=True)
class Part:
    """What became of one slide: its tiles, and its row of the ledger."""

    tiles: pa.Table
    row: dict[str, Any]


class Parts:
    """The parts in a folder; those with other keys than these go.

    `places` are what was given to be tiled, for :func:`asked_of`; empty where nobody is to be told.
    """

    def __init__(self, folder: Path, keys: set[str], places: Sequence[Path] = ()) -> None:
        self._folder, self._under_way = folder, folder.parent / UNDER_WAY
        folder.mkdir(exist_ok=True)
        sweep_partials(folder)
        for entry in folder.iterdir():
            if entry.stem not in keys:
                remove(entry)
        remove(self._under_way)
        write_json(self._under_way / _ASKED, {"slides": len(keys), "places": [str(place) for place in places]})

    def finished(self, key: str) -> Part | None:
        """A slide that is done; None if it is not."""
        path = part_path(self._folder, key)
        return read_part(path) if path.exists() else None

    def finish(self, key: str, part: Part) -> None:
        """Keep a slide that is done."""
        _write(part_path(self._folder, key), part)
        remove(self._folder / key)

    def fail(self, key: str, row: dict[str, Any]) -> None:
        """Note that a slide failed, until all are done or it is tried again; `row` is its row of the ledger."""
        write_json(self._under_way / f"failed-{key}.json", row)

    def all_done(self) -> None:
        """Forget what tells people how far it is."""
        remove(self._under_way)

    def begun(self, key: str) -> tuple[Surveyed | None, list[Inspected]]:
        """What there is of a slide that several tasks share."""
        folder = self._folder / key
        if not (folder / _SURVEY).exists():
            return None, []
        sweep_partials(folder)
        part = read_part(folder / _SURVEY)
        stretches = [_inspected(read_json(path)) for path in sorted(folder.glob("[0-9]*.json"))]
        return Surveyed(part.row, part.tiles, None), stretches

    def begin(self, key: str, surveyed: Surveyed) -> None:
        """Keep the survey of a slide that several tasks share, and its first stretch."""
        if surveyed.first is not None:
            self.add(key, surveyed.first)
        _write(self._folder / key / _SURVEY, Part(surveyed.tiles, surveyed.row))

    def add(self, key: str, stretch: Inspected) -> None:
        """Keep a stretch of tiles that was inspected."""
        write_json(self._folder / key / f"{stretch.start}.json", asdict(stretch))


def part_path(folder: Path, key: str) -> Path:
    """The file of a slide that is done."""
    return folder / f"{key}.parquet"


def read_part(path: Path) -> Part:
    """A part from its file."""
    table = pq.read_table(path)
    return Part(table.replace_schema_metadata(None), json.loads(table.schema.metadata[_ROW]))


def rows_of(folder: Path) -> list[dict[str, Any]]:
    """The rows of the ledger that there are so far in a tile folder, without reading the tiles."""
    paths = sorted((folder / PARTS).glob("[0-9a-f]*.parquet"))
    done = [json.loads(pq.read_schema(path).metadata[_ROW]) for path in track(paths, "counting slides")]
    return done + [read_json(path) for path in sorted((folder / UNDER_WAY).glob("failed-*.json"))]


def asked_of(folder: Path) -> tuple[int | None, list[Path]]:
    """How many slides a tile folder that is not complete was asked for, if that is known, and what was given.

    The latter is empty where nobody is to be told.
    """
    path = folder / UNDER_WAY / _ASKED
    if not path.exists():
        return None, []
    asked = read_json(path)
    return asked["slides"], [Path(place) for place in asked["places"]]


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


def _write(path: Path, part: Part) -> None:
    with replacing(path) as partial:
        pq.write_table(part.tiles.replace_schema_metadata({_ROW: json.dumps(part.row).encode()}), partial)


def _inspected(value: dict[str, Any]) -> Inspected:
    return Inspected(**value | {"cells": [DamagedCell(**cell) for cell in value["cells"]]})
