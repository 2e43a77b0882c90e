"""What is done with one slide: tasks for workers. They write shards and pictures, and return all else."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image as PillowImage

from tiling.choices import Corrupt, Icc, Materialise
from tiling.damage import DamagedCell, damaged_pixels
from tiling.errors import InputError, PassingError, is_passing
from tiling.fingerprint import slide_fingerprint
from tiling.grid import Grid
from tiling.manifest import COLUMNS
from tiling.masks import SlideMask
from tiling.picture import overview, write_overview
from tiling.plan import SlidePlan, plan_slide
from tiling.quality import blur_score
from tiling.regions import Drawn, format_of, read_drawn, region_mask
from tiling.settings import TileSettings
from tiling.slide import Slide, open_slide
from tiling.store import ArrayPlan, begin_array, is_begun, plan_array, write_tile, write_tiles
from tiling.tile_reading import salvage_tile
from tiling.traces import without_places
from tiling.wording import counted

_PIXELS_PER_TASK = 1 << 30  # of tiles: a slide with more is shared by several workers
_PICTURE_SIZE = 640  # px, longest side
_MASK_SIZE = 4096  # px, longest side, of a mask that regions are painted on


@dataclass(frozen=True)
class Orders:
    """What is wanted of every slide alike.

    Attributes
    ----------
    settings
        Which tiles.
    icc
        Whether colour profiles are applied.
    inspect
        Whether every tile is read once: for its blur, and to find cells that cannot be decoded.
    corrupt
        What becomes of tiles with such cells.
    materialise
        As what tiles are stored; None leaves them in the slides.
    store
        Where they are stored.
    pictures
        Folder where every slide's picture is drawn, `KEY.jpg`; None draws none.
    """

    settings: TileSettings
    icc: Icc = Icc.NONE
    inspect: bool = True
    corrupt: Corrupt = Corrupt.MASK
    materialise: Materialise | None = None
    store: Path | None = None
    pictures: Path | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able: all that decides what is made of a slide, but for the places where it goes."""
        about = {"icc": self.icc, "inspect": self.inspect, "corrupt": self.corrupt, "materialise": self.materialise}
        return {**self.settings.to_dict(), **about}

    @property
    def tiles_per_task(self) -> int:
        """How many tiles one task reads."""
        if not self.inspect and self.materialise is None:
            return sys.maxsize  # none is read
        return max(1, _PIXELS_PER_TASK // self.settings.size**2)


@dataclass(frozen=True)
class SlideJob:
    """One slide to be tiled.

    Attributes
    ----------
    path
        Where it is.
    name
        Its path below the archive.
    public
        What the manifest calls it: the same, or a hash.
    fingerprint
        Of the file.
    key
        Of what is made of it: another fingerprint, resolution, annotation or order has another key, another name not.
    mpp
        Micrometres per level-0 px as the user knows them; None where the slide's own count.
    annotations
        Files with regions on the slide.
    tissue
        Files that say where its tissue is; None looks for it.
    """

    path: Path
    name: str
    public: str
    fingerprint: str
    key: str
    mpp: float | None = None
    annotations: tuple[Path, ...] = ()
    tissue: tuple[Path, ...] | None = None


@dataclass(frozen=True)
class Inspected:
    """What reading tiles `start` and on told: for each its blur (0 to 1, nan where it cannot be told), and the part of
    its pixels that cannot be decoded; and the cells that they lie in."""

    start: int
    blur: list[float]
    corrupt: list[float]
    cells: list[DamagedCell]


@dataclass(frozen=True)
class Surveyed:
    """What a slide gives: its row of the ledger, its tiles, and the inspection of the first of them."""

    row: dict[str, Any]
    tiles: pa.Table
    first: Inspected | None


@dataclass(frozen=True)
class Survey:
    """Find the tiles of a slide, and inspect and store the first; an unusable slide gives a row that says why.

    A :class:`PassingError` is raised.
    """

    job: SlideJob
    orders: Orders

    def __call__(self) -> Surveyed:
        """Do it."""
        job, orders = self.job, self.orders
        row: dict[str, Any] = {"slide": job.public, "fingerprint": job.fingerprint, "key": job.key, "tiles": 0}
        try:
            with _opened(job, orders) as slide:
                mpp = _resolution(slide, job)
                row |= _facts(slide, mpp) | {"mpp_from": _who_says(mpp, job)}
                plan, row["without_area"] = _plan(slide, job, orders, mpp)
                array = _array(slide, orders, plan.grid, plan.level)
                if array and orders.store is not None:
                    begin_array(orders.store, job.key, array, fingerprint=job.fingerprint)
                row |= {"stored": array.how} if array else {}
                first = _inspect(slide, job, orders, array, plan.grid, plan.level, 0) if len(plan.grid) else None
                if orders.pictures is not None and len(plan.grid) <= orders.tiles_per_task:
                    _draw(slide, job, orders.pictures, plan, first.cells if first else ())
        except PassingError:
            raise
        except InputError as error:
            told = {
                "error": type(error.__cause__ or error).__name__,
                "traceback": without_places(traceback.format_exc()),
            }
            return Surveyed(row | {"status": "failed", "reason": str(error), **told}, COLUMNS.empty_table(), None)
        count, reason = len(plan.grid), plan.reason
        if reason and plan.lost:
            reason += f"; {counted(len(plan.lost), 'cell')} of it cannot be decoded"
        row |= {"status": "empty" if reason else "done", "reason": reason, "tiles": count}
        row |= {"corrupt_cells": [asdict(cell) for cell in plan.lost], "classes": plan.classes}
        row |= {"without_class": plan.without_class}
        row |= {"candidates": plan.candidates, **plan.dropped}
        return Surveyed(row, _table(job, orders, plan), first)


class OtherArrayError(InputError):
    """A slide's array is not as its survey made it, so tiles that were stored in it may be gone."""


@dataclass(frozen=True)
class Inspection:
    """Inspect and store the tiles of a slide from `start` on, as many as one task does.

    The array is that of the survey: others count on what is stored in it.
    `backend` is the one that its survey read it by: another may see other levels, or another background.
    """

    job: SlideJob
    orders: Orders
    grid: Grid
    level: int
    start: int
    backend: str

    def __call__(self) -> Inspected | None:
        """Do it; an :class:`InputError` if the slide can no longer be opened so, or is another."""
        with _opened(self.job, self.orders, self.backend) as slide:
            array = _array(slide, self.orders, self.grid, self.level)
            if array:
                _check_begun(array, self.job, self.orders)
            return _inspect(slide, self.job, self.orders, array, self.grid, self.level, self.start)


@dataclass(frozen=True)
class Drawing:
    """Draw the picture of a slide that has been tiled, by `backend`; with the cells that cannot be decoded."""

    job: SlideJob
    orders: Orders
    cells: Sequence[DamagedCell]
    backend: str

    def __call__(self) -> None:
        """Do it; an :class:`InputError` if the slide can no longer be opened so, or is another."""
        assert self.orders.pictures is not None
        with _opened(self.job, self.orders, self.backend) as slide:
            plan, _ = _plan(slide, self.job, self.orders, _resolution(slide, self.job))
            _draw(slide, self.job, self.orders.pictures, plan, self.cells)


def picture_path(folder: Path, key: str) -> Path:
    """Where a slide's picture is drawn."""
    return folder / f"{key}.jpg"


@contextmanager
def _opened(job: SlideJob, orders: Orders, backend: str | None = None) -> Iterator[Slide]:
    """The slide, and an :class:`InputError` at the end if its file was replaced or written to meanwhile.

    A :class:`PassingError` if another backend than the one asked for can open it now.
    """
    try:
        with open_slide(job.path, icc=orders.icc) as slide:
            if backend not in (None, slide.backend):
                raise PassingError(
                    f"{job.path} was read by {backend} when its tiles were found, and only {slide.backend} opens it "
                    "now; run the same command again, or with --redo if that does not help"
                )
            yield slide
        if slide_fingerprint(job.path) != job.fingerprint:
            raise InputError(f"{job.path} changed while it was tiled; run the same command again when it is whole")
    except InputError as error:
        if is_passing(error):  # told by its causes, which do not travel with it
            raise PassingError(str(error)) from error
        raise


def _resolution(slide: Slide, job: SlideJob) -> float | None:
    """Micrometres per level-0 px, as the user or the slide says."""
    return slide.mpp if job.mpp is None else job.mpp


def _who_says(mpp: float | None, job: SlideJob) -> str | None:
    """Where a resolution is from."""
    if mpp is None:
        return None
    return "slide" if job.mpp is None else "user"


def _facts(slide: Slide, mpp: float | None) -> dict[str, Any]:
    width, height = slide.dimensions
    facts = {"width": width, "height": height, "mpp": mpp, "objective_power": slide.objective_power}
    return facts | {"backend": slide.backend, "icc": str(Icc.SRGB if slide.icc_applied else Icc.NONE)}


def _plan(slide: Slide, job: SlideJob, orders: Orders, mpp: float | None) -> tuple[SlidePlan, int]:
    """Which tiles it gives, and how many of the shapes drawn on it enclose no area."""
    annotations = _drawn(slide, job.annotations)
    tissue, without_area = (None, 0) if job.tissue is None else _given_tissue(slide, job, job.tissue)
    plan = plan_slide(
        slide,
        orders.settings,
        name=job.name,
        key=job.fingerprint,
        mpp=mpp,
        tissue=tissue,
        annotations=annotations.regions,
    )
    return plan, annotations.without_area.total() + without_area


def _drawn(slide: Slide, files: Sequence[Path]) -> Drawn:
    width, height = slide.dimensions
    return read_drawn(files, shape=(height, width))


def _given_tissue(slide: Slide, job: SlideJob, files: Sequence[Path]) -> tuple[SlideMask, int]:
    """Where somebody says that the tissue is: a picture, or regions; and how many shapes enclose no area."""
    width, height = slide.dimensions
    if not files:
        raise InputError(
            f"nothing says where the tissue of {job.name} is: add a mask or annotations named after it to the folder "
            "given as tissue_from (--tissue-from)"
        )
    if len(files) == 1 and format_of(files[0]) is None:
        return SlideMask.from_image(files[0], width=width, height=height), 0
    drawn = _drawn(slide, files)
    mask = region_mask(drawn.regions, width=width, height=height, max_size=_MASK_SIZE)
    return SlideMask(mask, width, height), drawn.without_area.total()


def _array(slide: Slide, orders: Orders, grid: Grid, level: int) -> ArrayPlan | None:
    """How the tiles are stored, if they are."""
    if orders.materialise is None or not len(grid):
        return None
    return plan_array(slide, grid, level=level, kind=orders.materialise)


def _check_begun(array: ArrayPlan, job: SlideJob, orders: Orders) -> None:
    assert orders.store is not None
    if not is_begun(orders.store, job.key, array, fingerprint=job.fingerprint):
        raise OtherArrayError(
            f"{job.path} changed while it was tiled, or its stored tiles did, or this is another version of hdgan; run "
            "the same command again, which tiles it anew"
        )


def _inspect(
    slide: Slide, job: SlideJob, orders: Orders, array: ArrayPlan | None, grid: Grid, level: int, start: int
) -> Inspected | None:
    """Read tiles, from `start` on, and store them; None where nothing is to be found out."""
    stop = min(start + orders.tiles_per_task, len(grid))
    if array is not None:
        assert orders.store is not None
        if not orders.inspect:
            write_tiles(orders.store, job.key, array, slide, start=start, stop=stop)
    if not orders.inspect:
        return None
    found, corrupt = Inspected(start, [], [], []), dict[DamagedCell, None]()
    for i in range(start, stop):
        place = {"x": int(grid.x[i]), "y": int(grid.y[i])}
        image, cells = salvage_tile(slide, **place, size=grid.size, level=level, scale=grid.scale)
        found.blur.append(blur_score(image))
        damaged = damaged_pixels(cells, **place, size=grid.size, scale=grid.scale) if cells else np.zeros(1)
        found.corrupt.append(float(damaged.mean()))
        corrupt.update(dict.fromkeys(cells))
        if array is not None and not (found.corrupt[-1] and orders.corrupt is Corrupt.DROP):
            assert orders.store is not None
            write_tile(orders.store, job.key, array, slide, i, damaged=cells, pixels=image)
    found.cells.extend(corrupt)
    return found


def _draw(slide: Slide, job: SlideJob, folder: Path, plan: SlidePlan, cells: Sequence[DamagedCell]) -> None:
    width, height = slide.dimensions
    masks = {"tissue": plan.tissue_mask, "pen": plan.pen_mask}
    thumbnail = PillowImage.fromarray(plan.thumbnail)
    thumbnail.thumbnail((_PICTURE_SIZE, _PICTURE_SIZE))
    damaged = sorted({*cells, *plan.lost})
    picture = overview(np.asarray(thumbnail), **masks, grid=plan.grid, width=width, height=height, damaged=damaged)
    write_overview(picture_path(folder, job.key), picture)


def _table(job: SlideJob, orders: Orders, plan: SlidePlan) -> pa.Table:
    """The rows of the manifest, without what is not known yet: who it is, and the fold, depend on the other slides."""
    count = len(plan.grid)
    constant = {
        "slide": job.public,
        "fingerprint": job.fingerprint,
        "size": orders.settings.size,
        "level": plan.level,
        "scale": plan.grid.scale,
        "mpp": plan.mpp,
    }
    columns: dict[str, Any] = {name: [None] * count for name in COLUMNS.names}
    columns |= {name: [value] * count for name, value in constant.items()}
    columns |= {"x": plan.grid.x, "y": plan.grid.y, "tissue": plan.tissue, "pen": plan.pen}
    return pa.table(columns, schema=COLUMNS)
