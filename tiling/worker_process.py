"""What a worker on this machine does when it starts: a preload of dask.

The process that started it stops it, also on Ctrl-C, and there are as many workers as cores.
"""

from __future__ import annotations

import signal
from typing import Any

from tiling.cells import set_threads


def dask_setup(worker: Any) -> None:
    """Called by dask in the main thread of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    set_threads(1)
