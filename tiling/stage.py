"""A stage's output folder: what it was made from, whether it is complete, and how to go on with it.

Every stage of the pipeline keeps a `stage.json` in its folder. It is written when the stage begins (status
`running`) and again when it has ended (status `complete`), each time atomically, so that a killed stage is
known to be half-made and the same command can go on with it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import platform
import resource
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self

from tiling.aside import aside_of, bring_back, drop_aside, has_aside, is_dropping, is_torn, set_aside
from tiling.errors import InputError
from tiling.files import fingerprint, read_json, remove, sweep_partials, write_json
from tiling.lock import FolderLock
from tiling.progress import note
from tiling.wanted import Wanted

RECORD = "stage.json"
NOT_SLIDES = ".not-slides"  # a file that marks a folder whose pictures tiling is to pass over, as it does a stage's
_KEYS = frozenset({"stage", "status", "config", "inputs", "seconds", "peak_rss_bytes"})
_NONE: Mapping[str, str] = MappingProxyType({})
_VERSIONS_OF = ("hdgan", "numpy", "torch", "zarr", "openslide-python", "openslide-bin")


@dataclass
class Stage:
    """One stage's folder while the stage runs; made by :meth:`begin`.

    No other process may work in the folder until the stage is finished or withdrawn, or the `with` block that holds
    it ends. A block that an :class:`InputError` ends before anything was made leaves no record, so that the corrected
    request is not refused, and brings back what was to be replaced.
    """

    folder: Path
    record: dict[str, Any]
    complete: bool
    _lock: FolderLock | None = None
    _previous: Mapping[str, Any] | None = None
    _grows: Collection[str] = ()
    _made_above: Sequence[Path] = ()
    _changed: bool = True
    _started: float = field(default_factory=time.perf_counter)

    @classmethod
    def begin(
        cls,
        folder: Path,
        *,
        name: str,
        config: Mapping[str, Any],
        inputs: Mapping[str, Path],
        origins: Mapping[str, str] = _NONE,
        grows: Collection[str] = (),
        unsettled: Callable[[Mapping[str, Any]], bool] = lambda summary: False,
        as_now: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda config: config,
        elsewhere: str = "use another study",
        aside: bool = False,
        redo: bool = False,
    ) -> Stage:
        """Start, continue or recognise a stage.

        Parameters
        ----------
        folder
            Where the stage writes. Made if absent.
        name
            The command that makes it, for messages.
        config
            JSON-able settings that determine the output.
        inputs
            What the stage reads: folders of other stages (which must be complete), files, or plain folders.
        origins
            Which values of `config` nobody set, as they are fingerprints of what the output is made from, and what it
            means that one is another, in words: `{"labels": "other masks"}`.
        grows
            Settings of `config` that may change from call to call because the stage continues from where it was
            (the number of pairs, the length of a training), and `inputs` that may, where the stage tells itself what
            of its output is still theirs. What they change in the output shows in its principal files, see
            :meth:`finish`.
        unsettled
            Tells from the summary of a complete stage whether something in it is to be tried again.
        as_now
            Gives the settings of a record, which an earlier version may have written, as they would be recorded now:
            with what was always so before it was a setting.
        elsewhere
            What to do to have what is there and what is asked for, for messages.
        aside
            Whether what is made lies beside the output of a complete stage until :meth:`change` is called: that stays
            complete until then, also if this process is killed.
        redo
            Replace what is there, if it is of the same stage. It is set aside until the stage is finished. A redo that
            was killed goes on if the same is asked for; one that was killed when only the old output was still to be
            removed is complete.

        Returns
        -------
        Stage
            `complete` tells that there is nothing to do, and so does a line on standard error. Otherwise the folder
            holds nothing, or what an earlier call with the same settings left: the stage keeps the whole items and
            makes the missing ones.

        Raises
        ------
        InputError
            When the folder was made with other settings or from other inputs, or holds files of somebody else, or
            another process works in it.
        """
        wanted = Wanted(
            name,
            config=json.loads(json.dumps(config)),
            inputs={key: fingerprint_of(path) for key, path in inputs.items()},
            origins=origins,
            grows=grows,
            unsettled=unsettled,
            as_now=as_now,
            elsewhere=elsewhere,
        )
        licence = sorted({licence for path in inputs.values() for licence in _licence_of(path)})
        mend(folder)
        previous = _previous(folder)
        anew, settled = _judged(folder, previous, wanted, redo=redo)
        if settled is not None and not redo:
            _drop_left(folder)
            note(f"{folder} is complete: nothing to do")
            return cls(folder, settled, complete=True)
        absent_above = [above for above in folder.parents if not above.exists()]
        lock = _taken_over(folder, previous)
        if settled is not None:
            lock.release()
            note(f"{folder} is complete: only what it replaces was still to be removed")
            return cls(folder, settled, complete=True)
        if anew:
            bring_back(folder, RECORD)  # of an earlier redo, which made less than what it was to replace
            set_aside(folder, RECORD)
            previous = None
        record = wanted.to_dict() | {
            "status": "running",
            "versions": versions(),
            "licence": licence,
            "seconds": previous["seconds"] if previous else 0.0,
            "peak_rss_bytes": previous["peak_rss_bytes"] if previous else 0,
        }
        stage = cls(folder, record, False, lock, previous, grows, absent_above, False)
        if not (aside and previous is not None and previous["status"] == "complete"):
            stage.change()
        return stage

    def change(self) -> None:
        """Say, in the record, that from now on the folder is half made."""
        write_json(self.folder / RECORD, self.record)
        self._changed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None and isinstance(error, InputError) and self._is_bare():
            self.withdraw()
        elif self._lock is not None and self._changed and not self.complete:  # stopped half-way: what it cost counts
            write_json(self.folder / RECORD, self.record | self._spent())
        self._release()

    def withdraw(self) -> None:
        """Leave the folder as :meth:`begin` found it: the stage turned out to be impossible.

        A complete stage's record comes back, and so does what was set aside; a stage that has made nothing so far
        leaves no record, nor a folder, nor those above it that were made for it.
        """
        if self._previous is not None and (self._previous["status"] == "complete" or not self._is_bare()):
            write_json(self.folder / RECORD, self._previous)
        elif has_aside(self.folder):
            bring_back(self.folder, RECORD)
        else:
            remove(self.folder / RECORD)
        self._release()
        for place in (self.folder, *self._made_above):
            if any(place.iterdir()):
                break
            place.rmdir()

    def finish(
        self,
        *,
        principal: Sequence[Path] = (),
        content: str = "",
        summary: Mapping[str, Any] | None = None,
        licence: Sequence[str] = (),
    ) -> None:
        """Mark the folder complete.

        `principal` are the files whose bytes identify the output, besides the inputs and the settings that do not
        grow: where only items are added, and the stages after this one know the items they use, there may be none.
        `content` is a fingerprint in place of theirs, where the bytes tell more than what counts.
        `summary` is what a report may show, `licence` names terms that hold for everything made from this output.
        """
        settled = {key: value for key, value in self.record["config"].items() if key not in self._grows}
        identity = [self.record["stage"], settled, self.record["inputs"]]
        identity += [fingerprint(path) for path in principal] + [content] * bool(content)
        self.record |= self._spent() | {
            "status": "complete",
            "fingerprint": hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest(),
            "licence": sorted({*self.record["licence"], *licence}),
            "summary": dict(summary or {}),
        }
        write_json(self.folder / RECORD, self.record)
        self.complete = True
        drop_aside(self.folder)  # after the record: it may take minutes, and killed in them the stage is complete
        self._release()

    def keep_peak(self) -> None:
        """Take the peak memory so far into the record, for one who has the process's own begin anew."""
        self.record["peak_rss_bytes"] = self._peak()

    def _spent(self) -> dict[str, Any]:
        """Time and peak memory of this run and of those before it that were stopped."""
        return {
            "seconds": self.record["seconds"] + time.perf_counter() - self._started,
            "peak_rss_bytes": self._peak(),
        }

    def _peak(self) -> int:
        usage = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        kib = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS and KiB elsewhere
        highest: int = max(self.record["peak_rss_bytes"], max(usage) * kib)
        return highest

    def _is_bare(self) -> bool:
        """Whether nothing has been made: a record, and perhaps hidden files."""
        return {entry.name for entry in self.folder.iterdir() if not entry.name.startswith(".")} == {RECORD}

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def read_record(folder: Path) -> dict[str, Any]:
    """What `stage.json` says; an :class:`InputError` if it is not the record of a stage."""
    record = read_json(folder / RECORD)
    missing = _KEYS - record.keys()
    if missing or (record["status"] == "complete" and "fingerprint" not in record):
        lacking = ", ".join(sorted(missing or {"fingerprint"}))
        raise InputError(f"{folder / RECORD} lacks {lacking}: restore it, or delete {folder} and make it again")
    return record


