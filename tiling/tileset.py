"""A tile set: a list of where tiles lie in slides, whose pixels are read when they are needed."""

from __future__ import annotations

import functools
import operator
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tiling.backends.base import Image
from tiling.choices import Icc
from tiling.damage import DamagedCell, damaged_pixels
from tiling.errors import InputError
from tiling.files import state_of
from tiling.fingerprint import slide_fingerprint
from tiling.ledger import read_ledger
from tiling.manifest import COLUMNS, MANIFEST, Manifest, read_manifest
from tiling.names import real_names
from tiling.open_slides import OPEN_SLIDES, OpenSlides
from tiling.progress import track
from tiling.slide import Slide, open_slide
from tiling.stage import RECORD, completed
from tiling.store import StoredTiles
from tiling.tile_reading import is_of_level, read_tile, salvage_tile
from tiling.wording import counted, quoted

_PLACE = ("x", "y", "size", "level", "scale")


@dataclass(frozen=True)
class Tile:
    """A square of a slide.

    Attributes
    ----------
    slide
        Path relative to the root of the archive.
    x, y
        Upper left corner, level-0 px.
    size
        Edge, px of the tile.
    level
        Level of the slide that it is read from.
    scale
        Level-0 px per tile px.
    mpp
        Micrometres per tile px, if known.
    tissue, pen
        Fractions of its area that are tissue, and that are covered by pen marks.
    blur
        From 0, sharp, to 1, see :func:`tiling.quality.blur_score`; None if tiles were not inspected, or it has nothing
        to judge by.
    corrupt
        Fraction of its pixels that cannot be decoded; None if tiles were not inspected.
    fold
        Cross-validation fold; all tiles of a patient are in one.
    patient
        Whose it is.
    labels
        What else is known about the slide: stain, diagnosis, ...
    """

    slide: str
    x: int
    y: int
    size: int
    level: int
    scale: float
    mpp: float | None
    tissue: float
    pen: float
    blur: float | None
    corrupt: float | None
    fold: int
    patient: str
    labels: Mapping[str, str] = field(default_factory=dict)


