"""Stored tiles, read back."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tiling.backends.base import BackendError, Image
from tiling.cells import CellGrid
from tiling.choices import Materialise
from tiling.errors import InputError
from tiling.files import read_json
from tiling.store.arrays import METADATA, STORE_NAMES, arrays_of, count_lacking, shard_path
from tiling.store.codec import NAME, CellCodec
from tiling.store.pixels import read_pixels
from tiling.store.shard import grid_of

_FORMS = 1 << 14  # arrays whose metadata are kept: some KB each, and 24 bytes for a tile


@dataclass(frozen=True)
class _Form:
    """What an array's metadata say."""

    attributes: Mapping[str, Any]  # without what they say of every tile
    corners: npt.NDArray[np.int64]  # (2, tiles): x, y of each on its slide, level-0 px
    crops: npt.NDArray[np.int32]  # (tiles, 2): x, y of each in its shard, px
    like: CellGrid | None  # size and coding of a shard's cells; None for pixels
    chunk: int  # edge of the chunks, px

    def index_of(self, x: int, y: int) -> int | None:
        """The shard of the tile that lies there."""
        found = np.flatnonzero((self.corners[0] == x) & (self.corners[1] == y))
        return int(found[0]) if len(found) else None


class StoredTiles:
    """The tiles in a tile folder's store; made by :meth:`open`. May be handed to other processes and threads."""

    def __init__(self, store: Path, arrays: Mapping[str, str]) -> None:
        self.store = store
        self._arrays = arrays
        self._form = functools.lru_cache(_FORMS)(self._read_form)

    @classmethod
    def open(cls, folder: Path) -> Self | None:
        """The store in a tile folder; None if there is none, an :class:`InputError` if it is only half made."""
        for kind in Materialise:
            if (folder / STORE_NAMES[kind]).exists():
                store = folder / STORE_NAMES[kind]
                return cls(store, arrays_of(store))
        return None

    def read(self, slide: str, *, fingerprint: str, x: int, y: int, size: int, level: int, scale: float) -> Image:
        """A tile's pixels, the same as from its slide.

        Parameters
        ----------
        slide, fingerprint, x, y, size, level, scale
            What the manifest says of it, see :class:`tiling.Tile`.

        Returns
        -------
        (size, size, 3) uint8
            Cells that could not be decoded, and what is outside the slide, have its background's colour.

        Raises
        ------
        InputError
            If the tile is not in the store, is another there, or its shard is damaged.
        """
        form = self._form(slide)
        about = {"size": size, "level": level, "scale": scale}
        if any(form.attributes[name] != value for name, value in about.items()):
            raise self._mismatch(f"tiles of {size} px, level {level} and scale {scale:g} of {slide}")
        if form.attributes["fingerprint"] != fingerprint:
            raise self._mismatch(f"tiles of the same file as {slide}")
        index = form.index_of(x, y)
        if index is None:
            raise self._mismatch(f"tile at x={x}, y={y} of {slide}")
        path = shard_path(self.store, self._arrays[slide], index)
        try:
            return read_pixels(path, size=size, chunk=form.chunk) if form.like is None else _cropped(path, form, index)
        except FileNotFoundError as error:
            raise self._mismatch(f"tile at x={x}, y={y} of {slide}") from error
        except (OSError, InputError, BackendError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise InputError(f"cannot read {path}: {why}; make the tiles again with --redo") from error

    def count_lacking(self, slide: str, places: Iterable[tuple[int, int]]) -> int:
        """How many of a slide's tiles at (x, y), level-0 px, are not in the store; no shard is opened."""
        if slide not in self._arrays:
            raise self._mismatch(f"tiles of {slide}")
        return count_lacking(self.store, self._arrays[slide], places)

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredTiles, (self.store, self._arrays)

    def _read_form(self, slide: str) -> _Form:
        if slide not in self._arrays:
            raise self._mismatch(f"tiles of {slide}")
        metadata = read_json(self.store / self._arrays[slide] / METADATA)
        attributes = metadata["attributes"]
        corners = np.array([attributes.pop("x"), attributes.pop("y")], np.int64)
        crops = np.array(attributes.pop("crop"), np.int32)
        chunk = metadata["codecs"][0]["configuration"]["chunk_shape"][1]
        return _Form(attributes, corners, crops, _cells(metadata), chunk)

    def _mismatch(self, what: str) -> InputError:
        return InputError(f"{self.store} has no {what}, which the manifest lists; make both again with --redo")


def _cells(metadata: Mapping[str, Any]) -> CellGrid | None:
    """The cells of a shard, without their places."""
    sharding = metadata["codecs"][0]["configuration"]
    codec = sharding["codecs"][0]
    if codec["name"] != NAME:
        return None
    _, height, width, _ = metadata["chunk_grid"]["configuration"]["chunk_shape"]
    _, cell_height, cell_width, _ = sharding["chunk_shape"]
    coding = CellCodec.from_dict(codec).coding(cell_width, cell_height)
    nowhere = np.empty((0, 0), np.int64)
    return CellGrid(
        width=width,
        height=height,
        offsets=nowhere,
        sizes=nowhere,
        cell_width=cell_width,
        cell_height=cell_height,
        jpeg=coding.jpeg,
        tables=coding.tables,
        colour_space=coding.colour_space,
    )


def _cropped(path: Path, form: _Form, index: int) -> Image:
    """A tile out of the cells in its shard."""
    assert form.like is not None
    attributes = form.attributes
    (x, y), size = form.crops[index].tolist(), attributes["size"]
    file = os.open(path, os.O_RDONLY)
    try:
        grid, present = grid_of(file, form.like)
        tile, unread = grid.salvage(file, x=x, y=y, width=size, height=size)
    finally:
        os.close(file)
    if corrupt := [cell for cell in unread if present[cell]]:
        why = f"{unread[corrupt[0]]}, here or in the slide, which inspection would have told"
        raise InputError(f"its cell at row {corrupt[0].row} column {corrupt[0].column} cannot be decoded ({why})")
    for cell in unread:
        tile[grid.area(cell, x=x, y=y, width=size, height=size)] = attributes["background"]
    # Cells at the border reach beyond the level: what they hold there is nothing of the slide.
    right, bottom = (
        end - round(start / attributes["downsample"])
        for end, start in zip(attributes["level_size"], form.corners[:, index].tolist(), strict=True)
    )
    tile[max(0, bottom) :] = attributes["background"]
    tile[:, max(0, right) :] = attributes["background"]
    return tile
