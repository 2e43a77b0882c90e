"""What earlier calls made of slides that this call finds otherwise: changed, touched, unreadable, or not at all."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiling.choices import Missing
from tiling.errors import InputError
from tiling.job import SlideJob
from tiling.names import PublicNames
from tiling.parts import part_path, read_rows
from tiling.progress import note
from tiling.tileset import TileSet
from tiling.wording import counted, first_few


@dataclass(frozen=True)
class Past:
    """What a tile folder holds of earlier calls, as it bears upon the jobs of this one.

    Attributes
    ----------
    out, parts
        The tile folder, and where its parts are.
    root
        What the names of slides are relative to now.
    names
        What the manifest calls them.
    """

    out: Path
    parts: Path
    root: Path
    names: PublicNames

    def with_kept(self, jobs: Sequence[SlideJob], missing: Missing) -> list[SlideJob]:
        """The jobs, and of slides that are not there, or cannot be read now, those that were done before.

        Parameters
        ----------
        jobs
            Of the slides that are given.
        missing
            What is wanted of slides that were tiled and are not given.

        Raises
        ------
        InputError
            If there are such, and nobody said what is to become of them.
        """
        keys, contents = {job.key for job in jobs}, {job.fingerprint for job in jobs}
        here = {job.name: job for job in jobs}
        unreadable, gone = dict[str, SlideJob](), dict[str, SlideJob]()
        for key, row in self._rows.items():
            name, mark = self._name_now(row["slide"]), row["fingerprint"]
            job = here.get(name)
            if key in keys or not row["tiles"] or mark in contents or (job is not None and job.fingerprint):
                continue  # it is done, gave nothing, is tiled again, or another took its place
            if job is not None:
                unreadable[name] = replace(job, fingerprint=mark, key=key)
            else:
                gone[name] = SlideJob(self.root / name, name, self.names.slide(name), mark, key)
        if unreadable:
            note(
                f"{counted(len(unreadable), 'slide')} cannot be read now, and the tiles that were found before stay: "
                f"{first_few([job.public for job in unreadable.values()])}"
            )
        if gone:
            self._decide(gone, missing)
        kept = gone.values() if missing is Missing.KEEP else ()
        return [*(unreadable.get(job.name, job) for job in jobs), *kept]

    def perhaps_mended(self, jobs: Sequence[SlideJob]) -> set[str]:
        """Keys of slides with corrupt cells whose file was touched since they were tiled.

        A fingerprint that samples cells may be the same after a damaged file was copied anew. The time of a file's
        last change is only a hint, but one to look again at what was not whole.
        """
        hurt = [job for job in jobs if self._rows.get(job.key, {}).get("corrupt_cells") and job.path.exists()]
        made = {job.key: part_path(self.parts, job.key).stat().st_mtime_ns for job in hurt}
        return {job.key for job in hurt if job.path.stat().st_ctime_ns > made[job.key]}

    def tell_what_is_tiled_again(self, jobs: Sequence[SlideJob], mended: Collection[str]) -> None:
        """Name the slides that were tiled before and have changed, or of which something else is known now."""
        before = {self._name_now(row["slide"]) for row in self._rows.values()}
        done = self._rows.keys() - set(mended)
        if again := [job.public for job in jobs if job.key not in done and job.name in before]:
            note(
                f"tiling again {counted(len(again), 'slide')} that changed, or of which other things are known now: "
                f"{first_few(again)}"
            )

    @functools.cached_property
    def _rows(self) -> dict[str, dict[str, Any]]:
        return read_rows(self.parts)

    @functools.cached_property
    def _root_before(self) -> Path:
        with contextlib.suppress(InputError):  # nothing was finished so far
            return TileSet.open(self.out).root.resolve()
        return self.root.resolve()

    def _name_now(self, public: str) -> str:
        """A slide's name, from what its part calls it; the root was perhaps another when that was made."""
        name, root = self.names.slides.get(public, public), self.root.resolve()
        place = self._root_before / name
        return place.relative_to(root).as_posix() if place.is_relative_to(root) else name

    def _decide(self, gone: Mapping[str, SlideJob], missing: Missing) -> None:
        """Refuse, or say what becomes of the tiles of slides that are gone."""
        public = sorted(job.public for job in gone.values())
        named = f"tiles of {counted(len(gone), 'slide')} not among those in {self.root}: {first_few(public)}"
        if missing is Missing.REFUSE:
            raise InputError(
                f"{self.out} holds {named}; give all slides, old and new, or say whether such tiles stay or go: "
                "missing (--missing) keep or drop"
            )
        note(f"{self.out} {'keeps' if missing is Missing.KEEP else 'drops'} {named}")
