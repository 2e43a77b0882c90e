"""Measures in processes of their own, for the benchmarks that compare memory, and tables of what they found."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
Measures = Mapping[str, Callable[[], Figures]]

_SAVE = """
import sys, torch
from hdgan.stylegan2 import Generator, save_generator
torch.manual_seed(0)
save_generator(Generator(resolution=int(sys.argv[1])), sys.argv[2])
"""


class Stopwatch:
    """CPU and wall seconds since it was made."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> Figures:
        return {"cpu_s": time.process_time() - self._cpu, "wall_s": time.perf_counter() - self._wall}


@dataclass(frozen=True)
class Bound:
    """What a figure of a measure is to stay below, or above."""

    measure: str
    figure: str
    at_most: float | None = None
    at_least: float | None = None

    def met_by(self, value: float | None) -> bool:
        """Whether it is kept; never by the None of a measure that failed."""
        above = self.at_least is None or (value is not None and value >= self.at_least)
        return value is not None and above and (self.at_most is None or value <= self.at_most)

    def __str__(self) -> str:
        return f"at least {self.at_least:.4g}" if self.at_most is None else f"at most {self.at_most:.4g}"


def peak_gb() -> float:
    """GB (10^9 bytes) of the largest resident set of this process so far; on Linux only."""
    lines = Path("/proc/self/status").read_text().splitlines()  # getrusage counts what started it, too
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


def run_apart(script: str, name: str) -> Figures:
    """The figures that `script --measure NAME` prints last; of one that fails, the last line of its error.

    The whole error is printed. Threads that wait for each other spin as long as those of `hdgan`, unless the
    environment says otherwise.
    """
    command, environment = [sys.executable, script, "--measure", name], dict(os.environ)
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "10000")
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if ended.returncode:
        sys.stderr.write(ended.stderr)
        return {"failed": (ended.stderr.strip().splitlines() or [f"ended with {ended.returncode}"])[-1]}
    figures: Figures = json.loads(ended.stdout.splitlines()[-1])
    return figures


def run_part(script: str, name: str) -> Figures:
    """The same of what a measure starts and cannot do without; a RuntimeError where it fails."""
    figures = run_apart(script, name)
    if "failed" in figures:
        raise RuntimeError(figures["failed"])
    return figures


def save_random_generator(resolution: int, path: Path) -> None:
    """Write a generator of random weights and the widths of StyleGAN2, which is whole in another process only."""
    command = [sys.executable, "-c", _SAVE, str(resolution), str(path)]
    subprocess.run(command, check=True, cwd=Path(__file__).resolve().parents[1])


def machine(*, gpu: bool = False) -> Figures:
    """Where this runs: the processor, and the GPU, if there is one, for what computes on it."""
    processor = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    told: Figures = {"processor": processor, "Python": platform.python_version()}
    if find_spec("torch") is not None:
        import torch

        told |= {"PyTorch": torch.__version__, "threads": torch.get_num_threads()}
        if gpu and torch.cuda.is_available():
            told["GPU"] = torch.cuda.get_device_name()
    return told


def in_words(told: Figures) -> str:
    """A machine on one line."""
    return ", ".join(f"{name} {value}" for name, value in told.items())


def shown(value: Any) -> str:
    """A figure in four digits, the 1.0 of a share that is whole as it is."""
    return f"{value:.4g}" if isinstance(value, float) and value != 1 else str(value)


def table(measure: str, figures: Figures, bounds: Sequence[Bound]) -> str:
    """A line for each figure, with its bound if it has one."""
    lines = []
    for figure, value in figures.items():
        line = f"{measure:24} {figure:26}{shown(value):>12}"
        for bound in bounds:
            if (bound.measure, bound.figure) == (measure, figure):
                line += f"   {bound}: {'met' if bound.met_by(value) else 'missed'}"
        lines.append(line)
    return "\n".join(lines)


def run(
    script: str,
    description: str | None,
    measures: Measures,
    bounds: Sequence[Bound] = (),
    *,
    parts: Measures | None = None,
    left_out: Sequence[str] = (),
    gpu: bool = False,
) -> None:
    """A benchmark's command line: `[--only WORD ...] [--json]`, each measure in a process of its own.

    Parameters
    ----------
    script
        The benchmark's own file, which calls this.
    parts
        What a measure starts in processes of its own, by :func:`run_part`.
    left_out
        First words of measures that are made where they are asked for, and not otherwise.
    gpu
        Whether the measures are made on a GPU where there is one.
    """
    words = list(dict.fromkeys(name.split()[0] for name in measures))
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*words, *measures], metavar="WORD", help=", ".join(words))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--measure", choices=[*measures, *(parts or {})], help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.measure:
        print(json.dumps({**measures, **(parts or {})}[asked.measure]() | {"peak_gb": peak_gb()}))
        return
    wanted = set(asked.only or words) - (set() if asked.only else set(left_out))
    results: Figures = {}
    for name in measures:
        if {name, name.split()[0]} & wanted:
            results[name] = run_apart(script, name)
            if not asked.json:
                print(table(name, results[name], bounds), flush=True)
    of_these = [bound for bound in bounds if bound.measure in results]
    met = [bound.met_by(results[bound.measure].get(bound.figure)) for bound in of_these]
    if asked.json:
        verdicts = [
            {"measure": b.measure, "figure": b.figure, "bound": str(b), "met": kept}
            for b, kept in zip(of_these, met, strict=True)
        ]
        print(json.dumps(machine(gpu=gpu) | results | {"bounds": verdicts}))
        return
    if of_these:
        print(f"{sum(met)} of {len(met)} bounds are met")
    print(in_words(machine(gpu=gpu)))
