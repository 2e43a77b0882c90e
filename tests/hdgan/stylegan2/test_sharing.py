"""A batch trains the same however it is cut: into parts, between processes, with blocks computed again."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from hdgan.stylegan2 import train_config
from hdgan.stylegan2.execution import Execution
from hdgan.stylegan2.trainer import StyleGAN2Trainer
from tiling.errors import InputError
from training.checkpoint import load_weights

# path length at steps 0 and 2, R1 at 0 and 3, mixed styles, half of the augmentation
CONFIG = replace(
    train_config("tiny", resolution=16, kimg=0.032, batch=8, z_dim=16, w_dim=16, channel_max=16),
    mbstd_group=2, gamma=3.0, r1_interval=3, path_length_interval=2, conv_clamp=256,
)  # fmt: skip
STEPS = 4

# What each process of the group runs, as it would be from `torchrun -m hdgan train`.
PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_sharing import CONFIG, Noise
from hdgan.stylegan2 import train
from hdgan.stylegan2.execution import Execution
train(Noise(), Path(sys.argv[1]), CONFIG, execution=Execution(device="cpu", micro_batch=4))
"""


class Noise:
    def __init__(self):
        self.tiles = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)

    def __len__(self):
        return len(self.tiles)

    def read(self, index):
        return self.tiles[index]


def trained(**execution):
    trainer = StyleGAN2Trainer(CONFIG, Noise(), range(12), execution=Execution(device="cpu", **execution))
    trainer.augment_p = 0.5
    for step in range(STEPS):
        trainer.step(step)
    return {
        f"{name}.{key}": value.clone()
        for name in ("generator", "discriminator", "average")
        for key, value in getattr(trainer, name).state_dict().items()
    }


def assert_same(ours, others, tolerance):
    assert ours.keys() == others.keys()
    for name, tensor in ours.items():
        assert (tensor - others[name]).norm() <= tolerance * max(float(others[name].norm()), 1e-3), name


def test_blocks_computed_again_train_to_the_same_weights():
    assert_same(trained(recompute="always"), trained(recompute="never"), 1e-4)


def test_micro_batches_of_statistic_groups_train_as_one_batch(monkeypatch):
    """With groups of neighbours; the published ones are of images half a batch apart, and no part has those."""

    def of_neighbours(x, group):
        pairs = x.reshape(-1, group, *x.shape[1:])
        deviation = (pairs.var(dim=1, unbiased=False) + 1e-8).sqrt().mean(dim=(1, 2, 3))
        return deviation.repeat_interleave(group).reshape(-1, 1, 1, 1).expand(-1, 1, *x.shape[2:])

    monkeypatch.setattr("hdgan.stylegan2.discriminator.minibatch_deviation", of_neighbours)
    # a path's mean is compared with that of its own part: without path length alone are the sums the same
    monkeypatch.setattr(f"{__name__}.CONFIG", replace(CONFIG, path_length_weight=0.0))
    assert_same(trained(micro_batch=2), trained(), 1e-4)


def test_two_processes_train_as_one_with_the_same_parts(tmp_path):
    """Adam divides by the root of the squared gradients: a rounded sum of a gradient near 0 may move a weight by more
    than itself, hence the tolerance of 1e-3 of a tensor's norm after four steps."""
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    run_processes(1, alone)
    run_processes(2, shared)
    for name in ("generator", "discriminator"):
        kinds = (
            {"path": alone / f"{name}.safetensors", "kind": name},
            {"path": shared / f"{name}.safetensors", "kind": name},
        )
        ours, others = (load_weights(**kind)[0] for kind in kinds)
        assert_same(ours, others, 1e-3)
    assert len(list((shared / "checkpoints").glob("*.safetensors"))) == 1


def run_processes(count, out):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    group = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    environments = [{**group, "RANK": i, "LOCAL_RANK": i} if count > 1 else {} for i in range(count)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(out), str(Path(__file__).parent)],
            env=os.environ | {name: str(value) for name, value in environment.items()},
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in environments
    ]
    for process in processes:
        _, told = process.communicate(timeout=200)
        assert process.returncode == 0, told


def test_parts_that_cut_a_statistic_group_are_refused():
    with pytest.raises(InputError, match="micro_batch 3"):
        Execution(micro_batch=3).parts(range(12), 4)
    with pytest.raises(InputError, match="cannot be cut into parts of 5"):
        Execution(micro_batch=5).parts(range(12), 1)
    assert Execution(micro_batch=4).parts(range(8, 16), 4) == [range(8, 12), range(12, 16)]
    assert Execution().parts(range(8), 4) == [range(8)]


@pytest.mark.parametrize(("setting", "value"), [("precision", "half"), ("recompute", "sometimes"), ("micro_batch", 0)])
def test_what_no_training_can_be_computed_with_is_refused(setting, value):
    with pytest.raises(InputError, match=f"{setting} must be"):
        Execution(**{setting: value})


def test_float16_is_refused_on_a_cpu():
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        StyleGAN2Trainer(CONFIG, Noise(), range(12), execution=Execution(device="cpu", precision="fp16"))


def test_bfloat16_trains_to_finite_weights_near_those_of_float32():
    low, full = trained(precision="bf16"), trained(precision="fp32")
    assert all(tensor.isfinite().all() for tensor in low.values())
    assert any(not torch.equal(low[name], full[name]) for name in low)
    drift = torch.stack([(low[n] - full[n]).norm() / full[n].norm().clamp(min=1e-3) for n in low if "weight" in n])
    assert float(drift.median()) < 0.05
