"""Augmenters trained in parts, by two processes, and by one that is killed."""

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

from tiling.errors import InputError

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


def start(name: str, run: Path, settings: str, **environment: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, Path(__file__).parent, run, name, settings],
        env=os.environ | {key: str(value) for key, value in environment.items()},
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_in_two_parts_is_normalised_by_each(name: str, tmp_path: Path) -> None:
    found = []
    for parts in (1, 2):
        small(name, steps=1, parts=parts).fit(two_classes(), run=tmp_path / str(parts))
        found.append(weights(tmp_path / str(parts)))
    whole, in_parts = found
    assert all(tensor.isfinite().all() for tensor in in_parts.values())
    assert any(not torch.equal(tensor, whole[key]) for key, tensor in in_parts.items())
    with pytest.raises(InputError, match="a batch of 8 cannot be cut into 3 parts for 1 processes"):
        small(name, parts=3).fit(two_classes(), run=tmp_path / "3")


@pytest.mark.slow
@EVERY_TRAINED
def test_two_processes_train_as_one_that_goes_through_both_their_parts(name: str, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    joined = {"WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    settings = json.dumps({"steps": STEPS})
    processes = [start(name, tmp_path / "two", settings, RANK=rank, LOCAL_RANK=rank, **joined) for rank in range(2)]
    for process in processes:
        _, told = process.communicate(timeout=200)
        assert process.returncode == 0, told
    parts = {"parts": 2} if name in NETWORKS else {}
    small(name, **parts, steps=STEPS).fit(two_classes(), run=tmp_path / "one", device="cpu")
    two, one = weights(tmp_path / "two"), weights(tmp_path / "one")
    assert two.keys() == one.keys()
    for key, tensor in one.items():
        apart = (two[key] - tensor).double().norm()
        assert apart <= TOLERANCE.get(name, 0) * max(float(tensor.double().norm()), 0.01 * tensor.numel() ** 0.5), key


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
