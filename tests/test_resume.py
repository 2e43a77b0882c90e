"""Killed at any moment, the same command goes on, and ends with what an undisturbed run ends with."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from command_line import hdgan, in_group

from training.metrics import METRICS, PACE, read_metrics

pytestmark = pytest.mark.slow

KILLS = 3
PROTOCOL = ["protocol", "--split", "4/2/2", "--training", "2", "--splits", "2", "--members", "2"]
EXPORT = ["export", "--format", "zarr"]
STAGES = {
    "tile": (["tile", "{study}/slides/phantom-0.tiff"], ["tiles"]),
    "train": (["train", "--checkpoint-seconds", "0"], ["generator"]),
    "sample": (["sample"], ["latents"]),
    "import": (["annotate", "import", "{study}/expert/masks"], ["annotations/masks", "annotations/samples.json"]),
    "features": (["features"], ["features"]),
    "fit": (["fit"], ["classifiers"]),
    "synthesize": (["synthesize"], ["pairs"]),
    "expert": (["demo", "expert", "--plan", "quick"], ["expert"]),
    "compare": (["demo", "compare", "--plan", "quick"], ["comparison"]),
    "protocol": (PROTOCOL, ["protocol"]),
    "export": (EXPORT, ["export"]),
}


@pytest.fixture(scope="module")
def whole_study(demo_study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's study with a protocol and an export, which the demo has not. To read only."""
    study = Path(shutil.copytree(demo_study, tmp_path_factory.mktemp("whole") / "study"))
    for stage in (PROTOCOL, EXPORT):
        hdgan(*stage, "--study", study)
    return study


@pytest.fixture
def study(demo_study: Path, tmp_path: Path) -> Path:
    """A complete study of one's own."""
    return Path(shutil.copytree(demo_study, tmp_path / "study"))


def results(study: Path, outputs: Sequence[str]) -> dict[str, object]:
    """What stages made, by file: bytes, but for what may differ (times in records, the order of lines in ledgers)."""
    places = [study / output for output in outputs]
    found = [path for place in places for path in ([place] if place.is_file() else place.rglob("*"))]
    return {path.relative_to(study).as_posix(): _result(path) for path in found if path.is_file() and _counts(path)}


def _counts(path: Path) -> bool:
    """Not checkpoints, of which an undisturbed run leaves others, not what tells how long stages took, and no locks.

    A process that is killed when its output is complete leaves its lock behind, and nothing takes it again.
    """
    return path.parent.name != "checkpoints" and path.name not in ("report.html", "costs.json", ".lock")


def _result(path: Path) -> object:
    if path.name == "stage.json":
        record = json.loads(path.read_text())
        return {key: record[key] for key in ("stage", "status", "config", "inputs", "fingerprint", "summary")}
    if path.name == "ledger.jsonl":
        return sorted(path.read_text().splitlines())
    if path.name == METRICS:
        return [{name: line[name] for name in line.keys() - set(PACE)} for line in read_metrics(path.parent)]
    return path.read_bytes()


def kill_after(command: subprocess.Popen[bytes], begun: Callable[[], bool], seconds: float) -> bool:
    """Kill a command and all its children so long after it has begun to write; False if it ended before."""
    while not begun() and command.poll() is None:
        time.sleep(0.002)
    try:
        command.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(command.pid, signal.SIGKILL)
    return command.wait() == -signal.SIGKILL


def _below(place: Path) -> Iterator[Path]:
    """A file, or all files and folders below a folder; those that go while it is walked are passed over."""
    if place.is_file():
        yield place
    for folder, folders, names in os.walk(place):  # unlike rglob, it bears with folders that vanish
        yield from (Path(folder, name) for name in folders + names)


def _times(places: Sequence[Path]) -> dict[Path, int]:
    """When files were written; one may be gone by the time that it is looked at."""
    times = {}
    for path in [path for place in places for path in _below(place)]:
        try:
            times[path] = path.stat().st_mtime_ns
        except FileNotFoundError:
            continue
    return times


