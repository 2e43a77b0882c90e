"""A whole archive of slides to one tile set; a killed run continues where it was."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiling.choices import Corrupt, Icc, Materialise, Missing, chosen
from tiling.companions import size_of
from tiling.errors import InputError
from tiling.files import remove
from tiling.grid import Edge
from tiling.job import Orders, SlideJob, picture_path
from tiling.jobs import Archive, Paths, digest_of, find_archive, in_order, jobs_of
from tiling.labels import Labels
from tiling.ledger import LEDGER, reasons, told_dropped
from tiling.manifest import MANIFEST, table_fingerprint, write_manifest
from tiling.mpp import MppOf, mpp_by_slide, read_mpp
from tiling.names import NAMES, PublicNames
from tiling.parts import PARTS, UNDER_WAY, Part, Parts, part_path
from tiling.past import Past, Reconciled
from tiling.people import People
from tiling.progress import note
from tiling.results import PICTURES, combined, write_results
from tiling.settings import TileSettings
from tiling.stage import Stage, mend
from tiling.store import STORE_NAMES
from tiling.tile_slides import tile_slides
from tiling.tileset import TileSet
from tiling.wording import first_few
from tiling.workers import check_workers, start_workers

_MADE = (PARTS, UNDER_WAY, PICTURES, NAMES, *STORE_NAMES.values())
_SMALL = 64 << 20  # bytes of slides that are tiled before workers would have started


def tile_archive(
    slides: Paths,
    out: str | os.PathLike[str],
    *,
    size: int = 4096,
    mpp: float | None = None,
    power: float | None = None,
    level: int = 0,
    overlap: int = 0,
    edge: Edge | str = Edge.WITHIN,
    tissue: float | None = None,
    tissue_from: str | os.PathLike[str] | None = None,
    annotations: str | os.PathLike[str] | None = None,
    keep_classes: Sequence[str] = (),
    limit: int | None = None,
    icc: Icc | str = Icc.NONE,
    inspect: bool = True,
    corrupt: Corrupt | str = Corrupt.MASK,
    materialise: Materialise | str | None = None,
    pictures: bool = True,
    folds: int = 5,
    patient: str | None = None,
    labels: Labels | None = None,
    stratify: Sequence[str] | None = None,
    mpp_of: MppOf | None = None,
    anonymise: bool = False,
    scheduler: str | None = None,
    workers: int | None = None,
    memory: str | None = None,
    retries: int = 2,
    seed: int = 0,
    missing: Missing | str = Missing.REFUSE,
    redo: bool = False,
) -> TileSet:
    """Find the tiles with tissue of all slides.

    The tiles stay in the slides, unless they are to be materialised: what is written is a manifest of where they are,
    a ledger of every slide with what was dropped and why, pictures, and a page that shows them. A slide that cannot be
    tiled does not stop the others. The same call continues a killed one, tries again what failed, and takes up slides
    that were added, changed, renamed, annotated or given an mpp since; folds are shared out anew then. Only what is new
    is read: slides may have moved, one by one, together or with the study. Until all is done, what was there stays as
    it was.

    Parameters
    ----------
    slides
        A slide, a folder that is searched for slides with all its subfolders, or a list of both. Subfolders are
        passed over when hidden, when they hold a file `.not-slides`, and when a stage or a whole study lies in them.
    out
        The tile folder to make.
    size, mpp, power, level, overlap, edge, tissue, keep_classes, limit
        Which tiles, see :class:`tiling.settings.TileSettings`. With `mpp` or `power`, every tile is read from the next
        finer level and averaged down; a level within 1 % of it is taken as it is. `tissue` is the least tissue
        fraction; its default depends on the size, see :func:`tiling.settings.default_tissue`.
    tissue_from
        Where the tissue is, if somebody said so: a folder with a file for every slide, named after it, or one file. A
        picture of the whole slide (PNG, TIFF) that is 0 where there is none, or annotations.
    annotations
        Regions on the slides, for `keep_classes`: a folder with a file (QuPath's GeoJSON or object masks, ImageScope's
        XML, labelme's JSON) for every slide that has any, named after it, or one file.
    icc
        `srgb` converts pixels by the colour profiles of slides that have one, `none` reads them as they are.
    inspect
        Read every tile once, for its blur and to find cells that cannot be decoded.
    corrupt
        Whether to `mask` such cells and keep the tile, or to `drop` it.
    materialise
        `cells` copies the slides' compressed cells, `pixels` stores decoded tiles; None leaves them in the slides.
    pictures
        Draw a thumbnail of every slide with its tissue and tiles.
    folds
        How many cross-validation folds; see :func:`tiling.folds.assign_folds`.
    patient
        Regular expression that finds the patient in a file name, see :func:`tiling.folds.patients_by_name`.
    labels
        Patient, stain, diagnosis and the like of slides, see :func:`tiling.labels.labels_of`.
    stratify
        Labels whose values are to be spread evenly over the folds, see :func:`tiling.labels.strata_of`.
    mpp_of
        Micrometres per level-0 px: a number for all slides that say none, or numbers by slide (path below the
        folder, file name, or file name without suffix), which go before what a slide says: a mapping, or a CSV file
        with the columns `slide` and `mpp`.
    anonymise
        Call slides and patients by hashes in all but `names.json`, see :mod:`tiling.names`.
    scheduler, workers, memory
        Who does the work, see :func:`tiling.workers.start_workers`. Without a scheduler and a number of workers, there
        is one per core, and none where the slides are few and small.
    retries
        How often a task is tried again that ended with an error that is not the slide's, or whose worker died.
    seed
        Of the draw for `limit` and of the folds.
    missing
        What becomes of tiles whose slides are not among `slides` any more: `refuse` to go on, `keep` them or `drop`
        them. Those of slides that are there but cannot be read now stay.
    redo
        Replace what is in `out`: tile all slides anew. Refused where slides cannot be read now whose tiles it holds,
        unless these may be missing.

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
        size=size,
        mpp=mpp,
        power=power,
        level=level,
        overlap=overlap,
        edge=edge,
        tissue=tissue,
        keep_classes=tuple(keep_classes),
        limit=limit,
        seed=seed,
    )
    _refuse_contradictions(keep_classes, annotations, workers=workers, retries=retries)
    check_workers(scheduler=scheduler, count=workers, memory=memory)
    out = Path(out)
    orders = _orders(
        out, settings, icc=icc, inspect=inspect, corrupt=corrupt, materialise=materialise, pictures=pictures
    )
    absent = chosen(Missing, missing, option="missing")
    mend(out)
    names = PublicNames.of(out, anonymise=anonymise)
    past = Past.of(out, out / PARTS, names)
    archive = find_archive(slides, out, beside=past.root if absent is Missing.KEEP else None, patient=patient)
    scrub = names.scrubber(*(path for path in (archive.root, _path(annotations), _path(tissue_from)) if path))
    jobs = jobs_of(
        archive,
        orders,
        names=names,
        mpps=mpp_by_slide(read_mpp(mpp_of, archive.names), archive.names),
        says_mpp=past.says_mpp,
        annotations=_path(annotations),
        tissue=_path(tissue_from),
    )
    there = past.with_kept(jobs, archive.root, absent, redo=redo)
    jobs = in_order(there.jobs, names)
    slide_names = [job.name for job in jobs]
    people = People.of(slide_names, patient=patient, labels=labels, stratify=stratify, folds=folds, seed=seed)
    to_read = [] if redo else [job for job in jobs if job.fingerprint and job.name not in there.kept]
    call = _Call(out, orders, names, people, archive, past, jobs, there, past.perhaps_mended(to_read))
    with call.begin(redo=redo) as stage:
        if not stage.complete:
            _tell_copies(jobs, people)
            _keep_names(names, people, out, past.root or archive.root)
            count = _suitable(jobs, out) if workers is None and scheduler is None else workers
            with start_workers(scheduler=scheduler, count=count, memory=memory) as crew:
                parts = Parts(out / PARTS)
                call.make_way(stage, parts)
                parts.ask([job.key for job in jobs], () if anonymise else _given(slides))
                done = tile_slides(jobs, orders, parts, crew, retries=retries, scrub=scrub, kept=there.kept)
            call.finish(stage, parts, done)
    _keep_root(out, archive.root, names)
    return TileSet.open(out, root=archive.root)


