"""Pairs, all or a selection, written anew: in another format, or with masks as QuPath's GeoJSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from hdgan.annotations import write_geojson
from hdgan.pairs.formats import FORMATS, pair_format
from hdgan.pairs.manifest import MANIFEST
from hdgan.pairs.pairset import CLASSES, EXPORT, Pair, PairSet
from hdgan.pairs.strips import Strip
from hdgan.pictures import write_png
from hdgan.provenance import digest
from tiling.errors import InputError
from tiling.files import remove, replacing, sweep_partials
from tiling.progress import track
from tiling.stage import Stage

GEOJSON = "geojson"
_EXPORTED = ".exported"  # the pairs that are written, a line each, until all are


def export_pairs(pairs: PairSet, out: str | Path, *, format: str = GEOJSON, redo: bool = False) -> None:
    """Write pairs to a folder of their own; a killed export goes on with the same call. One pair is held at a time.

    Parameters
    ----------
    pairs
        All that `synthesize` made, or a view: `PairSet.open(folder).select(drop_uncertain=0.1)`.
    out
        The folder: pairs keep their numbers, and their rows of the manifest.
    format
        "geojson": `images/000007.png`, and `masks/000007.geojson` for QuPath, in which every 4-connected region of a
        class is an annotation with the class's name and colour, along pixel edges, so that
        :func:`hdgan.annotations.read_mask` gives the mask back to the pixel; uncertainties are left out. Or "zarr",
        "ome-tiff" or "png", which :meth:`PairSet.open` reads.
    redo
        Discard what is there.

    Raises
    ------
    InputError
        For no pairs, another format, or a folder that holds something else.
    """
    if format not in (GEOJSON, *FORMATS):
        raise InputError(f"format must be one of {', '.join((GEOJSON, *FORMATS))}, not {format!r}")
    if not len(pairs):
        raise InputError("there are no pairs to export: the selection is empty")
    folder, table = Path(out), pairs.table()
    indices = table["index"].to_numpy()
    config = {"format": format, "classes": pairs.classes.names, "selection": digest({"indices": indices})[:16]}
    with Stage.begin(
        folder,
        name=EXPORT,
        config=config,
        inputs={"pairs": pairs.path},
        origins={"selection": "other pairs of the set"},
        redo=redo,
    ) as stage:
        if not stage.complete:
            pairs.classes.save(folder / CLASSES)
            size, room = len(pairs[0].mask()), int(indices.max()) + 1
            write = _geojson_writer(folder, pairs) if format == GEOJSON else _writer(folder, pairs, format, room, size)
            _write_missing(pairs, folder, write)
            with replacing(folder / MANIFEST) as partial:
                pq.write_table(table, partial)
            remove(folder / _EXPORTED)
            stage.finish(principal=[folder / MANIFEST], summary={"pairs": len(pairs)})


def _write_missing(pairs: PairSet, folder: Path, write: Callable[[Pair], None]) -> None:
    noted = folder / _EXPORTED
    content = noted.read_text() if noted.exists() else ""
    whole = content[: content.rfind("\n") + 1]
    done = {int(line) for line in whole.splitlines()}
    with noted.open("w") as file:
        file.write(whole)
        for pair in track(pairs, "exporting pairs", len(pairs)):
            if pair.index not in done:
                write(pair)
                file.write(f"{pair.index}\n")
                file.flush()


def _geojson_writer(folder: Path, pairs: PairSet) -> Callable[[Pair], None]:
    for kind in ("images", "masks"):
        sweep_partials(folder / kind)

    def write(pair: Pair) -> None:
        write_png(folder / "images" / f"{pair.index:06d}.png", pair.image())
        write_geojson(folder / "masks" / f"{pair.index:06d}.geojson", pair.mask(), pairs.classes)

    return write


def _writer(folder: Path, pairs: PairSet, format: str, room: int, size: int) -> Callable[[Pair], None]:
    target = pair_format(format, folder, pairs.classes)
    target.sweep()
    target.prepare(room, size)

    def write(pair: Pair) -> None:
        strip = Strip(pair.image(), pair.mask(), pair.uncertainty().astype(np.float16))
        target.write(pair.index, size, [strip])

    return write