def _seconds(places: Sequence[Path]) -> float:
    """How long the undisturbed run worked."""
    records = [path for place in places for path in place.rglob("stage.json")]
    return sum(json.loads(path.read_text())["seconds"] for path in records) or 0.02


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_was_killed_goes_on_to_the_same_result(whole_study: Path, tmp_path: Path, stage: str) -> None:
    study = Path(shutil.copytree(whole_study, tmp_path / "study"))
    template, outputs = STAGES[stage]
    command = [part.format(study=study) for part in template] + ["--study", str(study)]
    places = [study / output for output in outputs]
    worked = _seconds(places)
    for place in places:
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    moments = random.Random(stage)
    kills = 0
    for _ in range(KILLS):
        before = _times(places)
        kills += kill_after(in_group(*command), lambda: _times(places) != before, moments.uniform(0, worked / 2))  # noqa: B023
    assert kills, "the command was quicker than every kill"
    hdgan(*command)
    assert results(study, outputs) == results(whole_study, outputs)


def test_a_demo_that_was_killed_goes_on_to_the_same_result(demo_study: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    command = ["demo", "--plan", "quick", "--study", study]
    moments = random.Random("demo")
    for _ in range(5):
        assert kill_after(in_group(*command), study.exists, moments.uniform(0.5, 10))
    hdgan(*command)
    folders = [path.name for path in demo_study.iterdir()]
    assert results(study, folders) == results(demo_study, folders)
    assert (study / "report.html").exists()


@pytest.mark.parametrize("stage", ["sample", "features", "fit"])
def test_a_redo_that_was_killed_goes_on_to_the_same_result(demo_study: Path, study: Path, stage: str) -> None:
    template, outputs = STAGES[stage]
    command = [*template, "--study", str(study)]
    place = study / outputs[0]
    worked = _seconds([place])
    moments = random.Random(f"redo {stage}")
    kills = 0
    for _ in range(KILLS):
        before = _times([study])
        kills += kill_after(
            in_group(*command, "--redo"),
            lambda: _times([study]) != before,  # noqa: B023
            moments.choice((0, moments.uniform(0, worked / 2))),
        )
    assert kills, "the command was quicker than every kill"
    hdgan(*command)
    assert results(study, outputs) == results(demo_study, outputs)
    assert not list(study.glob(".partial-*"))


def test_a_demo_whose_first_process_alone_was_killed_goes_on_to_the_same_result(
    demo_study: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    command = ["demo", "--plan", "quick", "--study", study]
    moments = random.Random("parent")
    for _ in range(3):
        demo = in_group(*command)
        while not study.exists() and demo.poll() is None:
            time.sleep(0.002)
        time.sleep(moments.uniform(2, 12))
        demo.kill()
        assert demo.wait() == -signal.SIGKILL
    hdgan(*command)
    folders = [path.name for path in demo_study.iterdir()]
    assert results(study, folders) == results(demo_study, folders)


def test_a_second_call_of_a_stage_that_runs_is_refused(study: Path) -> None:
    shutil.rmtree(study / "generator")
    training = in_group("train", "--study", study)
    _wait_for_steps(study, training)
    training.send_signal(signal.SIGSTOP)  # it holds the folder as long as it is there
    for options in ((), ("--redo",)):
        said = hdgan("train", "--study", study, *options, code=2).stderr
        assert f"another process ({training.pid}) works in" in said
    os.killpg(training.pid, signal.SIGKILL)
    training.wait()


def _wait_for_steps(study: Path, command: subprocess.Popen[bytes]) -> None:
    metrics = study / "generator" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and command.poll() is None:
        time.sleep(0.01)


def test_ctrl_c_in_training_leaves_a_checkpoint_to_go_on_from(demo_study: Path, study: Path) -> None:
    shutil.rmtree(study / "generator")
    training = in_group("train", "--study", study)
    _wait_for_steps(study, training)
    training.send_signal(signal.SIGINT)
    assert training.wait() == 130
    assert b"\nhdgan: stopped after step " in training.stderr.read()
    assert list((study / "generator" / "checkpoints").glob("step-*.safetensors"))
    assert "half made" in hdgan("sample", "--study", study, code=2).stderr
    hdgan("train", "--study", study)
    assert results(study, ["generator"]) == results(demo_study, ["generator"])


def test_ctrl_c_in_the_demo_lets_the_training_write_its_checkpoint(study: Path) -> None:
    shutil.rmtree(study / "generator")
    demo = in_group("demo", "--plan", "quick", "--study", study)
    _wait_for_steps(study, demo)
    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait() == 130
    assert list((study / "generator" / "checkpoints").glob("step-*.safetensors"))
