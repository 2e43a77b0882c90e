"""Augmenters and classifiers trained in parts, by two processes, and by one that is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from small_augmenters import NETWORKS, TRAINED, assert_equal, small, two_classes, weights

from hdgan.augmenters.classifier import CLASSIFIER, ClassifierConfig, fit_classifier
from tiling.errors import InputError
from training.checkpoint import load_weights

STEPS = 3
TOLERANCE = {"gmcl": 1e-3, "stylegan2": 1e-3}
"""Of a tensor's norm. A sum of two parts is the same in either order; GMCL sums over inner steps first, and its outer
steps are large: rounding was seen to grow to 4e-5 in as many. StyleGAN2 sums over parts of its own in either case."""

EVERY_TRAINED = pytest.mark.parametrize("name", TRAINED)

# What each process runs, as it would be from `torchrun -m hdgan augment fit`.
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
from small_augmenters import small, two_classes
small(sys.argv[3], **json.loads(sys.argv[4])).fit(two_classes(), run=sys.argv[2], device="cpu")
"""

OF_A_CLASSIFIER = """
import json, sys
sys.path.insert(0, sys.argv[1])
from small_augmenters import two_classes
from hdgan.augmenters.classifier import ClassifierConfig, fit_classifier
config = ClassifierConfig(network=sys.argv[3], **json.loads(sys.argv[4]))
for again in range(2):
    fit_classifier(two_classes(), run=sys.argv[2], config=config, device="cpu")
"""


def start(
    name: str, run: Path, settings: str, *, program: str = PROGRAM, **environment: object
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, Path(__file__).parent, run, name, settings],
        env=os.environ | {key: str(value) for key, value in environment.items()},
        stderr=subprocess.PIPE,
        text=True,
    )


def run_in_two(name: str, run: Path, settings: str, *, program: str = PROGRAM) -> list[str]:
    """What each of two processes of one training told."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    joined = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{"RANK": rank, "LOCAL_RANK": rank} for rank in range(2)]
    processes = [start(name, run, settings, program=program, **rank, **joined) for rank in ranks]
    told = [process.communicate(timeout=200)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], told
    return told


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_in_two_parts_is_normalised_by_each(name: str, tmp_path: Path) -> None:
    found = []
    for parts in (1, 2):
        small(name, steps=1, parts=parts).fit(two_classes(), run=tmp_path / str(parts))
        found.append(weights(tmp_path / str(parts)))
    whole, in_parts = found
    assert all(tensor.isfinite().all() for tensor in in_parts.values())
    assert any(not torch.equal(tensor, whole[key]) for key, tensor in in_parts.items())
    with pytest.raises(InputError, match="a batch of 8 cannot be cut into 3 parts for 1 process: "):
        small(name, parts=3).fit(two_classes(), run=tmp_path / "3")


@pytest.mark.slow
@EVERY_TRAINED
def test_two_processes_train_as_one_that_goes_through_both_their_parts(name: str, tmp_path: Path) -> None:
    run_in_two(name, tmp_path / "two", json.dumps({"steps": STEPS}))
    parts = {"parts": 2} if name in NETWORKS else {}
    small(name, **parts, steps=STEPS).fit(two_classes(), run=tmp_path / "one", device="cpu")
    two, one = weights(tmp_path / "two"), weights(tmp_path / "one")
    assert two.keys() == one.keys()
    for key, tensor in one.items():
        apart = (two[key] - tensor).double().norm()
        assert apart <= TOLERANCE.get(name, 0) * max(float(tensor.double().norm()), 0.01 * tensor.numel() ** 0.5), key


@pytest.mark.slow
def test_two_processes_train_a_classifier_as_one_does(tmp_path: Path) -> None:
    settings = {"steps": STEPS, "batch": 8, "width": 4, "dropout": 0.0}
    told = run_in_two("strided", tmp_path / "two", json.dumps(settings), program=OF_A_CLASSIFIER)
    assert ["is complete: nothing to do" in each for each in told] == [True, False]
    fit_classifier(two_classes(), run=tmp_path / "one", config=ClassifierConfig(**settings), device="cpu")
    two, one = (load_weights(tmp_path / run / CLASSIFIER, kind="classifier")[0] for run in ("two", "one"))
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@EVERY_TRAINED
def test_a_fit_that_was_killed_goes_on_to_the_same_weights(name: str, tmp_path: Path) -> None:
    run = tmp_path / "killed"
    for kill in range(3):
        process = start(name, run, '{"steps": 20}')
        while newest_checkpoint(run) <= 4 * kill:
            assert process.poll() is None, process.communicate()
            time.sleep(0.003)
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
    small(name, steps=20).fit(two_classes(), run=run, device="cpu")
    small(name, steps=20).fit(two_classes(), run=tmp_path / "undisturbed", device="cpu")
    assert_equal(weights(run), weights(tmp_path / "undisturbed"))


def newest_checkpoint(run: Path) -> int:
    """The step that it is of, or 0."""
    return max(
        (int(path.stem.removeprefix("step-")) for path in run.rglob("checkpoints/step-*.safetensors")), default=0
    )
