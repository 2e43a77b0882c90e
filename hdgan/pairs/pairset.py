"""A set of image-mask pairs on disk, and views of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from hdgan.features.patch import check_window
from hdgan.labels import ClassList, Image, LabelMap
from hdgan.pairs.formats import Kind, Numbers, PairFormat, pair_format
from hdgan.pairs.manifest import read_manifest
from hdgan.pairs.qupath import GEOJSON
from hdgan.pairs.strips import Strip
from hdgan.study import Study
from tiling.errors import InputError
from tiling.stage import RECORD, completed, read_record
from tiling.wording import counted, quoted

CLASSES = "classes.json"
EXPORT = "export"
GROWS = ("n", "window")
"""Settings of `synthesize` that may change from call to call."""
_STRIP = 512  # px: rows that are read at a time


@dataclass(frozen=True)
class Pair:
    """One image with its mask; the arrays are read when asked for.

    Attributes
    ----------
    index
        Its number in the folder.
    seed
        Of its latent.
    score
        How uncertain its mask is: mean over the most uncertain tenth of its pixels, in nats.
    source, place
        Where its arrays are.
    """

    index: int
    seed: int
    score: float
    source: PairFormat = field(repr=False)
    place: int = field(repr=False)

    @property
    def size(self) -> int:
        """Edge of the image, px."""
        with self.source.opened("mask", self.place) as plane:
            return plane.shape[0]

    def image(self, *, y: int = 0, x: int = 0, h: int | None = None, w: int | None = None) -> Image:
        """(H, W, 3) uint8; of a window, given in px, no more is read than the tiles, chunks or rows that it touches.

        From (y, x) on, of (h, w) or as far as the image goes. A PNG is decoded whole. An :class:`InputError` if it is
        not within the image.
        """
        return self._window("image", y, x, h, w)

    def mask(self, *, y: int = 0, x: int = 0, h: int | None = None, w: int | None = None) -> LabelMap:
        """(H, W) uint8, class indices; or of a window, as of :meth:`image`."""
        return self._window("mask", y, x, h, w)

    def uncertainty(
        self, *, y: int = 0, x: int = 0, h: int | None = None, w: int | None = None
    ) -> npt.NDArray[np.float32]:
        """(H, W) float32 in nats, kept in half precision; or of a window, as of :meth:`image`."""
        return self._window("uncertainty", y, x, h, w).astype(np.float32)

    def strips(self) -> Iterator[Strip]:
        """Image, mask and uncertainty in strips of rows, from above."""
        with (
            self.source.opened("image", self.place) as image,
            self.source.opened("mask", self.place) as mask,
            self.source.opened("uncertainty", self.place) as uncertainty,
        ):
            height, width = mask.shape
            for y in range(0, height, _STRIP):
                rows = slice(y, min(y + _STRIP, height)), slice(0, width)
                yield Strip(image[rows], mask[rows], uncertainty[rows].astype(np.float16))

    def _window(self, kind: Kind, y: int, x: int, h: int | None, w: int | None) -> npt.NDArray[Any]:
        with self.source.opened(kind, self.place) as plane:
            height, width = plane.shape[:2]
            h, w = height - y if h is None else h, width - x if w is None else w
            check_window(y, x, h, w, (height, width))
            return np.array(plane[y : y + h, x : x + w])


class PairSet:
    """Pairs in a folder that `synthesize` made, or a selection of them.

    Attributes
    ----------
    path
        The folder.
    classes
        Names and colours of the masks' classes.
    identity
        A fingerprint of all that pairs of the set share, however many there are.
    """

    def __init__(
        self, path: Path, classes: ClassList, identity: str, source: PairFormat, table: pa.Table, places: Numbers
    ) -> None:
        self.path, self.classes, self.identity = path, classes, identity
        self._source, self._table, self._places = source, table, places

    @classmethod
    def open(cls, path: str | Path) -> PairSet:
        """Open a finished set, or what was exported of one.

        Raises
        ------
        InputError
            For an unfinished one, another folder, and what was exported for QuPath.
        """
        folder = Path(path)
        record = completed(folder, made_by=_made_by(folder))
        if record["stage"] not in ("synthesize", EXPORT):
            raise InputError(f"{folder} holds the output of `{record['stage']}`, not image-mask pairs")
        config = record["config"]
        if config["format"] == GEOJSON:
            place = record["summary"].get("pairs are in")  # unless an earlier version wrote it
            pairs = "the set that it is of" if place is None else (folder / place).resolve()
            raise InputError(
                f"{folder} was exported for QuPath ({GEOJSON}), which is not read as pairs: open {pairs}, or export "
                "that as zarr, ome-tiff or png"
            )
        classes, table = ClassList.load(folder / CLASSES), read_manifest(folder)
        source = pair_format(config["format"], folder.absolute(), classes, _mpp(table))
        places = source.places(table["index"].to_numpy())
        return cls(folder, classes, _identity(record), source, table, places)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, i: int) -> Pair: ...
    @overload
    def __getitem__(self, i: slice) -> PairSet: ...
    def __getitem__(self, i: int | slice) -> Pair | PairSet:
        if isinstance(i, slice):
            return self.subset(range(len(self))[i])
        if not -len(self) <= i < len(self):
            raise IndexError(f"pair {i} of {len(self)}")
        row = self._table.slice(i % len(self), 1).to_pylist()[0]
        return Pair(row["index"], row["seed"], row["uncertainty"], self._source, int(self._places[i]))

    def __iter__(self) -> Iterator[Pair]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        what = f"{counted(len(self), 'image-mask pair')} of {counted(len(self.classes), 'class', 'classes')}"
        return f"PairSet({str(self.path)!r}, {what})"

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel, where the generator's training tells it."""
        return _mpp(self._table)

    def table(self) -> pa.Table:
        """The manifest, in the order of the pairs.

        Columns: index, seed, psi, latent, uncertainty, fraction_<class>, nearest_tile, nearest_distance (null where the
        image was compared with no tiles), mpp (null where the training did not tell), licence.
        """
        return self._table

    def subset(self, places: Sequence[int]) -> PairSet:
        """A view of the pairs at these places of this set, from 0; an :class:`InputError` if there is none at one."""
        chosen = np.asarray(places, np.int64)
        for place in chosen[(chosen < 0) | (chosen >= len(self))][:1]:
            raise InputError(f"there is no pair at place {place}: the set has {counted(len(self), 'pair')}, from 0")
        table, at = self._table.take(pa.array(chosen)), self._places[chosen]
        return PairSet(self.path, self.classes, self.identity, self._source, table, at)

    def select(self, *, drop_uncertain: float = 0.1) -> PairSet:
        """A view without this share of the pairs, the most uncertain ones (Zhang et al. 2021, section 3.2).

        The order stays; among equals the later are dropped. So it is the same selection in whatever order, and by
        whomever, the pairs were made.
        """
        if not 0 <= drop_uncertain < 1:
            raise InputError(f"drop_uncertain must be at least 0 and less than 1, 0.5 for half, not {drop_uncertain}")
        scores = self._table["uncertainty"].to_numpy()
        kept = np.argsort(scores, kind="stable")[: len(self) - round(len(self) * drop_uncertain)]
        return self.subset(np.sort(kept).tolist())


def _mpp(table: pa.Table) -> float | None:
    """Micrometres per pixel by a manifest; those of earlier versions have none."""
    found: float | None = pc.max(table["mpp"]).as_py() if "mpp" in table.column_names else None
    return found


def _identity(record: Mapping[str, Any]) -> str:
    config = record["config"]
    if record["stage"] == EXPORT:
        return str(config.get("set", record["fingerprint"]))  # exports of earlier versions tell no set
    shared = {key: value for key, value in config.items() if key not in GROWS}
    return hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]


def _made_by(folder: Path) -> str:
    """The command that makes the pairs of a folder, or finishes them."""
    study, command = Study(folder.parent), "hdgan synthesize"
    if (folder / RECORD).exists() and (record := read_record(folder))["stage"] == EXPORT:
        command = f"hdgan export --format {record['config']['format']}"
    if not study.classifiers.exists():
        return f"{command} --out {quoted(folder)} --study STUDY"  # a record names no study: it may be moved
    own = study.pairs if command == "hdgan synthesize" else study.export
    return f"{command}{'' if folder == own else f' --out {quoted(folder)}'} --study {quoted(study.root)}"