@dataclass(frozen=True)
class _Call:
    """What a call knows before it reads a slide.

    Attributes
    ----------
    out
        The tile folder.
    orders
        What is wanted of every slide.
    names, people
        What slides and patients are called, and whose the slides are.
    archive
        The slides that are given.
    past
        What the last call left.
    jobs
        The slides whose tiles there are to be, in order.
    there
        Which of them nobody can read now, and which lose their tiles.
    mended
        Keys of those that are done again, as they may be whole now.
    """

    out: Path
    orders: Orders
    names: PublicNames
    people: People
    archive: Archive
    past: Past
    jobs: Sequence[SlideJob]
    there: Reconciled
    mended: Collection[str]

    def begin(self, *, redo: bool) -> Stage:
        """Begin the stage."""
        asked = self.people.asked
        unfinished = bool(self.mended) or (self.out / UNDER_WAY).exists() or not (self.out / LEDGER).exists()
        unfinished |= self.orders.pictures is not None and _undrawn(self.jobs, self.out / PARTS)
        return Stage.begin(
            self.out,
            name="tile",
            config={
                **self.orders.to_dict(),
                **asked,
                "patient": self.names.setting(asked["patient"]),
                "labels": self.names.setting(asked["labels"]),
                "anonymise": self.names.key is not None,
                "slides": digest_of(self.jobs, self.there.kept),
            },
            inputs={},
            grows=("slides", *asked),  # who they are and the folds are put together from what is there
            unsettled=lambda summary: unfinished or summary.get("slides", {}).get("failed", 0) > 0,
            aside=True,
            redo=redo,
        )

    def make_way(self, stage: Stage, parts: Parts) -> None:
        """Tell what is tiled again, and drop what there is of slides that may be whole now."""
        self.past.tell_what_is_tiled_again(self.jobs, self.archive.root, self.mended)
        if self.mended:
            stage.change()
        for key in self.mended:  # their shards lack what could not be decoded then
            parts.drop(key)
            if self.orders.store is not None:
                remove(self.orders.store / key)

    def finish(self, stage: Stage, parts: Parts, done: Sequence[Part]) -> None:
        """Put together what came of the slides; an :class:`InputError` that says why if it is not a single tile."""
        if not any(part.row["tiles"] for part in done):
            parts.all_done()
            if not self.mended:  # whose tiles are gone: what was complete is not any more
                _withdraw(stage)
            raise InputError(_why_nothing([part.row for part in done]))
        table, rows = combined(self.jobs, done, self.people, self.names, self.there.kept)
        stage.change()
        root = self.names.told_root(self.archive.root)
        summary = write_results(self.out, parts, table, rows, self.jobs, self.orders, root)
        parts.all_done()
        stage.finish(content=table_fingerprint(table), summary=summary)
        if self.there.lost:
            note(f"dropped the tiles of {self.there.lost} not among those that are there")


