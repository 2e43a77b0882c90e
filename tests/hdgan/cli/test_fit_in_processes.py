"""`hdgan fit` and `hdgan protocol` as they are started on machines with several GPUs: by torchrun."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from command_line import ended, together

pytestmark = pytest.mark.slow

MADE = ("ensemble.safetensors", "metrics.jsonl", "report.json")


@pytest.fixture
def study(demo_study: Path, tmp_path: Path) -> Path:
    """A complete study of one's own, but for the fit: of three members, on eight images."""
    study = Path(shutil.copytree(demo_study, tmp_path / "study"))
    shutil.rmtree(study / "classifiers")
    return study


def fit(study: Path, *options: object, processes: int = 1) -> subprocess.Popen[str]:
    return together(processes, "fit", "--study", study, "--device", "cpu", *options)


def made(study: Path) -> dict[str, bytes]:
    return {name: (study / "classifiers" / name).read_bytes() for name in MADE}


def workers(torchrun: subprocess.Popen[str]) -> list[int]:
    """The processes that torchrun started."""
    children = Path(f"/proc/{torchrun.pid}/task/{torchrun.pid}/children").read_text().split()
    return [int(child) for child in children if b"hdgan" in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_processes_of_torchrun_fit_the_ensemble_that_one_process_fits(study: Path) -> None:
    ended(fit(study))
    by_one = made(study)
    assert "Next: hdgan synthesize" in ended(fit(study, "--redo", processes=2))
    assert made(study) == by_one
    said = ended(fit(study, processes=2))
    assert said.count("nothing to do") == said.count("3 members") == 1


def test_a_fit_of_two_processes_that_were_killed_is_ended_by_one(study: Path) -> None:
    ended(fit(study))
    undisturbed = made(study)
    shutil.rmtree(study / "classifiers")
    process = fit(study, processes=2)
    while not (study / "classifiers" / "checkpoints" / "step-00000002.safetensors").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)
    assert len(workers(process)) == 2
    for worker in workers(process):
        os.kill(worker, signal.SIGKILL)
    process.communicate(timeout=100)
    assert not (study / "classifiers" / "report.json").exists()
    assert "going on from step" in ended(fit(study))
    assert made(study) == undisturbed


def test_more_processes_than_members_are_told_so_once(study: Path) -> None:
    said = ended(fit(study, "--members", 1, processes=2), 1)
    assert said.count("2 processes cannot share 1 member: start no more of them than members") == 1
    assert not (study / "classifiers").exists()


def test_the_protocol_of_several_processes_is_that_of_one(study: Path) -> None:
    options = (
        "protocol",
        "--study",
        study,
        "--split",
        "4/2/2",
        "--training",
        "none",
        "--splits",
        2,
        "--json",
        "--quiet",
    )
    by_one = ended(together(1, *options))
    by_two = ended(together(2, *options, "--redo"))
    assert by_two.endswith(by_one)
    assert by_two.count('"splits"') == by_one.count('"splits"')  # one process tells
