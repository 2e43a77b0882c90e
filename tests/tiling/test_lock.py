"""Who holds a folder, and who only looks."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from tiling.errors import InputError
from tiling.lock import FolderLock, is_locked


def look(folder: Path, begun: Event) -> None:
    """Look until somebody ends it."""
    while True:
        is_locked(folder)
        begun.set()


def test_a_folder_is_locked_while_somebody_holds_it(tmp_path: Path) -> None:
    assert not is_locked(tmp_path)
    assert not is_locked(tmp_path / "absent")
    holder = FolderLock(tmp_path)
    assert is_locked(tmp_path)
    with pytest.raises(InputError, match=f"another process \\({os.getpid()}\\) works in"):
        FolderLock(tmp_path)
    holder.release()
    assert not is_locked(tmp_path)


def test_a_lock_that_a_killed_process_left_is_none(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("4711")
    assert not is_locked(tmp_path)
    FolderLock(tmp_path).release()


def test_looking_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("4711")
    context = multiprocessing.get_context("spawn")
    begun = context.Event()
    watcher = context.Process(target=look, args=(tmp_path, begun))
    watcher.start()
    assert begun.wait(timeout=60)
    for _ in range(1000):
        FolderLock(tmp_path).release()
        (tmp_path / ".lock").write_text("4711")
    assert watcher.is_alive()  # it looked all the time, and no lock above was refused for it
    watcher.terminate()
    watcher.join()