def _refuse_contradictions(
    keep_classes: Sequence[str],
    annotations: str | os.PathLike[str] | None,
    *,
    workers: int | None,
    retries: int,
) -> None:
    if bool(keep_classes) != (annotations is not None):
        raise InputError(
            "keep_classes (--keep-classes) and annotations (--annotations) go together: say which classes count, and "
            "where the regions are"
        )
    for name, number in (("workers", workers), ("retries", retries)):
        if number is not None and number < 0:
            raise InputError(f"{name} is 0 or more, not {number}")


def _orders(
    out: Path,
    settings: TileSettings,
    *,
    icc: str,
    inspect: bool,
    corrupt: str,
    materialise: str | None,
    pictures: bool,
) -> Orders:
    kind = None if materialise is None else chosen(Materialise, materialise, option="materialise")
    return Orders(
        settings,
        icc=chosen(Icc, icc, option="icc"),
        inspect=inspect,
        corrupt=chosen(Corrupt, corrupt, option="corrupt"),
        materialise=kind,
        store=None if kind is None else out.absolute() / STORE_NAMES[kind],
        pictures=out.absolute() / PARTS if pictures else None,
    )


def _suitable(jobs: Sequence[SlideJob], out: Path) -> int:
    """How many workers to start on this machine; none for what is done before they would have started."""
    waiting = [job for job in jobs if not part_path(out / PARTS, job.key).exists()]
    return 0 if sum(_size(job.path) for job in waiting) < _SMALL else os.cpu_count() or 1


