"""A set of image-mask pairs on disk, and views of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from hdgan.labels import ClassList, Image, LabelMap
from hdgan.pairs.formats import PairFormat, pair_format
from hdgan.pairs.manifest import read_manifest
from tiling.errors import InputError
from tiling.stage import completed
from tiling.wording import quoted

CLASSES = "classes.json"
EXPORT = "export"


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
    """

    index: int
    seed: int
    score: float
    source: PairFormat

    def image(self) -> Image:
        """(H, W, 3) uint8."""
        return self.source.image(self.index)

    def mask(self) -> LabelMap:
        """(H, W) uint8, class indices."""
        return self.source.mask(self.index)

    def uncertainty(self) -> npt.NDArray[np.float32]:
        """(H, W) float32 in nats, kept in half precision."""
        return self.source.uncertainty(self.index).astype(np.float32)


class PairSet:
    """Pairs in a folder that `synthesize` made, or a selection of them.

    Attributes
    ----------
    path
        The folder.
    classes
        Names and colours of the masks' classes.
    """

    def __init__(self, path: Path, classes: ClassList, source: PairFormat, table: pa.Table) -> None:
        self.path, self.classes = path, classes
        self._source, self._table = source, table

    @classmethod
    def open(cls, path: str | Path) -> PairSet:
        """Open a finished set, or what was exported of one; an unfinished one is an :class:`InputError`."""
        folder = Path(path)
        record = completed(folder, made_by=f"hdgan synthesize --study {quoted(folder.parent)}")
        if record["stage"] not in ("synthesize", EXPORT):
            raise InputError(f"{folder} holds the output of `{record['stage']}`, not image-mask pairs")
        classes = ClassList.load(folder / CLASSES)
        source = pair_format(record["config"]["format"], folder, classes)
        return cls(folder, classes, source, read_manifest(folder))

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, i: int) -> Pair:
        if not -len(self) <= i < len(self):
            raise IndexError(f"pair {i} of {len(self)}")
        row = self._table.slice(i % len(self), 1).to_pylist()[0]
        return Pair(row["index"], row["seed"], row["uncertainty"], self._source)

    def __iter__(self) -> Iterator[Pair]:
        return (self[i] for i in range(len(self)))

    def table(self) -> pa.Table:
        """The manifest, in the order of the pairs.

        Columns: index, seed, psi, latent, uncertainty, fraction_<class>, nearest_tile, nearest_distance (null where the
        image was compared with no tiles), licence.
        """
        return self._table

    def subset(self, places: Sequence[int]) -> PairSet:
        """A view of the pairs at these places."""
        return PairSet(self.path, self.classes, self._source, self._table.take(pa.array(places, pa.int64())))

    def select(self, *, drop_uncertain: float = 0.1) -> PairSet:
        """A view without this share of the pairs, the most uncertain ones (Zhang et al. 2021, section 3.2).

        The order stays; among equals the later are dropped. So it is the same selection in whatever order, and by
        whomever, the pairs were made.
        """
        if not 0 <= drop_uncertain < 1:
            raise InputError(f"drop_uncertain must be at least 0 and less than 1, not {drop_uncertain}")
        scores = self._table["uncertainty"].to_numpy()
        kept = np.argsort(scores, kind="stable")[: len(self) - round(len(self) * drop_uncertain)]
        return self.subset(np.sort(kept).tolist())
