"""`hdgan train` as it is started on large machines: by torchrun, with workers, and ended by a batch system."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from command_line import ended, together

from hdgan.pictures import write_png
from hdgan.stylegan2 import load_generator
from training.metrics import read_metrics

pytestmark = pytest.mark.slow


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study beside images, half of which are held out."""
    rng = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(16)]
    for name in names:
        write_png(tmp_path / "images" / name, rng.integers(0, 256, (16, 16, 3), np.uint8))
    rows = [f"{name},{index % 2},{'HE' if index < 8 else 'PAS'}" for index, name in enumerate(names)]
    (tmp_path / "labels.csv").write_text("\n".join(["image,fold,stain", *rows]))
    return tmp_path / "study"


def train(study: Path, *options: object, processes: int = 1) -> subprocess.Popen[str]:
    images = ("--images", study.parent / "images", "--labels", study.parent / "labels.csv")
    return together(processes, "train", "--study", study, *images, "--preset", "tiny", "--device", "cpu", *options)


def wait_for_a_line(study: Path, process: subprocess.Popen[str]) -> None:
    while not read_metrics(study / "generator"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_processes_of_torchrun_train_one_generator_that_is_measured_and_shown(study: Path) -> None:
    said = ended(
        train(study, "--kimg", 0.016, "--batch", 4, "--hold-out", 0, "--condition", "stain",
              "--evaluate-kimg", 0.008, "--evaluate-images", 40, "--tensorboard", processes=2)
    )  # fmt: skip
    assert said.count("training on 8 tiles of the classes HE (4), PAS (4)") == 1
    assert said.count("Next: hdgan sample") == 1
    measured = [line for line in read_metrics(study / "generator") if "fd random-conv-v1" in line]
    assert [line["kimg"] for line in measured] == [0.008, 0.016]
    sheets = sorted(path.name for path in (study / "generator" / "sheets").iterdir())
    assert sheets == ["kimg-000000.008.png", "kimg-000000.016.png"]
    assert load_generator(study / "generator" / "generator-best.safetensors").classes == {"HE": 4, "PAS": 4}
    assert json.loads((study / "options.json").read_text())["train"]["condition"] == "stain"
    assert "nothing to do" in ended(train(study, "--resume", processes=2))


def test_sigterm_to_all_processes_stops_after_a_step_though_workers_read_ahead(study: Path) -> None:
    process = train(study, "--kimg", 1000, "--workers", 2)
    wait_for_a_line(study, process)
    os.killpg(process.pid, signal.SIGTERM)
    assert "the same command continues from there" in ended(process, 130)
    last = read_metrics(study / "generator")[-1]["step"]
    (checkpoint,) = (study / "generator" / "checkpoints").iterdir()
    assert int(checkpoint.stem.removeprefix("step-")) >= last
    kimg = int(checkpoint.stem.removeprefix("step-")) * 4 / 1000 + 0.008
    ended(train(study, "--kimg", kimg, "--workers", 2))
    assert read_metrics(study / "generator")[-1]["kimg"] == pytest.approx(kimg)


def test_ctrl_c_stops_processes_of_torchrun_after_the_same_step(study: Path) -> None:
    process = train(study, "--kimg", 1000, "--batch", 4, processes=2)
    wait_for_a_line(study, process)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=100)
    (checkpoint,) = (study / "generator" / "checkpoints").iterdir()
    step = int(checkpoint.stem.removeprefix("step-"))
    assert f"stopped after step {step}" in "".join(said)
    ended(train(study, "--kimg", (step + 2) * 4 / 1000, "--batch", 4, processes=2))
    assert read_metrics(study / "generator")[-1]["step"] == step + 2