def _size(slide: Path) -> int:
    """Bytes of a slide, as far as it takes to tell that it is large."""
    return size_of(slide) if slide.is_file() else _SMALL


def _undrawn(jobs: Sequence[SlideJob], parts: Path) -> bool:
    """Whether a slide that is done has no picture."""
    done = [job.key for job in jobs if part_path(parts, job.key).exists()]
    return any(not picture_path(parts, key).exists() for key in done)


def _tell_copies(jobs: Sequence[SlideJob], people: People) -> None:
    """Name slides that are copies of one another and of different patients: they could be in different folds."""
    alike: dict[str, list[SlideJob]] = {}
    for job in jobs:
        alike.setdefault(job.fingerprint, []).append(job)
    apart = [same for mark, same in alike.items() if mark and len({people.patients[job.name] for job in same}) > 1]
    copies = [" = ".join(job.public for job in same) for same in apart]
    if copies:
        note(f"copies of one another, by the look of their files: {first_few(copies)}; give them one patient")


def _keep_names(names: PublicNames, people: People, out: Path, root: Path) -> None:
    """Before anything is called by a hash, write down what the hashes mean."""
    if names.key is not None:
        for patient in people.patients.values():
            names.patient(patient)
        if people.labels:
            note(f"labels stay as they are: {', '.join(people.labels)}")
    names.save(out, root)


def _keep_root(out: Path, root: Path, names: PublicNames) -> None:
    """Let the tile set tell where the slides are now, if they or the study were moved."""
    tiles = TileSet.open(out)
    if tiles.root != root.resolve():
        names.save(out, root)
        write_manifest(tiles.path, tiles.table(), root=names.told_root(root), icc=tiles.icc)
        note(f"{out}: the slides are now in {root if names.key is None else 'another folder'}")


def _withdraw(stage: Stage) -> None:
    """Leave nothing of a folder that never became a tile set; one that did keeps its tiles."""
    if not (stage.folder / MANIFEST).exists():
        for name in _MADE:
            remove(stage.folder / name)
    stage.withdraw()


def _why_nothing(rows: Sequence[Mapping[str, Any]]) -> str:
    """One line that names the slides and what is wrong with each, and what the filters dropped in all."""
    if len(rows) == 1:
        return reasons(rows)
    told = told_dropped(rows)
    return f"no tile in any of {len(rows)} slides{f' ({told})' if told else ''}: {reasons(rows)}"


def _given(slides: Paths) -> list[Path]:
    return [Path(place).absolute() for place in ([slides] if isinstance(slides, str | os.PathLike) else slides)]


def _path(place: str | os.PathLike[str] | None) -> Path | None:
    return None if place is None else Path(place).absolute()  # workers may be in other folders
