"""What a worker on this machine does when it starts: a preload of dask."""

from __future__ import annotations

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Called by dask in the main thread of a worker: Ctrl-C is left to the process that started it, and stops it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
