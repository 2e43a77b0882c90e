"""One process at a time in a folder."""

from __future__ import annotations

import fcntl
import os
import time
import weakref
from pathlib import Path

from tiling.errors import InputError

_LOCK = ".lock"
_DIGITS_OF_PID = 20
_PATIENCE = 0.2  # seconds: who only looks whether it is locked holds it for a moment


class FolderLock:
    """The right to write in a folder, of one process at a time; it ends with the process, however that ends.

    The folder, made if absent, holds a hidden file while the lock is held; a killed process leaves it behind, which
    does no harm. On file systems that know no locks nothing is locked.

    Raises
    ------
    InputError
        If another process holds the lock.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder.absolute() / _LOCK
        descriptor = _locked(path)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        self._end = weakref.finalize(self, _release, path, descriptor, os.getpid())

    def release(self) -> None:
        """Let others in; twice is fine."""
        self._end()


def is_locked(folder: Path) -> bool:
    """Whether another process works in a folder."""
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(descriptor)
    return False


def _locked(path: Path) -> int:
    """Descriptor of the locked file."""
    patience = time.monotonic() + _PATIENCE
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except PermissionError as error:
            raise InputError(f"{path.parent} may not be written: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < patience:
                os.close(descriptor)
                time.sleep(0.01)
                continue
            owner = os.pread(descriptor, _DIGITS_OF_PID, 0).decode()
            os.close(descriptor)
            raise InputError(f"another process ({owner}) works in {path.parent}; wait for it or stop it") from None
        except OSError:  # a file system without locks
            return descriptor
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last owner removed it between the opening and the locking


def _release(path: Path, descriptor: int, owner: int) -> None:
    if os.getpid() == owner and _is_at(path, descriptor):  # not in a forked child, nor where the folder was moved away
        path.unlink()
    os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
