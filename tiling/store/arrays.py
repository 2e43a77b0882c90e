"""Tiles stored in zarr: an array per slide, a shard per tile."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.codecs import ZstdCodec
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from tiling.backends.base import Image
from tiling.cells import CellPlace
from tiling.choices import Materialise
from tiling.damage import DamagedCell
from tiling.errors import InputError
from tiling.files import discard, read_json, remove, sweep_partials, write_bytes, write_json
from tiling.grid import Grid
from tiling.slide import Slide
from tiling.store.codec import NAME, CellCodec
from tiling.store.pixels import LEVEL, write_pixels
from tiling.store.shard import copy_cells
from tiling.tile_reading import salvage_tile

STORE_NAMES: Mapping[Materialise, str] = {Materialise.CELLS: "cells.zarr", Materialise.PIXELS: "pixels.zarr"}
METADATA = "zarr.json"

_CHUNK = 512  # px
_SMALLEST_CHUNK = 64
_SEPARATOR = "."  # of a chunk's coordinates: one file per tile, without the folders that "/" would put it in


@dataclass(frozen=True)
class ArrayPlan:
    """How the tiles of a slide are stored.

    Attributes
    ----------
    how
        "cells": as the slide's cells, which tile it exactly. "cells, cropped on reading": as all cells that it touches.
        "pixels": decoded.
    grid
        The tiles.
    level
        Read from it.
    shape
        Height and width of a shard, px.
    chunk
        Height and width of its chunks, px.
    crop
        (x, y) of every tile in its shard, px.
    background
        Of the slide.
    inside
        Width and height of the level, px.
    downsample
        Of the level: level-0 px per px.
    codec
        Of the cells; None for pixels.
    """

    how: str
    grid: Grid
    level: int
    shape: tuple[int, int]
    chunk: tuple[int, int]
    crop: tuple[tuple[int, int], ...]
    background: tuple[int, int, int]
    inside: tuple[int, int]
    downsample: float
    codec: CellCodec | None


def plan_array(slide: Slide, grid: Grid, *, level: int, kind: Materialise) -> ArrayPlan:
    """How tiles can be stored: as cells where that is asked for and can be.

    Cells are copied of slides that are read cell by cell, at the resolution of a level, without a change of colour.

    Parameters
    ----------
    slide
        An open slide.
    grid, level
        Its tiles, and the level that they are read from.
    kind
        What is asked for.
    """
    downsample = slide.levels[level].downsample
    corners = np.stack([grid.x, grid.y], axis=1)
    left_top = np.rint(corners / downsample).astype(np.int64)
    source = slide.cells(level)
    on_pixels = np.array_equal(np.rint(left_top * downsample), corners)  # as a backend of cells reads them
    native = abs(grid.scale / downsample - 1) * grid.size < 0.5 and on_pixels
    constant: dict[str, Any] = {"grid": grid, "level": level, "background": slide.background}
    constant |= {"inside": slide.levels[level][:2], "downsample": downsample}
    if kind is Materialise.PIXELS or source is None or not native or slide.icc_applied:
        square, chunk = (grid.size, grid.size), _chunk(grid.size)
        crop = ((0, 0),) * len(grid)
        return ArrayPlan("pixels", shape=square, chunk=(chunk, chunk), crop=crop, codec=None, **constant)
    cell = np.array([source.grid.cell_width, source.grid.cell_height])
    first = left_top // cell
    across, down = (-(-(left_top + grid.size) // cell) - first).max(axis=0).tolist()
    crop = left_top - first * cell
    whole = not crop.any() and not (grid.size % cell).any()
    return ArrayPlan(
        "cells" if whole else "cells, cropped on reading",
        shape=(down * source.grid.cell_height, across * source.grid.cell_width),
        chunk=(source.grid.cell_height, source.grid.cell_width),
        crop=tuple((x, y) for x, y in crop.tolist()),
        codec=CellCodec.of(source.grid),
        **constant,
    )


def begin_array(store: Path, key: str, plan: ArrayPlan, *, fingerprint: str) -> None:
    """Write an array's metadata. Shards that are there stay if they are of an array like it, and go if they are not.

    So nobody may count on them any more.

    Parameters
    ----------
    store
        Folder of the store; made if absent.
    key
        The array's name.
    plan
        Of :func:`plan_array`.
    fingerprint
        Of the slide's file, as in the manifest.
    """
    folder, content = store / key, _metadata(key, plan, fingerprint)
    if folder.exists() and _meaning_in(folder) != _meaning(content):
        discard(folder)  # shards are told by their number: those of other tiles must not be taken for these
    write_bytes(folder / METADATA, content)


def is_begun(store: Path, key: str, plan: ArrayPlan, *, fingerprint: str) -> bool:
    """Whether an array is there as :func:`begin_array` made it of the same, perhaps with another version of zarr."""
    return _meaning_in(store / key) == _meaning(_metadata(key, plan, fingerprint))


def _metadata(key: str, plan: ArrayPlan, fingerprint: str) -> bytes:
    """An array's metadata, as zarr writes them."""
    height, width = plan.shape
    attributes = {
        "fingerprint": fingerprint,
        "how": plan.how,
        "size": plan.grid.size,
        "scale": plan.grid.scale,
        "level": plan.level,
        "level_size": list(plan.inside),
        "downsample": plan.downsample,
        "background": list(plan.background),
        "x": plan.grid.x.tolist(),
        "y": plan.grid.y.tolist(),
        "crop": [list(corner) for corner in plan.crop],
    }
    files: dict[str, Buffer] = {}
    zarr.create_array(
        MemoryStore(files),
        name=key,
        shape=(len(plan.grid), height, width, 3),
        shards=(1, height, width, 3),
        chunks=(1, *plan.chunk, 3),
        dtype="uint8",
        serializer="auto" if plan.codec is None else plan.codec,
        compressors=ZstdCodec(level=LEVEL) if plan.codec is None else None,
        fill_value=plan.background[1],
        attributes=attributes,
        chunk_key_encoding={"name": "default", "separator": _SEPARATOR},
        dimension_names=("tile", "y", "x", "colour"),
    )
    content: bytes = files[f"{key}/{METADATA}"].to_bytes()
    return content


