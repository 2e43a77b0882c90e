"""Who makes the pairs that are missing, and what is noted of each."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hdgan.latents import Latents, SeededLatents
from hdgan.pairs.crew import Crew, why_it_failed
from hdgan.pairs.formats import PairFormat
from hdgan.pairs.making import Made, NetworkFiles, Networks, PairTask
from hdgan.pairs.manifest import PairFailure, PairRecord, append_to_ledger
from tiling.files import remove
from tiling.progress import bar, note
from tiling.workers import Done

if TYPE_CHECKING:
    from hdgan.pairs.memorisation import TrainingTiles


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
    label
        How masks are decided, see :class:`hdgan.pixels.LabelRule`.
    tiles
        What each image is compared with.
    """

    networks: Networks
    latents: Latents | SeededLatents
    folder: Path
    target: PairFormat
    window: int
    label: str
    tiles: TrainingTiles | None

    def make(self, indices: Sequence[int], crew: Crew) -> list[PairFailure]:
        """Make the pairs of these numbers, and note each in the ledger when it is written; give those that failed."""
        self.target.sweep()
        self.target.prepare(len(self.latents), self.networks.generator.resolution)
        failed: list[PairFailure] = []
        made = itertools.count(1)
        with bar("pairs", total=len(indices)) as show:

            def settle(done: Done[PairTask]) -> None:
                if done.error is None:
                    append_to_ledger(self.folder, self._record(done.task, done.result))
                    show(completed=next(made))
                else:
                    failed.append(_failure(done.task, done.error, done.trace))
                    note(f"pair {failed[-1].index} (seed {failed[-1].seed}) could not be made: {failed[-1].error}")

            self._hand_out(indices, crew, settle)
        self.target.sweep()  # what workers left that were killed
        return failed

    def _hand_out(self, indices: Sequence[int], crew: Crew, settle: Callable[[Done[PairTask]], None]) -> None:
        if not indices:
            return
        if crew.is_this_process:
            crew.do(self._tasks(indices, self.networks), settle)
            return
        shared = self.folder / f".partial-networks-{uuid.uuid4().hex}"  # swept up if this process is killed
        try:
            files = NetworkFiles.save(self.networks, shared)
            crew.of_at_most(len(indices)).do(self._tasks(indices, files), settle)
        finally:
            remove(shared)

    def _tasks(self, indices: Sequence[int], networks: Networks | NetworkFiles) -> Iterator[PairTask]:
        thumbnail = None if self.tiles is None else self.tiles.edge
        for i in indices:
            latent = self.latents.subset([i])
            yield PairTask(i, latent, networks, self.target, self.window, self.label, thumbnail)

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


def _failure(task: PairTask, error: BaseException, trace: str) -> PairFailure:
    return PairFailure(task.index, int(task.latent.seed[0]), why_it_failed(error), trace)
