"""What a finished tile set holds of slides that this call finds otherwise: changed, touched, unreadable, or missing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

from tiling.choices import Missing
from tiling.errors import InputError
from tiling.job import SlideJob
from tiling.ledger import LEDGER, read_ledger
from tiling.manifest import MANIFEST
from tiling.names import PublicNames
from tiling.parts import part_path
from tiling.progress import note
from tiling.stage import replaced
from tiling.tileset import TileSet
from tiling.wording import counted, first_few


class Reconciled(NamedTuple):
    """The jobs of a call, of slides that are there or that were done before.

    Attributes
    ----------
    jobs
        All of them.
    kept
        The names of those whose slides nobody can read now.
    lost
        How many slides lose their tiles, and what they are called, in words; empty if none does.
    """

    jobs: list[SlideJob]
    kept: set[str]
    lost: str


@dataclass(frozen=True)
class Past:
    """What the last call that was finished left in a tile folder; made by :meth:`of`.

    Attributes
    ----------
    out, parts
        The tile folder, and where its parts are.
    names
        What the manifest calls slides.
    rows
        Of its ledger, those of slides that did not fail, by what they are called there.
    root
        What the names of slides were relative to; None if nothing was finished so far.
    in_redo
        Whether a redo was killed that is to replace it.
    """

    out: Path
    parts: Path
    names: PublicNames
    rows: Mapping[str, Mapping[str, Any]]
    root: Path | None
    in_redo: bool

    @classmethod
    def of(cls, out: Path, parts: Path, names: PublicNames) -> Self:
        """Read it; an :class:`InputError` if it is damaged."""
        aside = replaced(out)
        finished, in_redo = aside or out, aside is not None
        if not ((finished / LEDGER).exists() and (finished / MANIFEST).exists()):
            return cls(out, parts, names, {}, None, in_redo)
        rows = {row["slide"]: row for row in read_ledger(finished) if row["status"] != "failed"}
        root = os.path.relpath(TileSet.open(finished / MANIFEST).root, finished.resolve())
        return cls(out, parts, names, rows, (out / root).resolve(), in_redo)  # it is told as seen from the tile folder

    @property
    def says_mpp(self) -> dict[str, bool]:
        """Whether a slide says its resolution itself, by the fingerprint of its file, as far as that is known."""
        return {row["fingerprint"]: row["mpp_from"] == "slide" for row in self.rows.values()}

    def with_kept(self, jobs: Sequence[SlideJob], root: Path, missing: Missing, *, redo: bool) -> Reconciled:
        """The jobs, and of slides that are not there, or cannot be read now, those that were done before.

        Parameters
        ----------
        jobs
            Of the slides that are given.
        root
            What their names are relative to.
        missing
            What is wanted of slides that were tiled and are not given.
        redo
            Whether all is tiled anew, which it also is where this goes on with a redo that was killed.

        Raises
        ------
        InputError
            If tiles would be lost, and nobody said that they may.
        """
        here = {job.name: job for job in jobs}
        before = {self._name_now(public, root) for public in self.rows}
        renamed = Counter(job.fingerprint for job in jobs if job.name not in before)
        unreadable, gone = dict[str, SlideJob](), dict[str, SlideJob]()
        for public, row in self.rows.items():
            name, mark, key = self._name_now(public, root), row["fingerprint"], row["key"]
            job = here.get(name)
            if not row["tiles"] or (job is not None and job.fingerprint):
                continue  # it gave nothing, or is there, or another took its place
            if renamed[mark] > 0:
                renamed[mark] -= 1
            elif job is not None:
                unreadable[name] = replace(job, fingerprint=mark, key=key)
            else:
                gone[name] = SlideJob(root / name, name, self.names.slide(name), mark, key)
        if redo or self.in_redo:
            return Reconciled(list(jobs), set(), self._lost_to_a_redo(unreadable, gone, missing))
        if unreadable:
            note(f"{_told(unreadable)} cannot be read now, and the tiles that were found before stay")
        if gone and missing is Missing.REFUSE:
            _refuse_what_is_not_there(jobs)
            raise InputError(
                f"{self.out} holds tiles of {_told(gone)} not among those given; give all slides, old and new, or say "
                "whether such tiles stay or go: missing (--missing) keep or drop"
            )
        if gone and missing is Missing.KEEP:
            note(f"{_told(gone)} not among those given keep their tiles")
        kept = {**unreadable, **(gone if missing is Missing.KEEP else {})}
        lost = "" if missing is Missing.KEEP else _told(gone)
        return Reconciled(list({**here, **kept}.values()), set(kept), lost)

    def perhaps_mended(self, jobs: Sequence[SlideJob]) -> set[str]:
        """Keys of slides with corrupt cells, of these, whose file was touched since they were tiled.

        A fingerprint that samples cells may be the same after a damaged file was copied anew. The time of a file's
        last change is only a hint, but one to look again at what was not whole.
        """
        hurt = {row["key"] for row in self.rows.values() if row["corrupt_cells"]}
        touched = set()
        for job in jobs:
            part = part_path(self.parts, job.key)
            if job.key in hurt and part.exists() and job.path.stat().st_ctime_ns > part.stat().st_mtime_ns:
                touched.add(job.key)
        return touched

    def tell_what_is_tiled_again(self, jobs: Sequence[SlideJob], root: Path, mended: Collection[str]) -> None:
        """Name the slides that were tiled before and have changed, or of which something else is known now."""
        before = {self._name_now(public, root) for public in self.rows}
        waiting = [job for job in jobs if job.key in mended or not part_path(self.parts, job.key).exists()]
        if again := [job.public for job in waiting if job.name in before]:
            note(
                f"tiling again {counted(len(again), 'slide')} that changed, or of which other things are known now: "
                f"{first_few(again)}"
            )

    def _name_now(self, public: str, root: Path) -> str:
        """A slide's name below the root, from what the ledger calls it."""
        name = self.names.slides.get(public, public)
        if self.root is None:
            return name
        place, root = self.root / name, root.resolve()
        return place.relative_to(root).as_posix() if place.is_relative_to(root) else name

    def _lost_to_a_redo(
        self, unreadable: Mapping[str, SlideJob], gone: Mapping[str, SlideJob], missing: Missing
    ) -> str:
        """The slides whose tiles a redo drops, if it may."""
        if missing is Missing.KEEP:
            either = "missing (--missing) keep, as one has begun" if self.in_redo else "one of the two"
            raise InputError(f"redo (--redo) tiles all slides anew and cannot keep tiles: leave out {either}")
        if unreadable and missing is Missing.REFUSE:
            raise InputError(
                f"{_told(unreadable)} cannot be read now, and a redo would lose the tiles that {self.out} holds of "
                "them; let them be read, or say that these tiles may go: missing (--missing) drop"
            )
        return _told({**unreadable, **gone})


def _refuse_what_is_not_there(jobs: Sequence[SlideJob]) -> None:
    """A slide whose name was mistyped is more likely the one that is missed than another to be given."""
    if nowhere := [str(job.path) for job in jobs if not os.path.lexists(job.path)]:
        raise InputError(f"no such slide: {first_few(nowhere)}; name slides that are there")


def _told(jobs: Mapping[str, SlideJob]) -> str:
    public = sorted(job.public for job in jobs.values())
    return f"{counted(len(public), 'slide')} ({first_few(public)})" if public else ""