@dataclass(frozen=True)
class _Meaning:
    """What an array's metadata say, however a version of zarr words it."""

    attributes: Mapping[str, Any]
    shape: list[int]
    chunk: list[int]
    cells: Mapping[str, Any] | None  # their codec


def _meaning(content: bytes) -> _Meaning:
    metadata = json.loads(content)
    sharding = metadata["codecs"][0]["configuration"]
    codec = sharding["codecs"][0]
    cells = codec if codec["name"] == NAME else None
    return _Meaning(metadata["attributes"], metadata["shape"], sharding["chunk_shape"], cells)


def _meaning_in(folder: Path) -> _Meaning | None:
    """What the metadata in an array's folder say; None if there are none, or they are damaged."""
    try:
        return _meaning((folder / METADATA).read_bytes())
    except (FileNotFoundError, IndexError, KeyError, TypeError, ValueError):
        return None


def write_tiles(
    store: Path,
    key: str,
    plan: ArrayPlan,
    slide: Slide,
    *,
    start: int,
    stop: int,
    damaged: Collection[DamagedCell] = (),
) -> None:
    """Store some tiles, as :func:`write_tile` does each."""
    for i in range(start, stop):
        write_tile(store, key, plan, slide, i, damaged=damaged)


def write_tile(
    store: Path,
    key: str,
    plan: ArrayPlan,
    slide: Slide,
    i: int,
    *,
    damaged: Collection[DamagedCell] = (),
    pixels: Image | None = None,
) -> None:
    """Store a tile, in place of one that is there: nobody knows of what file it was. No shard is ever half there.

    Parameters
    ----------
    store, key, plan
        As given to :func:`begin_array`.
    slide
        The open slide.
    i
        Which tile.
    damaged
        Cells that are known not to be decodable: they are left out.
    pixels
        The tile, (size, size, 3) uint8, if it has been read already. None reads it where that is needed.

    Raises
    ------
    InputError
        If the slide's file is cut off or cannot be read, or pixels are to be stored that cannot be decoded and
        `damaged` does not tell so: they would be taken for background.
    """
    path = shard_path(store, key, i)
    if plan.codec is None:
        write_pixels(path, _decoded(plan, slide, i, damaged) if pixels is None else pixels, chunk=plan.chunk[0])
        return
    source = slide.cells(plan.level)
    assert source is not None, "planned for a slide that is read cell by cell"
    shape = plan.shape[0] // plan.chunk[0], plan.shape[1] // plan.chunk[1]
    without = {CellPlace(cell.row, cell.column) for cell in damaged if cell.level == plan.level}
    row, column = (
        round(int(start[i]) / plan.downsample) // edge
        for start, edge in zip((plan.grid.y, plan.grid.x), plan.chunk, strict=True)
    )
    copy_cells(path, source, CellPlace(row, column), shape, without=without)


