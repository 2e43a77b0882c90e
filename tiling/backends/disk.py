"""Whether the disk gives the bytes of a slide at all."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tiling.backends.base import LostFileError, backend_error, read_bytes
from tiling.companions import companions_of

_AT_ONCE = 1 << 22  # bytes
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
            for path in (self._path, *companions_of(self._path)):
                _read_through(path)
        except OSError as error:
            raise backend_error(error, LostFileError) from error
        ended = time.monotonic()
        self._trusted_until = ended + _TRUSTED * (ended - started)


def _read_through(path: Path) -> None:
    file, offset = os.open(path, os.O_RDONLY), 0
    try:
        while data := read_bytes(file, _AT_ONCE, offset):
            offset += len(data)
    finally:
        os.close(file)
