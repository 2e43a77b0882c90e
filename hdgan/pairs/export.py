"""Pairs, all or a selection, written anew: in another format, or with masks as QuPath's GeoJSON."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hdgan.checks import check_number
from hdgan.pairs.crew import Crew, why_it_failed
from hdgan.pairs.formats import FORMATS, UNMADE, PairWriter, pair_format
from hdgan.pairs.manifest import MANIFEST
from hdgan.pairs.pairset import CLASSES, EXPORT, Pair, PairSet
from hdgan.pairs.qupath import GEOJSON, QupathPairs
from hdgan.provenance import digest
from tiling.errors import InputError
from tiling.files import replacing, write_bytes
from tiling.progress import bar, note
from tiling.stage import Stage
from tiling.wording import counted
from tiling.workers import Done

EXPORTS = (*FORMATS, GEOJSON)
"""Formats that pairs are exported to."""
_EXPORTED = "exported.jsonl"  # the pairs that are written, a line each
_MOST_PIXELS = 1 << 30  # of a region that is too small


@dataclass(frozen=True)
class _Exported:
    """A pair that is written: its number, the fingerprint of its latent, and where it is."""

    index: int
    latent: str
    place: int


@dataclass(frozen=True)
class _Copy:
    """A pair to be written, by whom ever."""

    pair: Pair
    target: PairWriter
    place: int

    def __call__(self) -> None:
        self.target.write(self.place, self.pair.size, self.pair.strips())


def export_pairs(
    pairs: PairSet,
    out: str | Path,
    *,
    format: str,
    least_region: int = 0,
    scheduler: str | None = None,
    workers: int = 0,
    memory: str | None = None,
    retries: int = 2,
    redo: bool = False,
) -> None:
    """Write pairs to a folder of their own, each strip by strip.

    A killed export goes on with the same call. Where the set has grown, or another selection of it is asked for, a call
    with the same format writes the pairs that are new, removes those that are no longer selected, and keeps the rest.

    Parameters
    ----------
    pairs
        All that `synthesize` made, or a view: `PairSet.open(folder).select(drop_uncertain=0.1)`.
    out
        The folder: pairs keep their numbers, and their rows of the manifest.
    format
        "zarr", "ome-tiff" or "png", which :meth:`PairSet.open` reads; in zarr pairs are side by side, whatever their
        numbers, which are in `index`. Or "geojson": `images/000007.png`, and `masks/000007.geojson` for QuPath, in
        which every 4-connected region of a class is an annotation with the class's name and colour, along pixel edges,
        so that :func:`hdgan.annotations.read_mask` gives the mask back to the pixel; uncertainties are left out.
    least_region
        For "geojson": regions that enclose fewer px are left out, so that a mask with many specks can be opened. They
        become a part of the region that encloses them, or unlabelled where they lie between several.
    scheduler, workers, memory, retries
        Who writes, as of :func:`hdgan.pairs.synthesize`. A pair that cannot be written ends the export, whoever writes.
    redo
        Discard what is there.

    Raises
    ------
    InputError
        For no pairs, another format, a folder that holds something else, or one in that of the pairs.
    """
    if format not in EXPORTS:
        raise InputError(f"format must be one of {', '.join(EXPORTS)}, not {format!r}")
    check_number("least_region", least_region, 0, _MOST_PIXELS)
    if least_region and format != GEOJSON:
        raise InputError(f"least_region {least_region} is about regions of {GEOJSON}; {format} keeps masks as they are")
    crew = Crew(scheduler, workers, memory, retries)
    if not len(pairs):
        raise InputError("there are no pairs to export: the selection is empty")
    folder, table = Path(out), pairs.table()
    _refuse_nested(folder, pairs.path)
    config = {
        "format": format,
        "classes": pairs.classes.names,
        "set": pairs.identity,
        "selection": digest({"indices": table["index"].to_numpy()})[:16],
        **({"least region": least_region} if least_region else {}),
    }
    with Stage.begin(
        folder,
        name=EXPORT,
        config=config,
        inputs={"pairs": pairs.path},
        origins={"set": "another set of pairs"},
        grows=("selection", "pairs"),
        redo=redo,
    ) as stage:
        if not stage.complete:
            pairs.classes.save(folder / CLASSES)
            where = folder.absolute()  # workers may be in other folders
            if format == GEOJSON:
                _write(pairs, folder, QupathPairs(where, pairs.classes, least_region), crew)
            else:
                _write(pairs, folder, pair_format(format, where, pairs.classes, pairs.mpp), crew)
            with replacing(folder / MANIFEST) as partial:
                pq.write_table(table, partial)
            summary = {"pairs": len(pairs), "pairs are in": os.path.relpath(pairs.path, folder)}
            stage.finish(principal=[folder / MANIFEST], summary=summary)


def _refuse_nested(folder: Path, of: Path) -> None:
    inner, outer = folder.resolve(), of.resolve()
    if inner.is_relative_to(outer) or outer.is_relative_to(inner):
        raise InputError(f"{folder} and {of}, whose pairs are exported, lie in each other; export to another folder")


def _write(pairs: PairSet, folder: Path, target: PairWriter, crew: Crew) -> None:
    """Write the pairs that are not there yet, remove those that are no longer wanted, and note which are where."""
    target.sweep()
    table, noted = pairs.table(), _noted(folder)
    latents = dict(zip(table["index"].to_pylist(), table["latent"].to_pylist(), strict=True))
    valid = {each.index: each.place for each in noted if latents.get(each.index) == each.latent}
    places = _packed(latents, valid) if target.packed else {index: index for index in latents}
    kept = {index: place for index, place in valid.items() if places[index] == place}
    if gone := len(noted) - len(valid):
        note(f"{counted(gone, 'pair')} of {folder} {'is' if gone == 1 else 'are'} no longer selected, and removed")
    _note(folder, [_Exported(index, latents[index], place) for index, place in kept.items()])  # before any goes
    target.keep(kept.values())
    target.prepare(max(places.values()) + 1, pairs[0].size)
    _settle(target, table, kept)
    with (folder / _EXPORTED).open("a", encoding="utf-8") as file, bar("exporting pairs", total=len(places)) as show:
        written = itertools.count(len(kept) + 1)

        def settle(done: Done[_Copy]) -> None:
            index = done.task.pair.index
            if done.error is not None:
                raise InputError(f"pair {index} could not be exported: {why_it_failed(done.error)}") from done.error
            file.write(_line(_Exported(index, latents[index], places[index])))
            file.flush()
            show(completed=next(written))

        if len(places) > len(kept):
            tasks = (_Copy(pair, target, places[pair.index]) for pair in pairs if pair.index not in kept)
            crew.of_at_most(len(places) - len(kept)).do(tasks, settle)
    target.sweep()  # what workers left that were killed
    _note(folder, _noted(folder))
    _settle(target, table, places)


def _packed(wanted: Collection[int], valid: Mapping[int, int]) -> dict[int, int]:
    """Places from 0 on without a gap, by number: pairs that are there stay, unless they are too far behind."""
    kept = {index: place for index, place in valid.items() if place < len(wanted)}
    free = iter(sorted(set(range(len(wanted))) - set(kept.values())))
    return {index: kept[index] if index in kept else next(free) for index in wanted}


def _settle(target: PairWriter, table: pa.Table, places: Mapping[int, int]) -> None:
    """Note which pairs are where."""
    numbers = np.full((2, max(places.values(), default=-1) + 1), UNMADE)
    for index, seed in zip(table["index"].to_pylist(), table["seed"].to_pylist(), strict=True):
        if index in places:
            numbers[:, places[index]] = index, seed
    target.settle(*numbers)


def _noted(folder: Path) -> list[_Exported]:
    """The pairs that are written; a last line that a killed process left unfinished is none."""
    path = folder / _EXPORTED
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return [_Exported(**json.loads(line)) for line in lines if line.endswith("\n")]


def _note(folder: Path, exported: Sequence[_Exported]) -> None:
    """Write these, in the order of their numbers."""
    ordered = sorted(exported, key=lambda each: each.index)
    write_bytes(folder / _EXPORTED, "".join(map(_line, ordered)).encode())


def _line(exported: _Exported) -> str:
    return json.dumps(asdict(exported)) + "\n"
