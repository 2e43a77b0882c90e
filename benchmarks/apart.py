"""Measures in processes of their own, for the benchmarks that compare memory."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

_SAVE = """
import sys, torch
from hdgan.stylegan2 import Generator, save_generator
torch.manual_seed(0)
save_generator(Generator(resolution=int(sys.argv[1])), sys.argv[2])
"""


def peak_gb() -> float:
    """GB (10^9 bytes) of the largest resident set of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def run_apart(script: str, name: str) -> dict[str, Any]:
    """The figures that `script --measure NAME` prints last; of one that fails, the last line of its error.

    Threads that wait for each other do not spin, unless the environment says so: beside other work on the same cores
    spinning takes several times what is measured.
    """
    command, environment = [sys.executable, script, "--measure", name], {"OMP_WAIT_POLICY": "PASSIVE", **os.environ}
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode:
        return {"failed": (ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"])[-1]}
    figures: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return figures


def save_random_generator(resolution: int, path: Path) -> None:
    """Write a generator of random weights and the widths of StyleGAN2, which is whole in another process only."""
    command = [sys.executable, "-c", _SAVE, str(resolution), str(path)]
    subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[1])