def count_lacking(store: Path, key: str, places: Iterable[tuple[int, int]]) -> int:
    """How many tiles of a slide are not in its array: all if that has no metadata. No shard is opened.

    Parameters
    ----------
    store, key
        As given to :func:`begin_array`.
    places
        (x, y) of the tiles, level-0 px.

    Raises
    ------
    InputError
        If the array cannot be read.
    """
    lacking = set(places)
    try:
        meaning = _meaning_in(store / key)
        if meaning is not None:
            names = {entry.name for entry in (store / key).iterdir()}
            known = zip(meaning.attributes["x"], meaning.attributes["y"], strict=True)
            lacking.difference_update(place for i, place in enumerate(known) if _shard_name(i) in names)
    except OSError as error:
        raise InputError(f"cannot read {store / key}: {error.strerror}") from error
    return len(lacking)


def finish_store(store: Path, arrays: Mapping[str, str], kind: Materialise, *, begun: Collection[str] = ()) -> None:
    """Say what a store holds, when all of it is there; what else lies in it goes.

    Parameters
    ----------
    store
        Its folder.
    arrays
        The key of every slide's array.
    kind
        What was asked for.
    begun
        Keys of arrays that later calls go on with: they stay.
    """
    keys = set(arrays.values())
    wanted = {*keys, *begun, METADATA}
    for entry in store.iterdir():
        if entry.name not in wanted:
            remove(entry)
    for key in keys:
        sweep_partials(store / key)
    attributes = {"kind": str(kind), "arrays": dict(sorted(arrays.items()))}
    write_json(store / METADATA, {"zarr_format": 3, "node_type": "group", "attributes": attributes})


def arrays_of(store: Path) -> dict[str, str]:
    """The key of every slide's array in a finished store; an :class:`InputError` if it is not finished."""
    if not (store / METADATA).exists():
        raise InputError(f"{store} is only half made: run the same `hdgan tile` again to finish it")
    arrays: dict[str, str] = read_json(store / METADATA)["attributes"]["arrays"]
    return arrays


def shard_path(store: Path, key: str, index: int) -> Path:
    """Where zarr keeps the shard of a tile."""
    return store / key / _shard_name(index)


def _shard_name(index: int) -> str:
    return _SEPARATOR.join(("c", str(index), "0", "0", "0"))


def _decoded(plan: ArrayPlan, slide: Slide, i: int, damaged: Collection[DamagedCell]) -> Image:
    """A tile of a slide, of which no more cells are damaged than are known."""
    x, y = int(plan.grid.x[i]), int(plan.grid.y[i])
    pixels, found = salvage_tile(slide, x=x, y=y, size=plan.grid.size, level=plan.level, scale=plan.grid.scale)
    if unknown := [cell for cell in found if cell not in damaged]:
        raise InputError(
            f"{slide.path} has a cell that cannot be decoded, at row {unknown[0].row} column {unknown[0].column} of "
            f"level {unknown[0].level}: inspect tiles before they are stored as pixels, without --no-inspect"
        )
    return pixels


def _chunk(size: int) -> int:
    """The edge of chunks that decoded tiles are stored in: what divides them, or the whole."""
    largest = max(math.gcd(size, _CHUNK), *(n for n in range(1, _CHUNK + 1) if size % n == 0))
    return largest if largest >= _SMALLEST_CHUNK else size
