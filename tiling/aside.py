"""What a folder held, set aside within it until what is to replace it is complete.

The files move into a hidden folder, by renaming, so that it costs no copy and the folder itself stays where it is (it
may be a link to another disk). One of its files, the mark, tells whose output the folder holds: it is the first to
go and the last to come back, so that a folder without it is known to be torn, and is mended by bringing back. When the
replacement is complete, what was set aside gets another name before it is removed, under which it never comes back.
"""

from __future__ import annotations

from pathlib import Path

from tiling.files import discard, remove

_ASIDE = ".replaced"
_MOVING = ".replaced-moving"  # the same, while it does not yet, or no longer, hold all
_DROPPED = ".replaced-dropped"  # the same, while it is removed


def set_aside(folder: Path, mark: str) -> None:
    """Hide all that a folder holds, but for hidden files; it must hold the mark, and have nothing set aside."""
    moving = folder / _MOVING
    moving.mkdir(exist_ok=True)
    for entry in sorted(_content(folder), key=lambda entry: entry.name != mark):
        entry.rename(moving / entry.name)
    moving.rename(folder / _ASIDE)


def has_aside(folder: Path) -> bool:
    """Whether a folder has something set aside."""
    return (folder / _ASIDE).exists()


def aside_of(folder: Path) -> Path:
    """Where what a folder has set aside is, see :func:`has_aside`."""
    return folder / _ASIDE


def is_dropping(folder: Path) -> bool:
    """Whether a process was killed while it dropped what was set aside, or is at it."""
    return (folder / _DROPPED).exists()


def wherever(folder: Path, name: str) -> Path:
    """Where a file of a folder is: there, or else with what was set aside."""
    places = [folder / name, folder / _ASIDE / name, folder / _MOVING / name]
    return next((place for place in places if place.exists()), places[0])


def is_torn(folder: Path, mark: str) -> bool:
    """Whether a process was killed while it set aside or brought back, or before it began the replacement."""
    return not (folder / mark).exists() and any((folder / name).exists() for name in (_ASIDE, _MOVING))


def bring_back(folder: Path, mark: str) -> None:
    """Put back what was set aside, if anything was, in place of all that was made since."""
    moving = folder / _MOVING
    if has_aside(folder):
        remove(folder / mark)
        for entry in _content(folder):
            discard(entry)
        (folder / _ASIDE).rename(moving)
    if moving.exists():
        for entry in sorted(moving.iterdir(), key=lambda entry: entry.name == mark):
            entry.rename(folder / entry.name)
        moving.rmdir()


def drop_aside(folder: Path) -> None:
    """Remove what was set aside, or what is left of it, if anything is: what replaces it is complete."""
    dropped = folder / _DROPPED
    remove(dropped)
    if has_aside(folder):
        (folder / _ASIDE).rename(dropped)
        remove(dropped)


def _content(folder: Path) -> list[Path]:
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
