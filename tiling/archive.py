"""A whole archive of slides to one tile set, slide by slide, so that a killed run continues where it was."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tiling.backends import SUFFIXES
from tiling.errors import InputError
from tiling.files import remove, replacing, sweep_partials
from tiling.folds import PATIENT, Stratum, assign_folds, patients_of
from tiling.grid import Edge
from tiling.labels import Labels, LabelsOfSlides, labels_of, strata_of
from tiling.ledger import counts, reasons, write_ledger
from tiling.mpp import MppOf, mpp_by_slide, read_mpp
from tiling.plan import TileSettings, plan_slide
from tiling.progress import note, track
from tiling.slide import open_slide, slide_fingerprint
from tiling.stage import NOT_SLIDES, RECORD, Stage
from tiling.tileset import COLUMNS, MANIFEST, TileSet, table_fingerprint, write_manifest
from tiling.wording import counted, first_few

_PARTS = "parts"  # one Parquet file per slide that was looked at: its tiles, and its ledger row as metadata
_PART_KEY = b"hdgan.slide"
_MARKS_OF_OURS = (RECORD, NOT_SLIDES, "study.toml", f"tiles/{RECORD}")

Paths = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class _Archive:
    """The slides of one call: paths relative to a root, in order, with what tells whether they changed."""

    root: Path
    fingerprints: Mapping[str, str]  # empty where the file cannot be read

    @property
    def names(self) -> list[str]:
        return list(self.fingerprints)

    def digest(self) -> str:
        return hashlib.sha256(json.dumps(dict(self.fingerprints)).encode()).hexdigest()[:16]


def tile_archive(
    slides: Paths,
    out: str | os.PathLike[str],
    *,
    size: int = 4096,
    mpp: float | None = None,
    level: int = 0,
    overlap: int = 0,
    edge: Edge | str = Edge.WITHIN,
    tissue: float | None = None,
    limit: int | None = None,
    folds: int = 5,
    patient: str | None = None,
    labels: Labels | None = None,
    mpp_of: MppOf | None = None,
    seed: int = 0,
    redo: bool = False,
) -> TileSet:
    """Find the tiles with tissue of all slides.

    The tiles stay in the slides: what is written is a manifest of where they are, and a ledger of every slide with
    what was dropped and why. A slide that cannot be tiled does not stop the others. The same call continues a
    killed one, tries again what failed, and takes up slides that were added, changed, renamed or given an mpp since;
    folds are shared out anew then. Slides may have moved, together or with the study.

    Parameters
    ----------
    slides
        A slide, a folder that is searched for slides with all its subfolders, or a list of both. Subfolders are
        passed over when hidden, when they hold a file `.not-slides`, and when a stage or a whole study lies in them.
    out
        The tile folder to make.
    size, mpp, level, overlap, edge, tissue, limit
        Which tiles, see :class:`tiling.plan.TileSettings`. With `mpp`, every tile is read from the next finer
        level and averaged down; a level within 1 % of it is taken as it is. `tissue` is the least tissue fraction;
        its default depends on the size, see :func:`tiling.plan.default_tissue`.
    folds
        How many cross-validation folds; see :func:`tiling.folds.assign_folds`.
    patient
        Regular expression that finds the patient in a file name, see :func:`tiling.folds.patients_of`.
    labels
        Patient, stain, diagnosis and the like of slides, see :func:`tiling.labels.labels_of`.
    mpp_of
        Micrometres per level-0 px: a number for all slides that say none, or numbers by slide (path below the
        folder, file name, or file name without suffix), which go before what a slide says: a mapping, or a CSV file
        with the columns `slide` and `mpp`.
    seed
        Of the draw for `limit` and of the folds.
    redo
        Replace what is in `out`.

    Returns
    -------
    TileSet

    Raises
    ------
    InputError
        If a setting is wrong, if `out` holds something else or tiles of slides that are not given now, or if no slide
        gives a tile: the line says why.
    """
    settings = TileSettings(
        size=size, mpp=mpp, level=level, overlap=overlap, edge=edge, tissue=tissue, limit=limit, seed=seed
    )
    out = Path(out)
    archive = _find_slides(slides, out)
    slide_labels = labels_of(archive.names, labels, reserved=set(COLUMNS.names) - {PATIENT})
    patients = patients_of(archive.names, pattern=patient, labels=slide_labels)
    slide_labels.pop(PATIENT, None)
    known_mpp = read_mpp(mpp_of, archive.names)
    mpps = mpp_by_slide(known_mpp, archive.names)
    part_of = _parts(archive, mpps, out / _PARTS)
    if not redo:
        _refuse_to_lose(out, archive, part_of)
    assign_folds({}, folds=folds, seed=seed)  # raises for a wrong number before any work
    began = Stage.begin(
        out,
        name="tile",
        config={
            **settings.to_dict(),
            "folds": folds,
            "patient": patient,
            "labels": dict(labels) if isinstance(labels, Mapping) else None,
            "mpp_of": known_mpp,
            "slides": archive.digest(),
        },
        inputs={} if labels is None or isinstance(labels, Mapping) else {"labels": Path(labels)},
        grows=("slides", "mpp_of"),
        unsettled=lambda summary: summary.get("slides", {}).get("failed", 0) > 0,
        redo=redo,
    )
    with began as stage:
        if not stage.complete:
            entries = _tile_slides(archive, settings, mpps, part_of, out / _PARTS)
            if not any(entry.row["tiles"] for entry in entries):
                _withdraw(stage)
                raise InputError(_why_nothing([entry.row for entry in entries]))
            table = _write_results(out, archive, entries, patients, slide_labels, folds=folds, seed=seed)
            rows = [entry.row for entry in entries]
            summary = {"slides": counts(rows), "tiles": sum(row["tiles"] for row in rows)}
            stage.finish(content=table_fingerprint(table), summary=summary)
    _keep_root(out, archive.root)
    return TileSet.open(out, root=archive.root)


@dataclass(frozen=True)
class _Entry:
    """What became of one slide: its tiles, and its row of the ledger."""

    tiles: pa.Table
    row: dict[str, Any]


def _find_slides(slides: Paths, out: Path) -> _Archive:
    """Search folders for slides, and fingerprint them."""
    given = [slides] if isinstance(slides, str | os.PathLike) else list(slides)
    if not given:
        raise InputError("no slides given: name a slide, a folder of slides, or several")
    if not any(Path(place).exists() for place in given):
        raise InputError(f"no such slide: {', '.join(map(str, given))}")
    places = [Path(os.path.normpath(Path(place).absolute())) for place in given]
    out = Path(os.path.normpath(out.absolute()))
    for place in places:
        if place == out or out in place.parents:
            raise InputError(f"{place} lies in the output folder {out}; choose another output folder")
    found = sorted({slide for place in places for slide in _slides_in(place, out)})
    if not found:
        raise InputError(
            f"no slides in {', '.join(map(str, places))}; looked for {' '.join(sorted(SUFFIXES))}, "
            "but not in what studies and stages made"
        )
    root = Path(os.path.commonpath([place if place.is_dir() else place.parent for place in places]))
    fingerprints = {}
    for slide in found:
        try:
            fingerprints[slide.relative_to(root).as_posix()] = slide_fingerprint(slide)
        except InputError:  # told by the ledger, when opening it fails as well
            fingerprints[slide.relative_to(root).as_posix()] = ""
    return _Archive(root, fingerprints)


def _slides_in(place: Path, out: Path) -> Iterator[Path]:
    """A file itself; of a folder, all slides in it that are not hidden and no output of ours."""
    if not place.is_dir():
        yield place
    for folder, below, names in os.walk(place):
        here = Path(folder)
        below[:] = [name for name in below if not name.startswith(".") and not _is_ours(here / name, out)]
        for name in names:
            if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES and (here / name).is_file():
                yield here / name


def _is_ours(folder: Path, out: Path) -> bool:
    """Whether a folder is the output, a study (this one from the first call on), a stage, or marked."""
    return out in (folder, folder / "tiles") or any((folder / mark).exists() for mark in _MARKS_OF_OURS)


def _parts(archive: _Archive, mpps: Mapping[str, tuple[float, bool]], parts: Path) -> dict[str, Path]:
    """Where the part of each slide lies, or will lie; by content, so that a slide that changed has another."""
    return {
        name: parts / f"{hashlib.sha256(repr((name, fingerprint, mpps.get(name))).encode()).hexdigest()[:32]}.parquet"
        for name, fingerprint in archive.fingerprints.items()
    }


def _refuse_to_lose(out: Path, archive: _Archive, part_of: Mapping[str, Path]) -> None:
    """Refuse to drop tiles of slides that are missing; one that only has another name now is not."""
    new = {archive.fingerprints[name] for name, part in part_of.items() if not part.exists()}
    stale = set((out / _PARTS).glob("[0-9a-f]*.parquet")) - set(part_of.values())
    rows = [row for row in (_read_part(part).row for part in stale) if row["tiles"] and row["fingerprint"] not in new]
    missing = sorted(row["slide"] for row in rows if not archive.fingerprints.get(row["slide"]))
    if missing:
        raise InputError(
            f"{out} holds tiles of {counted(len(missing), 'slide')} not among those that can be read in "
            f"{archive.root}: {first_few(missing)}; give all slides, old and new, "
            "add --redo to tile these alone, or use another study"
        )


def _tile_slides(
    archive: _Archive,
    settings: TileSettings,
    mpps: Mapping[str, tuple[float, bool]],
    part_of: Mapping[str, Path],
    parts: Path,
) -> list[_Entry]:
    """Tile the slides that no part of an earlier call covers, and drop the parts that no longer count."""
    sweep_partials(parts)
    parts.mkdir(exist_ok=True)
    for stale in set(parts.iterdir()) - set(part_of.values()):
        remove(stale)
    entries = []
    for name in track(archive.names, "tiling slides"):
        if part_of[name].exists():
            entries.append(_read_part(part_of[name]))
            continue
        entry = _tile_slide(archive, name, settings, mpps.get(name))
        if entry.row["status"] != "failed":  # what failed is tried again by the next call
            _write_part(part_of[name], entry)
        entries.append(entry)
    return entries


def _tile_slide(archive: _Archive, name: str, settings: TileSettings, given_mpp: tuple[float, bool] | None) -> _Entry:
    """Tile one slide; what is wrong with it becomes its row of the ledger."""
    row: dict[str, Any] = {"slide": name, "fingerprint": archive.fingerprints[name], "tiles": 0}
    try:
        with open_slide(archive.root / name) as slide:
            width, height = slide.dimensions
            mpp = slide.mpp
            if given_mpp is not None and (given_mpp[1] or mpp is None):
                mpp = given_mpp[0]
            row |= {"width": width, "height": height, "mpp": mpp, "backend": slide.backend}
            plan = plan_slide(slide, settings, name=name, mpp=mpp)
    except InputError as error:
        reason = str(error).replace(f"{archive.root}{os.sep}", "")  # the ledger may travel: no places of this machine
        return _Entry(COLUMNS.empty_table(), row | {"status": "failed", "reason": reason})
    count = len(plan.grid)
    row |= {"status": "empty" if plan.reason else "done", "reason": plan.reason, "tiles": count}
    row |= {"candidates": plan.candidates, "below_tissue": plan.below_tissue, "over_limit": plan.over_limit}
    constant = {
        "slide": name,
        "fingerprint": row["fingerprint"],
        "size": settings.size,
        "level": plan.level,
        "scale": plan.grid.scale,
        "mpp": plan.mpp,
        "patient": None,  # who it is, and the fold, depend on the other slides
        "fold": None,
    }
    columns: dict[str, Any] = {key: [value] * count for key, value in constant.items()}
    columns |= {"x": plan.grid.x, "y": plan.grid.y, "tissue": plan.tissue}
    return _Entry(pa.table(columns, schema=COLUMNS), row)


def _write_part(path: Path, entry: _Entry) -> None:
    with replacing(path) as partial:
        pq.write_table(entry.tiles.replace_schema_metadata({_PART_KEY: json.dumps(entry.row).encode()}), partial)


def _read_part(path: Path) -> _Entry:
    table = pq.read_table(path)
    return _Entry(table.replace_schema_metadata(None), json.loads(table.schema.metadata[_PART_KEY]))


def _write_results(
    out: Path,
    archive: _Archive,
    entries: Sequence[_Entry],
    patients: Mapping[str, str],
    labels: LabelsOfSlides,
    *,
    folds: int,
    seed: int,
) -> pa.Table:
    """Put the parts together: the manifest, which is returned, and the ledger."""
    strata = strata_of(labels, archive.names, None)
    tiles_of: dict[str, dict[Stratum, int]] = {}
    for entry in entries:
        if entry.row["tiles"]:
            slide = entry.row["slide"]
            of_stratum = tiles_of.setdefault(patients[slide], {})
            of_stratum[strata[slide]] = of_stratum.get(strata[slide], 0) + entry.row["tiles"]
    fold_of = assign_folds(tiles_of, folds=folds, seed=seed)
    table = pa.concat_tables([entry.tiles for entry in entries])
    names = table["slide"].to_pylist()
    known = {"patient": [patients[name] for name in names], "fold": [fold_of[patients[name]] for name in names]}
    for column, values in known.items():
        index = COLUMNS.get_field_index(column)
        table = table.set_column(index, COLUMNS.field(column), pa.array(values, COLUMNS.field(column).type))
    for label, value_of in labels.items():
        table = table.append_column(label, pa.array([value_of[name] for name in names], pa.string()))
    rows = [
        entry.row | {"patient": patients[entry.row["slide"]], "fold": fold_of.get(patients[entry.row["slide"]])}
        for entry in entries
    ]
    write_ledger(out, rows)
    write_manifest(out / MANIFEST, table, root=archive.root)
    return table


def _keep_root(out: Path, root: Path) -> None:
    """Let the manifest tell where the slides are now, if they or the study were moved."""
    tiles = TileSet.open(out)
    if tiles.root != root.resolve():
        write_manifest(tiles.path, tiles.table(), root=root)
        note(f"{out}: the slides are now in {root}")


def _withdraw(stage: Stage) -> None:
    """Leave nothing of a folder that never became a tile set; one that did keeps its tiles."""
    if not (stage.folder / MANIFEST).exists():
        remove(stage.folder / _PARTS)
    stage.withdraw()


def _why_nothing(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line that names the slides and what is wrong with each."""
    return reasons(rows) if len(rows) == 1 else f"no tile in any of {len(rows)} slides: {reasons(rows)}"
