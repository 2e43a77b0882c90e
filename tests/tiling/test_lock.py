"""Who holds a folder, and who only looks."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from tiling.errors import InputError
from tiling.lock import FolderLock, is_locked


def look(folder: Path, times: int) -> None:
    for _ in range(times):
        is_locked(folder)


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
    watcher = multiprocessing.get_context("spawn").Process(target=look, args=(tmp_path, 100_000))
    watcher.start()
    for _ in range(1000):
        FolderLock(tmp_path).release()
        (tmp_path / ".lock").write_text("4711")
    watcher.terminate()
    watcher.join()
