"""Who makes the pairs that are missing, and what is noted of each."""

from __future__ import annotations

import itertools
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hdgan.checks import check_number
from hdgan.latents import Latents, SeededLatents
from hdgan.pairs.formats import PairFormat
from hdgan.pairs.making import Made, NetworkFiles, Networks, PairTask
from hdgan.pairs.manifest import PairFailure, PairRecord, append_to_ledger
from tiling.files import remove
from tiling.progress import bar, note
from tiling.wording import one_line
from tiling.workers import Done, Workers, check_workers, start_workers

if TYPE_CHECKING:
    from hdgan.pairs.memorisation import TrainingTiles

_MEMORY = "4GiB"  # of a worker of this machine
_KILLED = "KilledWorker"

Settle = Callable[[Done[PairTask]], None]


@dataclass(frozen=True)
class Crew:
    """Who makes pairs: this process, so many workers of this machine, or those of a dask scheduler.

    Attributes
    ----------
    scheduler, workers, memory
        See :func:`tiling.workers.start_workers`; without a scheduler, 0 workers are this process.
    retries
        How often a worker tries a pair again that ended with an error. In this process an error ends the work.

    Raises
    ------
    InputError
        For what :func:`tiling.workers.check_workers` refuses, and numbers that make no sense.
    """

    scheduler: str | None = None
    workers: int = 0
    memory: str | None = None
    retries: int = 2

    def __post_init__(self) -> None:
        check_number("workers", self.workers, 0, 10_000)
        check_number("retries", self.retries, 0, 1000)
        check_workers(scheduler=self.scheduler, count=self.workers or None, memory=self.memory)

    @property
    def is_this_process(self) -> bool:
        """Whether nobody else works."""
        return self.scheduler is None and not self.workers

    def do(self, tasks: Iterable[PairTask], settle: Settle, *, most: int) -> None:
        """Do tasks, `most` of them at once at most, and hand on each as it ends."""
        if self.is_this_process:
            for task in tasks:
                settle(Done(task, result=task()))
            return
        count = None if self.scheduler is not None else min(self.workers, most)
        memory = self.memory if self.scheduler is not None else self.memory or _MEMORY
        with start_workers(scheduler=self.scheduler, count=count, memory=memory) as workers:
            _hand_out(workers, iter(tasks), settle, self.retries)


def _hand_out(workers: Workers, tasks: Iterator[PairTask], settle: Settle, retries: int) -> None:
    """Do tasks that are made, each with its latent, when somebody is about to be free for them."""
    waiting: deque[PairTask] = deque(itertools.islice(tasks, max(workers.count(), 1)))
    for done in workers.run(waiting, retries=retries):
        settle(done)
        waiting.extend(itertools.islice(tasks, max(workers.count() - len(waiting), 0)))


@dataclass(frozen=True)
class Production:
    """What pairs are made of, and where they go.

    Attributes
    ----------
    networks
        Generator and ensemble.
    latents
        One a pair.
    folder
        The stage's.
    target
        The format in it.
    window
        Edge of the windows that are made at a time, px.
    tiles
        What each image is compared with.
    failed
        What could not be made.
    """

    networks: Networks
    latents: Latents | SeededLatents
    folder: Path
    target: PairFormat
    window: int
    tiles: TrainingTiles | None
    failed: list[PairFailure] = field(default_factory=list)

    def make(self, indices: list[int], crew: Crew) -> None:
        """Make the pairs of these numbers, and note each in the ledger when it is written."""
        self.target.sweep()
        self.target.prepare(len(self.latents), self.networks.generator.resolution)
        with bar("pairs", total=len(indices)) as show:

            def settle(done: Done[PairTask]) -> None:
                self._settle(done)
                settled = next(counter)
                show(completed=settled, detail=f"{len(self.failed)} failed" if self.failed else "")

            counter = itertools.count(1)
            if crew.is_this_process:
                crew.do(self._tasks(indices, self.networks), settle, most=len(indices))
                return
            shared = self.folder / f".partial-networks-{uuid.uuid4().hex}"  # swept up if this process is killed
            try:
                files = NetworkFiles.save(self.networks, shared)
                crew.do(self._tasks(indices, files), settle, most=len(indices))
            finally:
                remove(shared)
        self.target.sweep()  # what workers left that were killed

    def _tasks(self, indices: Iterable[int], networks: Networks | NetworkFiles) -> Iterator[PairTask]:
        thumbnail = None if self.tiles is None else self.tiles.edge
        for i in indices:
            yield PairTask(i, self.latents.subset([i]), networks, self.target, self.window, thumbnail)

    def _settle(self, done: Done[PairTask]) -> None:
        if done.error is None:
            append_to_ledger(self.folder, self._record(done.task, done.result))
            return
        index, seed = done.task.index, int(done.task.latent.seed[0])
        kind = type(done.error).__name__
        why = f"{kind}: {one_line(done.error)}"
        if kind == _KILLED:
            why = "its worker died again and again, perhaps for want of memory; give workers more memory"
        note(f"pair {index} (seed {seed}) could not be made: {why}")
        self.failed.append(PairFailure(index, seed, why, done.trace))

    def _record(self, task: PairTask, made: Made) -> PairRecord:
        tile, distance = None, None
        if self.tiles is not None:
            assert made.thumbnail is not None
            tile, distance = self.tiles.nearest(made.thumbnail)
        return PairRecord(
            index=task.index,
            seed=int(task.latent.seed[0]),
            psi=float(task.latent.psi[0]),
            latent=task.latent.fingerprint(0),
            uncertainty=made.score,
            fractions=made.fractions,
            nearest_tile=tile,
            nearest_distance=distance,
        )
