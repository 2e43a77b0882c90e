"""Whether the disk gives the bytes of a slide at all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tiling.backends.base import LostFileError, backend_error, read_bytes
from tiling.companions import companions_of

_AT_ONCE = 1 << 22  # bytes; also of each end of a file
_TRUSTED = 10  # times as long as reading took


class Disk:
    """The files of a slide that a library reads on its own, without telling errors of the disk from bad data."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._trusted_until = 0.0

    def check(self) -> None:
        """Read all bytes of the slide; raise a :class:`LostFileError` where its disk refuses some.

        For a while after that it is trusted, so that slides of many corrupt cells are read on for most of the time.
        """
        started = time.monotonic()
        if started < self._trusted_until:
            return
        try:
            self._read(_all_of)
        except OSError as error:
            raise backend_error(error, LostFileError) from error
        ended = time.monotonic()
        self._trusted_until = ended + _TRUSTED * (ended - started)

    def check_ends(self) -> None:
        """As :meth:`check`, of both ends of each file: of those that are no slides, all may be too much to read."""
        try:
            self._read(_ends_of)
        except OSError as error:
            raise backend_error(error, LostFileError) from error

    def _read(self, read: Callable[[int], None]) -> None:
        for path in (self._path, *companions_of(self._path)):
            file = os.open(path, os.O_RDONLY)
            try:
                read(file)
            finally:
                os.close(file)


def _all_of(file: int) -> None:
    offset = 0
    while data := read_bytes(file, _AT_ONCE, offset):
        offset += len(data)


def _ends_of(file: int) -> None:
    read_bytes(file, _AT_ONCE, 0)
    read_bytes(file, _AT_ONCE, max(0, os.fstat(file).st_size - _AT_ONCE))
