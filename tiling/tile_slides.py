"""Slides to parts, on workers: what is missing is done, whatever fails is told, and the rest goes on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiling.damage import DamagedCell
from tiling.errors import InputError
from tiling.grid import Grid
from tiling.job import (
    Drawing,
    Inspected,
    Inspection,
    Orders,
    OtherArrayError,
    SlideJob,
    Survey,
    Surveyed,
    picture_path,
)
from tiling.manifest import COLUMNS
from tiling.parts import Part, Parts, part_of
from tiling.progress import bar, note
from tiling.wording import counted, one_line
from tiling.workers import Done, Workers

_KILLED = "KilledWorker"  # dask's error where a worker died with a task


def tile_slides(
    jobs: Sequence[SlideJob],
    orders: Orders,
    parts: Parts,
    workers: Workers,
    *,
    retries: int,
    scrub: Callable[[str, str], str],
    kept: Collection[str] = (),
) -> list[Part]:
    """Do what is missing of every slide.

    Parameters
    ----------
    jobs
        The slides; those whose part is there are done.
    orders
        What is wanted of them.
    parts
        Where what is done is kept. A slide that fails is not kept: the next call tries it again.
    workers
        Who does it.
    retries
        How often a task that raises is tried again.
    scrub
        Takes what must not be told out of a message about a slide of some name.
    kept
        The names of slides that nobody can read now. What is to be done of one is done of a copy, if there is any.

    Returns
    -------
    list of Part
        In the order of the jobs.
    """
    run = _Run(orders, parts, scrub)
    of_key: dict[str, SlideJob] = {}
    for job in sorted(jobs, key=lambda job: job.name in kept):  # of copies of a slide, the first to be read is done
        of_key.setdefault(job.key, job)
    for job in of_key.values():
        run.take(job)
    if 0 < len(run.parts_of) < len(of_key):
        note(f"{len(run.parts_of)} of {counted(len(of_key), 'slide')} were done before")
    with bar("tiling slides", total=len(of_key), completed=len(run.parts_of)) as show:
        for done in workers.run(run.tasks, retries=retries):
            run.settle(done)
            slides, tiles = run.progress
            show(completed=slides, detail=counted(tiles, "tile"))
    return [_as_of(job, run.parts_of[job.key]) for job in jobs]


def _as_of(job: SlideJob, part: Part) -> Part:
    """A part as that of a slide, which may be a copy of the one that was done."""
    other = part.row["slide"]
    if part.row["status"] != "failed" or other == job.public:
        return part
    return Part(part.tiles, part.row | {"reason": f"{job.public} is a copy of {other}: {part.row['reason']}"})


@dataclass
class _Shared:
    """A slide that several tasks share."""

    job: SlideJob
    surveyed: Surveyed
    stretches: dict[int, Inspected | None] = field(default_factory=dict)


@dataclass
class _Run:
    """What is to be done, and what has become of every slide, by its key."""

    orders: Orders
    parts: Parts
    scrub: Callable[[str, str], str]
    tasks: deque[Survey | Inspection | Drawing] = field(default_factory=deque)
    parts_of: dict[str, Part] = field(default_factory=dict)
    tiles: int = 0
    _shared: dict[str, _Shared] = field(default_factory=dict)

    def take(self, job: SlideJob) -> None:
        """Take up a slide where earlier runs left it."""
        part = self.parts.finished(job.key)
        if part is not None:
            self._settled(job, part)
            self._draw(job, part)
            return
        surveyed, stretches = self.parts.begun(job.key)
        if surveyed is None:
            self.tasks.append(Survey(job, self.orders))
        else:
            self._share(job, surveyed, stretches)

    @property
    def progress(self) -> tuple[float, int]:
        """How many slides and tiles are done; of those that several tasks share, the part that is."""
        begun = [(len(each.stretches), len(self._starts(each.surveyed))) for each in self._shared.values()]
        slides = len(self.parts_of) + sum(stretches / of for stretches, of in begun)
        return slides, self.tiles + sum(stretches for stretches, _ in begun) * self.orders.tiles_per_task

    def settle(self, done: Done[Survey | Inspection | Drawing]) -> None:
        """Take over what a task gave."""
        job, task = done.task.job, done.task
        if isinstance(task, Drawing):
            if done.error is not None:
                note(f"no picture of {job.public}: {self.scrub(one_line(done.error), job.name)}")
            return
        if job.key in self.parts_of:  # failed by another of its tasks
            return
        if done.error is not None:
            self._fail(job, done.error, done.trace)
        elif isinstance(task, Survey):
            self._take_over(job, done.result)
        else:
            if done.result is not None:
                self.parts.add(job.key, done.result)
            self._shared[job.key].stretches[task.start] = done.result
            self._finish_if_whole(job.key)

    def _take_over(self, job: SlideJob, surveyed: Surveyed) -> None:
        row = surveyed.row
        if row["status"] == "failed":
            self._give_up(job, row)
        elif surveyed.tiles.num_rows <= self.orders.tiles_per_task:
            stretches = [surveyed.first] if surveyed.first else []
            self._keep(job, part_of(surveyed, stretches, self.orders.corrupt))
        else:
            self.parts.begin(job.key, surveyed)
            self._share(job, surveyed, [surveyed.first] if surveyed.first else [])

    def _share(self, job: SlideJob, surveyed: Surveyed, stretches: Sequence[Inspected]) -> None:
        """Hand out what is missing of a slide that has been surveyed."""
        shared = _Shared(job, surveyed, {stretch.start: stretch for stretch in stretches})
        self._shared[job.key] = shared
        (grid, level), backend = _grid(surveyed), surveyed.row["backend"]
        if not self.orders.inspect:
            shared.stretches[0] = None  # stored with the survey
        todo = [start for start in self._starts(surveyed) if start not in shared.stretches]
        self.tasks.extendleft(Inspection(job, self.orders, grid, level, start, backend) for start in reversed(todo))
        self._finish_if_whole(job.key)

    def _starts(self, surveyed: Surveyed) -> range:
        return range(0, surveyed.tiles.num_rows, self.orders.tiles_per_task)

    def _finish_if_whole(self, key: str) -> None:
        shared = self._shared[key]
        if len(shared.stretches) == len(self._starts(shared.surveyed)):
            stretches = [stretch for stretch in shared.stretches.values() if stretch is not None]
            self._keep(shared.job, part_of(shared.surveyed, stretches, self.orders.corrupt))

    def _fail(self, job: SlideJob, error: BaseException, trace: str) -> None:
        if isinstance(error, OtherArrayError):
            self.parts.drop(job.key)
        reason = f"{job.name}: {type(error).__name__}: {error}"
        if isinstance(error, InputError):
            reason = str(error)
        elif type(error).__name__ == _KILLED:
            reason = (
                f"{job.name}: its worker died again and again, perhaps for want of memory; give workers more memory"
            )
        row = {"slide": job.public, "fingerprint": job.fingerprint, "tiles": 0, "status": "failed", "reason": reason}
        row |= {"error": type(error).__name__, "traceback": trace}
        self._give_up(job, row)

    def _give_up(self, job: SlideJob, row: dict[str, Any]) -> None:
        part = Part(COLUMNS.empty_table(), self._told(job, row))
        self.parts.fail(job.key, part.row)
        self._settled(job, part)

    def _told(self, job: SlideJob, row: dict[str, Any]) -> dict[str, Any]:
        return row | {key: self.scrub(row[key], job.name) for key in ("reason", "traceback") if row.get(key)}

    def _keep(self, job: SlideJob, part: Part) -> None:
        part = Part(part.tiles, self._told(job, part.row))
        self.parts.finish(job.key, part)
        self._settled(job, part)
        self._draw(job, part)

    def _settled(self, job: SlideJob, part: Part) -> None:
        self._shared.pop(job.key, None)
        self.parts_of[job.key] = part
        self.tiles += part.tiles.num_rows

    def _draw(self, job: SlideJob, part: Part) -> None:
        """Have a slide drawn that was not when it was surveyed."""
        folder = self.orders.pictures
        if folder is not None and not picture_path(folder, job.key).exists():
            cells = tuple(DamagedCell(**cell) for cell in part.row["corrupt_cells"])
            self.tasks.append(Drawing(job, self.orders, cells, part.row["backend"]))


def _grid(surveyed: Surveyed) -> tuple[Grid, int]:
    """The tiles of a slide, and the level that they are read from."""
    table = surveyed.tiles
    size, scale, level = (table[name][0].as_py() for name in ("size", "scale", "level"))
    return Grid(table["x"].to_numpy(), table["y"].to_numpy(), size, scale), level