def mend(folder: Path) -> None:
    """Bring back what a redo was about to replace when it was killed.

    :meth:`Stage.begin` does so itself; who reads what the folder holds before that calls it first.

    Raises
    ------
    InputError
        If there is something to bring back, and another process works in the folder.
    """
    if is_torn(folder, RECORD):
        lock = FolderLock(folder)
        if is_torn(folder, RECORD):
            bring_back(folder, RECORD)
            sweep_partials(folder)
        lock.release()


def replaced(folder: Path) -> Path | None:
    """Where the output is that a redo, which was killed, is to replace; None if there is none. See :func:`mend`."""
    return aside_of(folder) if has_aside(folder) and read_record(folder)["status"] != "complete" else None


def completed(folder: Path, *, made_by: str) -> dict[str, Any]:
    """The record of a complete stage; an :class:`InputError` that names the command to run if it is not."""
    if not (folder / RECORD).exists():
        raise InputError(f"{folder} does not exist yet: make it with `{made_by}`")
    record = read_record(folder)
    if record["status"] != "complete":
        raise InputError(f"{folder} is only half made: run `{made_by}` again to finish it")
    return record


def fingerprint_of(path: Path) -> str:
    """Fingerprint of a stage's folder (from its record), or of any other file or folder (from its bytes)."""
    if (path / RECORD).exists():
        return str(completed(path, made_by=f"hdgan {read_record(path)['stage']}")["fingerprint"])
    if not path.exists():
        raise InputError(f"no such file or folder: {path}")
    return fingerprint(path)


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide about numbers, those that are installed."""
    found = {"python": platform.python_version()}
    for package in _VERSIONS_OF:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _licence_of(path: Path) -> list[str]:
    return list(read_record(path).get("licence", [])) if (path / RECORD).exists() else []


def _previous(folder: Path) -> dict[str, Any] | None:
    if (folder / RECORD).exists():
        return read_record(folder)
    if folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise InputError(f"{folder} holds files that no stage made; choose another folder or move them away")
    return None


def _judged(
    folder: Path, previous: dict[str, Any] | None, wanted: Wanted, *, redo: bool
) -> tuple[bool, dict[str, Any] | None]:
    """Whether what a folder holds is to be replaced; and if there is nothing more to make, its record.

    An :class:`InputError` if it is neither to be replaced nor what is wanted.
    """
    if previous is None:
        return False, None
    wanted.refuse_other_stage(folder, previous)
    if redo and not (_is_redone(folder) and wanted.is_what_was(previous)):
        return True, None
    wanted.refuse_other(folder, previous)
    return False, previous if wanted.is_settled(previous) else None


def _taken_over(folder: Path, previous: Mapping[str, Any] | None) -> FolderLock:
    """Keep others out of a folder, and clear what they left half done; an :class:`InputError` if they are at it."""
    lock = FolderLock(folder)
    if _previous(folder) != previous:
        lock.release()
        raise InputError(f"another process has just worked in {folder}; run the same command again")
    sweep_partials(folder)
    if previous is not None and previous["status"] == "complete":
        drop_aside(folder)  # what a redo left that was killed when it was complete
    return lock


def _is_redone(folder: Path) -> bool:
    """Whether a redo has begun in a folder with a record, or was killed when only the old output was to be removed."""
    return has_aside(folder) or is_dropping(folder)


def _drop_left(folder: Path) -> None:
    """Remove what a redo left of the old output in a complete folder, unless somebody is at it, or nobody may."""
    if not _is_redone(folder):
        return
    with contextlib.suppress(InputError, OSError):
        lock = FolderLock(folder)
        try:
            if read_record(folder)["status"] == "complete":
                drop_aside(folder)
        finally:
            lock.release()
