"""Files that are either whole or absent, and fingerprints that tell whether two are the same."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tiling.errors import InputError

_PARTIAL = ".partial-"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to; rename it to `path` when the block ends well.

    Works for a file, which takes the place of one that was there, and for a folder, which must not be there yet.
    When the block raises, whatever was written is removed and `path` is as it was. A killed process leaves only a
    hidden `.partial-*` entry, which :func:`sweep_partials` removes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = _partial(path)
    try:
        yield partial
        if partial.is_file():
            with partial.open("rb") as written:
                os.fsync(written.fileno())
        partial.replace(path)
    finally:
        remove(partial)


def sweep_partials(folder: Path) -> None:
    """Remove what killed processes left half-written, or half-removed, directly in `folder`."""
    if folder.is_dir():
        for entry in folder.iterdir():
            if entry.name.startswith(_PARTIAL):
                remove(entry)


def discard(path: Path) -> None:
    """Remove a file, or a folder with all it holds, at one moment: a killed process leaves a `.partial-*` at most."""
    partial = _partial(path)
    path.rename(partial)
    remove(partial)


def remove(path: Path) -> None:
    """Remove a file or a folder with all it holds; nothing there is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that it is at no moment half there; one that holds these bytes already is left alone."""
    if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
        return
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON file so that it is at no moment half there."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path, *, repair: str = "restore it or delete it and run the stage again") -> dict[str, Any]:
    """Read a JSON object; an absent, unreadable or other file is an :class:`InputError` that names it.

    `repair` is what to do with a file that is none, where it is not a stage that made it.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); {repair}") from error
    if not isinstance(value, dict):
        raise InputError(f"{path} holds a JSON {type(value).__name__}, not an object; {repair}")
    return value


def state_of(path: Path) -> tuple[int, ...]:
    """What of a file or folder is another after it was replaced or written to; for one process to compare."""
    now = path.stat()
    return now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's files and their names (hidden files left out), in hex."""
    digest = hashlib.sha256()
    if path.is_dir():
        for entry in sorted(path.rglob("*")):
            relative = entry.relative_to(path)
            if entry.is_file() and not any(part.startswith(".") for part in relative.parts):
                digest.update(str(relative).encode() + b"\0" + fingerprint(entry).encode())
    else:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _partial(path: Path) -> Path:
    return path.with_name(f"{_PARTIAL}{uuid.uuid4().hex[:12]}-{path.name}")
