"""An archive of 200 slides, good and bad, tiled by two workers, killed five times, and continued.

Imported by `benchmarks/tiling.py`, which prints what is measured here.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pyarrow.parquet as pq
import tifffile

from tiling.parts import rows_of

SLIDES, SIZE, CELL = 200, 2048, 256
BROKEN, EMPTY, CORRUPT = 12, 10, 8
KILLS = 5
TILING = ("--size", "512", "--workers", "2", "--memory", "1GiB", "--quiet")
_WITHIN = 600  # seconds of a run that does not end


# Put into the way of every process that is started: it notes the slides that are opened, and by whom.
_NOTING = """
import os, sys

_log = os.open(os.environ["OPENED"], os.O_WRONLY | os.O_APPEND)

def _note(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".svs"):
        os.write(_log, f"{os.getpid()}\\t{arguments[0]}\\n".encode())

sys.addaudithook(_note)
"""


class _Run(NamedTuple):
    """What a run took, the peak resident bytes of its largest process, its exit code, the slides its workers opened."""

    seconds: float
    peak: int
    code: int
    opened: set[str]


def make_archive(folder: Path, part: np.ndarray) -> None:
    """Slides of one piece of tissue each, shifted and tinted; broken, empty and corrupt ones among them."""
    draws = np.random.default_rng(0)
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(SLIDES):
        path = folder / ("kidney 🔬.svs" if i == 0 else f"case-{i // 2:03}-{i:03}.svs")
        if path.exists():
            continue
        pixels = np.roll(part[:SIZE, :SIZE], draws.integers(0, SIZE, 2), (0, 1)).astype(np.int16)
        pixels = np.clip(pixels + draws.integers(-12, 12, 3), 0, 255).astype(np.uint8)
        if BROKEN <= i < BROKEN + EMPTY:
            pixels = np.full_like(pixels, 245)
        _write(path, pixels)
        if 0 < i < BROKEN:
            content = path.read_bytes()
            path.write_bytes(content[: len(content) // 3] if i % 2 else draws.bytes(4096))
        elif BROKEN + EMPTY <= i < BROKEN + EMPTY + CORRUPT:
            _corrupt(path, int(draws.integers((SIZE // CELL) ** 2)))


def _write(path: Path, pixels: np.ndarray) -> None:
    description = f"Aperio Image Library\r\n{SIZE}x{SIZE} (256x256) JPEG/RGB Q=80|AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(path) as writer:
        for level in range(2):
            writer.write(
                pixels[:: 2**level, :: 2**level],
                tile=(CELL, CELL),
                photometric="rgb",
                subsampling=(2, 2),
                compression="jpeg",
                compressionargs={"level": 80},
                description=description,
                metadata=None,
            )


def _corrupt(path: Path, cell: int) -> None:
    """Overwrite a cell's bytes."""
    with tifffile.TiffFile(path) as file:
        offset, size = file.pages[0].dataoffsets[cell], file.pages[0].databytecounts[cell]
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\x55" * size)


def measure_archive(folder: Path) -> dict[str, Any]:
    """An undisturbed run, and one that is killed at random moments and continued."""
    archive = folder / "archive"
    undisturbed, disturbed = folder / "undisturbed", folder / "disturbed"
    first = _run(archive, undisturbed)
    assert first.code == 0, "the undisturbed run did not end well"
    draws = random.Random(0)
    runs, finished_before = [first], []
    for kill in [True] * KILLS + [False]:
        done = _finished(disturbed)
        finished_before.append(len(done))
        runs.append(_run(archive, disturbed, kill_after=draws.uniform(0.08, 0.25) * first.seconds if kill else None))
        again = runs[-1].opened & done
        assert not again, f"workers opened slides that were done: {sorted(again)[:3]}"
    assert runs[-1].code == 0, "the last run did not end well"
    equal = all(
        (undisturbed / "tiles" / name).read_bytes() == (disturbed / "tiles" / name).read_bytes()
        for name in ("manifest.parquet", "ledger.parquet")
    )
    rows = pq.read_table(undisturbed / "tiles" / "ledger.parquet").to_pylist()
    statuses = [row["status"] for row in rows]
    return {
        "slides": {status: statuses.count(status) for status in ("done", "empty", "failed")},
        "tiles": sum(row["tiles"] for row in rows),
        "corrupt_cells": sum(len(row["corrupt_cells"] or ()) for row in rows),
        "seconds": first.seconds,
        "finished_before_each_run": finished_before,
        "opened_by_workers_in_each_run": [len(run.opened) for run in runs[1:]],
        "manifest_and_ledger_equal": equal,
        "peak_mib_of_a_process": max(run.peak for run in runs) / 2**20,
    }


def _finished(study: Path) -> set[str]:
    """The names of the slides that are done."""
    return {row["slide"] for row in rows_of(study / "tiles", None) if row["status"] != "failed"}


def _run(archive: Path, study: Path, kill_after: float | None = None) -> _Run:
    """Tile the archive."""
    command = [sys.executable, "-m", "hdgan", "tile", str(archive), "--study", str(study), *TILING]
    with tempfile.TemporaryDirectory() as noting:
        log = Path(noting, "opened.txt")
        log.touch()
        Path(noting, "sitecustomize.py").write_text(_NOTING)
        more = {"PYTHONPATH": os.pathsep.join([noting, os.environ.get("PYTHONPATH", "")]), "OPENED": str(log)}
        began = time.perf_counter()
        process = subprocess.Popen(command, stderr=subprocess.PIPE, env=os.environ | more | {"OMP_NUM_THREADS": "1"})
        peak, above = 0, psutil.Process(process.pid)
        while process.poll() is None and time.perf_counter() - began < _WITHIN:
            for each in _family(above):
                peak = max(peak, _resident(each))
            if kill_after is not None and time.perf_counter() - began > kill_after:
                children = _family(above)
                process.send_signal(signal.SIGKILL)
                psutil.wait_procs(children, timeout=30)  # workers end when who started them has gone
                assert not [each for each in children if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
            time.sleep(0.05)
        process.wait()
        seconds = time.perf_counter() - began
        opened = [line.split("\t") for line in log.read_text().splitlines()]
    names = {Path(path).name for pid, path in opened if int(pid) != process.pid}  # who starts them looks for changes
    return _Run(seconds, peak, process.returncode, names)


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0