class TileSet:
    """Tiles by number: `tiles[i]` tells where one lies, `tiles.read(i)` reads it; made by :meth:`open`.

    May be handed to other processes and used from several threads. What is pickled is where the manifest is, and each
    process reads it and opens the slides itself; an :class:`InputError` there if the manifest is not the same any more.
    """

    def __init__(self, path: Path, manifest: Manifest, root: Path | None, open_slides: int) -> None:
        self.path = path
        self._given_root = root
        self._manifest = manifest
        self._about = manifest.about
        self._table = manifest.table
        self._store = StoredTiles.open(path.parent)
        self._label_names = [name for name in self._table.column_names if name not in COLUMNS.names]
        self._open_slides = open_slides
        self._slides = OpenSlides(open_slides)
        self._known: dict[str, tuple[int, ...]] = {}  # slides whose file was found to be the one that was tiled

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        root: str | os.PathLike[str] | None = None,
        open_slides: int = OPEN_SLIDES,
    ) -> TileSet:
        """Open what :func:`tiling.tile_archive` made.

        Parameters
        ----------
        path
            The tile folder, or a manifest.
        root
            Where the slides are now, if they were moved since.
        open_slides
            How many slides each process keeps open at most; fewer if they hold much decoded, or if it may not have so
            many files open.

        Raises
        ------
        InputError
            If it is absent, half made, or no manifest of tiles.
        """
        path = Path(path)
        if path.is_dir():
            if (path / RECORD).exists():
                completed(path, made_by=f"hdgan tile SLIDES --study {quoted(path.parent)}")
            path = path / MANIFEST
        if not path.exists():
            raise InputError(f"no tile set at {path}: make it with `hdgan tile SLIDES`")
        return cls(path, read_manifest(path), None if root is None else Path(root), open_slides)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> Tile:
        labels = self._row(index, self._label_names)
        row = self._row(index, (name for name in COLUMNS.names if name != "fingerprint"))
        return Tile(**row, labels={name: value for name, value in labels.items() if value is not None})

    def __iter__(self) -> Iterator[Tile]:
        return (self[index] for index in range(len(self)))

    def __repr__(self) -> str:
        return f"TileSet({str(self.path)!r}, {counted(len(self), 'tile')} of {counted(len(self.slides), 'slide')})"

    @property
    def root(self) -> Path:
        """The folder that the paths of slides start from.

        An :class:`InputError` if the set is anonymised and was handed on without its names.
        """
        return self._archive[0]

    @property
    def icc(self) -> Icc:
        """What is done with the colour profiles of the slides."""
        return Icc(self._about["icc"])

    @functools.cached_property
    def _archive(self) -> tuple[Path, Mapping[str, str] | None]:
        """Where the slides are, and their paths by what the manifest calls them if these differ."""
        names = None
        if self._about["anonymised"]:
            root, names = real_names(self.path.parent)
        else:
            root = self.path.parent / self._about["root"]  # relative: slides and study may move together
        return root.resolve() if self._given_root is None else self._given_root, names

    @property
    def slides(self) -> list[str]:
        """The slides that have tiles, relative to :attr:`root`, in order."""
        return sorted(self._table["slide"].unique().to_pylist())

    def table(self) -> pa.Table:
        """The manifest: a row per tile, the fields of :class:`Tile` and the slide's fingerprint as columns.

        It is made anew by every call: texts, which are held once each, are written out for every row.
        """
        return self._table.cast(self._manifest.schema)

    def size(self, index: int) -> int:
        """Edge of a tile, px."""
        size: int = self._row(index, ("size",))["size"]
        return size

    @property
    def mpp(self) -> float | None:
        """Micrometres per px of the tiles; None where slides do not say, or it differs by more than a thousandth."""
        known = self._table["mpp"]
        least, most = pc.min_max(known).as_py().values()
        return None if known.null_count or least is None or most > 1.001 * least else float(least + most) / 2

    def read(self, index: int) -> Image:
        """Read a tile's pixels, from its slide or from where they are stored.

        A tile coarser than the level it is read from is averaged down by area. Parts of it outside the slide, and cells
        that were found to be corrupt, have the slide's background colour.

        Returns
        -------
        (size, size, 3) uint8

        Raises
        ------
        InputError
            If the slide is missing, is no longer the file that was tiled, or cannot be decoded there.
        """
        place = self._row(index, _PLACE)
        about = self._row(index, ("slide", "fingerprint", "corrupt"))
        if self._store is not None:
            return self._store.read(about["slide"], fingerprint=about["fingerprint"], **place)
        slide = self._slide(about["slide"], about["fingerprint"])
        return salvage_tile(slide, **place)[0] if about["corrupt"] else read_tile(slide, **place)

    def read_window(self, index: int, *, x: int, y: int, size: int) -> Image:
        """Read a square of a tile: the same pixels as `read(index)[y : y + size, x : x + size]`.

        Where the tile has the pixels of a level of its slide, little more than the square is decoded.

        Parameters
        ----------
        index
            Number of the tile.
        x, y
            Upper left corner in the tile, px of the tile.
        size
            Edge, px of the tile.

        Returns
        -------
        (size, size, 3) uint8

        Raises
        ------
        InputError
            If the square is not within the tile, and as :meth:`read` does.
        """
        place = self._row(index, _PLACE)
        if min(x, y) < 0 or size < 1 or max(x, y) + size > place["size"]:
            raise InputError(f"no square of {size} px at x={x}, y={y} is within a tile of {place['size']} px")
        about = self._row(index, ("slide", "fingerprint", "corrupt"))
        if self._store is None and not about["corrupt"]:
            slide = self._slide(about["slide"], about["fingerprint"])
            if is_of_level(slide, **place):
                px = round(place["scale"])
                return read_tile(slide, **place | {"x": place["x"] + x * px, "y": place["y"] + y * px, "size": size})
        return self.read(index)[y : y + size, x : x + size]

    def labels(self, name: str) -> list[str | None]:
        """A label of every tile, None where nobody knows; an :class:`InputError` if the set has no such label."""
        if name not in self._label_names:
            raise InputError(
                f"the tiles have no label {name!r}; there are: {', '.join(self._label_names) or 'none'} "
                "(`hdgan tile --labels` takes them from a table or from file names)"
            )
        labels: list[str | None] = self._table[name].to_pylist()
        return labels

    def folds(self) -> list[int]:
        """The fold of every tile."""
        folds: list[int] = self._table["fold"].to_pylist()
        return folds

    def problems(self, indices: Sequence[int]) -> list[str]:
        """What keeps some tiles from being read, in words, a slide each; no tile is decoded for it.

        Every slide is opened, and known to be the one that was tiled. Of stored tiles it is told how many are missing.
        """
        wanted = self._table.select(("slide", "fingerprint", "x", "y")).take(list(indices))
        slides = wanted.group_by(["slide", "fingerprint"], use_threads=False).aggregate([("x", "list"), ("y", "list")])
        found = (self._problem(row) for row in track(slides.to_pylist(), "looking at slides"))
        return [problem for problem in found if problem]

    def _problem(self, row: Mapping[str, Any]) -> str:
        """What keeps the tiles of a slide from being read; empty if nothing."""
        try:
            if self._store is None:
                self._slide(row["slide"], row["fingerprint"])
                return ""
            lacking = self._store.count_lacking(row["slide"], zip(row["x_list"], row["y_list"], strict=True))
        except InputError as error:
            return str(error)
        return f"{row['slide']}: {counted(lacking, 'tile')} missing in {self._store.store}" if lacking else ""

    def valid(self, index: int) -> npt.NDArray[np.bool_]:
        """Which pixels of a tile could be decoded, (size, size) bool; all where tiles were not inspected.

        Parts outside the slide count as valid: its background is what is there.
        """
        place = self._row(index, ("x", "y", "size", "scale"))
        about = self._row(index, ("slide", "corrupt"))
        if not about["corrupt"]:
            return np.ones((place["size"], place["size"]), np.bool_)
        return ~damaged_pixels(self._corrupt_cells.get(about["slide"], ()), **place)

    @functools.cached_property
    def _corrupt_cells(self) -> dict[str, list[DamagedCell]]:
        rows = read_ledger(self.path.parent)
        return {row["slide"]: [DamagedCell(**cell) for cell in row["corrupt_cells"] or ()] for row in rows}

    def __reduce__(self) -> tuple[Any, ...]:
        root = None if self._given_root is None else self._given_root.absolute()
        return _opened_again, (self.path.absolute(), self._manifest.fingerprint, root, self._open_slides)

    def _row(self, index: int, names: Iterable[str]) -> dict[str, Any]:
        """Some columns of a tile's row."""
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        return {name: self._table[name][index % len(self)].as_py() for name in names}

    def _slide(self, name: str, fingerprint: str) -> Slide:
        """An open slide, of which the last ones used are kept."""
        if self._slides.process != os.getpid():
            self._slides = OpenSlides(self._open_slides)  # a forked child shares file positions and locks: not these
        return self._slides.get(name, lambda: self._opened(name, fingerprint))

    def _opened(self, name: str, fingerprint: str) -> Slide:
        root, names = self._archive
        path = root / (name if names is None else names[name])
        if not path.exists():
            raise InputError(
                f"slide {name} is not in {root}; "
                "if the archive was moved, say where it is: root=..., or --root on the command line"
            )
        state = state_of(path)
        if self._known.get(name) != state:
            if slide_fingerprint(path) != fingerprint:
                raise InputError(f"slide {path} is not the file that was tiled; restore it, or tile the archive again")
            self._known[name] = state
        return open_slide(path, icc=self.icc)


def _opened_again(path: Path, fingerprint: str, root: Path | None, open_slides: int) -> TileSet:
    """A tile set from its pickle."""
    tiles = TileSet.open(path, root=root, open_slides=open_slides)
    if tiles._manifest.fingerprint != fingerprint:
        raise InputError(f"{path} changed since this tile set was opened: open it again, and hand on that one")
    return tiles
