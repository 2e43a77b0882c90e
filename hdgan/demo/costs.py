"""What each command of the demo took, kept beside the study so that a resumed demo still tells all."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tiling.files import read_json, write_json

COSTS = "costs.json"
_KIB = 1 if sys.platform == "darwin" else 1024  # getrusage counts bytes on macOS and KiB elsewhere
_PR_SET_PDEATHSIG = 1


def run_measured(command: Sequence[str], title: str, root: Path) -> int:
    """Run a command in a process of its own and note its wall seconds and peak memory; gives its exit code.

    Of several runs of a command the longest is kept: the later ones find their work done. On Linux the command dies
    with this process; elsewhere it goes on, and the lock on its folder keeps the next demo away from it.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, preexec_fn=_die_with_parent if sys.platform == "linux" else None) as process:
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:  # the terminal sends Ctrl-C to the command as well: let it write its checkpoint
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode == 0:
        _note(root / COSTS, title, time.perf_counter() - started, usage.ru_maxrss * _KIB)
    return process.returncode


def _die_with_parent() -> None:
    """In the child: have the system kill this process when its parent ends, however that ends; see prctl(2)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _note(path: Path, title: str, seconds: float, peak: int) -> None:
    costs = read_json(path) if path.exists() else {}
    before = costs.get(title, {"seconds": 0.0, "peak_rss_bytes": 0})
    costs[title] = {
        "seconds": max(seconds, before["seconds"]),
        "peak_rss_bytes": max(peak, before["peak_rss_bytes"]),
    }
    write_json(path, costs)
