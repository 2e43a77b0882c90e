"""A benchmark that is killed goes on to the same table."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
from small_augmenters import SMALL, two_classes
from hdgan.augmenters import benchmark_round, run_benchmark
from hdgan.augmenters.benchmark_plan import Plan
from hdgan.augmenters.classifier import ClassifierConfig
benchmark_round.preset = lambda name, of: SMALL[of]
classifier = ClassifierConfig(steps=6, batch=8, width=4)
plan = Plan(seeds=2, ratios=(1.0,), classifier=classifier, least=0.1, passes=2, most=3.0)
images = {"train": two_classes(), "test": two_classes(12)}
run_benchmark(images, sys.argv[2], methods=["dcgan"], plan=plan, device="cpu")
"""


def start(out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, Path(__file__).parent, out]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def killed_when(out: Path, reached: Callable[[], bool]) -> None:
    process = start(out)
    while not reached():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def ended(out: Path) -> dict[str, Any]:
    """The report of a benchmark that is run to its end."""
    process = start(out)
    _, told = process.communicate(timeout=200)
    assert process.returncode == 0, told
    report: dict[str, Any] = json.loads((out / "report.json").read_text())
    return report


def without_costs(value: Any) -> Any:
    """What does not tell how long fits took and what memory they had."""
    if isinstance(value, dict):
        return {key: without_costs(each) for key, each in value.items() if key not in ("seconds", "peak_bytes")}
    return [without_costs(each) for each in value] if isinstance(value, list) else value


def test_a_benchmark_that_was_killed_goes_on_to_the_same_table(tmp_path: Path) -> None:
    out = tmp_path / "killed"

    def measured() -> int:
        return len(list(out.rglob("measures/*.json")))

    killed_when(out, lambda: any(out.rglob("augmenters/dcgan/checkpoints/step-*")))
    killed_when(out, lambda: any(out.rglob("classifiers/student/checkpoints/step-*")))
    killed_when(out, lambda: measured() >= 13)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("measures/*.json")}
    assert not (out / "report.json").exists()
    report = ended(out)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    undisturbed = ended(tmp_path / "undisturbed")
    assert without_costs(report) == without_costs(undisturbed)

    def table(of: Path) -> list[list[str]]:
        lines = (of / "tables.md").read_text().splitlines()
        return [line.split("|")[:-3] for line in lines]  # the last two columns are the costs

    assert table(out) == table(tmp_path / "undisturbed")
