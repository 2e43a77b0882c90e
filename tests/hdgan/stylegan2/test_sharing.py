"""A batch trains the same however it is cut: into parts, between processes, with blocks computed again."""

import os
import socket
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from hdgan.stylegan2 import train_config
from hdgan.stylegan2.activation import bias_act
from hdgan.stylegan2.discriminator import Discriminator
from hdgan.stylegan2.execution import Execution
from hdgan.stylegan2.trainer import StyleGAN2Trainer
from tiling.errors import InputError
from training.checkpoint import load_weights
from training.host import Host

# path length at steps 0 and 2, R1 at 0 and 3, mixed styles, half of the augmentation
CONFIG = replace(
    train_config("tiny", resolution=16, kimg=0.032, batch=8, z_dim=16, w_dim=16, channel_max=16),
    mbstd_group=2, gamma=3.0, r1_interval=3, path_length_interval=2, conv_clamp=256,
)  # fmt: skip
STEPS = 4
SEEDS = (3, 4, 0)
TOLERANCE = 1e-4  # of a tensor's norm
MOVED = 0.01  # how far Adam may move a weight in as many steps

# What each process of the group runs, as it would be from `torchrun -m hdgan train`.
PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_sharing import CONFIG, Noise
from hdgan.stylegan2 import train
from hdgan.stylegan2.execution import Execution
batch, group = int(sys.argv[5]), int(sys.argv[6])
config = replace(CONFIG, kimg=float(sys.argv[3]), seed=int(sys.argv[4]), batch=batch, mbstd_group=group)
train(Noise(), Path(sys.argv[1]), config, execution=Execution(device="cpu"))
"""


class Noise:
    def __init__(self):
        self.tiles = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)

    def __len__(self):
        return len(self.tiles)

    def read(self, index):
        return self.tiles[index]


def trained(seed, **execution):
    config = replace(CONFIG, seed=seed)
    trainer = StyleGAN2Trainer(config, Noise(), range(12), execution=Execution(device="cpu", **execution))
    trainer.augment_p = 0.5
    for step in range(STEPS):
        trainer.step(step)
    return {
        f"{name}.{key}": value.clone()
        for name in ("generator", "discriminator", "average")
        for key, value in getattr(trainer, name).state_dict().items()
    }


def apart(ours, others):
    """By how much two sets of weights differ, at most: the tensor, and the part of its norm."""
    assert ours.keys() == others.keys()
    norms = {name: max(float(other.norm()), MOVED * other.numel() ** 0.5) for name, other in others.items()}
    return max(((ours[name] - others[name]).norm().item() / norms[name], name) for name in ours)


def assert_same(ours, others, tolerance):
    difference, name = apart(ours, others)
    assert difference <= tolerance, name


def assert_trained_the_same(one, other):
    """For one seed of a few: a sum that is rounded in another order may put a value on the other side of an
    activation's kink, where gradients jump. What is computed wrongly is so for every seed."""
    found = []
    for seed in SEEDS:
        found.append(apart(one(seed), other(seed)))
        if found[-1][0] <= TOLERANCE:
            return
    pytest.fail(f"weights differ whatever the seed: {found}")


def test_blocks_computed_again_train_to_the_same_weights():
    assert_trained_the_same(
        lambda seed: trained(seed, recompute="always"), lambda seed: trained(seed, recompute="never")
    )


@pytest.mark.parametrize("micro_batch", [2, 4])
def test_micro_batches_train_as_one_batch(micro_batch):
    assert_trained_the_same(
        lambda seed: trained(seed, micro_batch=micro_batch), lambda seed: trained(seed, micro_batch=8)
    )


@pytest.mark.parametrize(
    ("count", "batch", "group"),
    [
        (2, 8, 2),
        pytest.param(2, 6, 1, marks=pytest.mark.slow),  # 3 samples of the path length phase: 1 and 2
        pytest.param(4, 4, 1, marks=pytest.mark.slow),  # 2 samples for four processes
    ],
)
def test_processes_train_as_one(tmp_path, count, batch, group):
    def by_processes(number):
        def of_seed(seed):
            out = tmp_path / f"{number} processes, seed {seed}"
            run_processes(number, out, kimg=STEPS * batch / 1000, seed=seed, batch=batch, group=group)
            assert len(list((out / "checkpoints").glob("*.safetensors"))) == 1
            networks = ("generator", "discriminator")
            files = {name: load_weights(out / f"{name}.safetensors", kind=name)[0] for name in networks}
            return {f"{name}.{key}": value for name, tensors in files.items() for key, value in tensors.items()}

        return of_seed

    assert_trained_the_same(by_processes(count), by_processes(1))


@pytest.mark.slow
def test_two_processes_go_on_where_they_were(tmp_path):
    at_once, twice = tmp_path / "at once", tmp_path / "twice"
    run_processes(2, at_once)
    for kimg in (CONFIG.kimg / 2, CONFIG.kimg):
        run_processes(2, twice, kimg)
    name = "generator.safetensors"
    whole, continued = (load_weights(run / name, kind="generator")[0] for run in (at_once, twice))
    assert all(torch.equal(whole[key], continued[key]) for key in whole)


def run_processes(count, out, kimg=CONFIG.kimg, seed=0, batch=CONFIG.batch, group=CONFIG.mbstd_group):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    joined = {"WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    environments = [{**joined, "RANK": i, "LOCAL_RANK": i} if count > 1 else {} for i in range(count)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, out, Path(__file__).parent, *map(str, (kimg, seed, batch, group))],
            env=os.environ | {name: str(value) for name, value in environment.items()},
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in environments
    ]
    for process in processes:
        _, told = process.communicate(timeout=200)
        assert process.returncode == 0, told


class Process(Host):
    def __init__(self, index=0, count=1):
        self.index, self.count = index, count
        self.device = torch.device("cuda")  # of which nothing but its name is asked


@pytest.mark.parametrize("micro_batch", [None, 4, 8])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_parts_of_all_processes_hold_every_sample_once_in_the_groups_of_the_whole_batch(micro_batch, count):
    found = []
    for index in range(count):
        cut = Execution(micro_batch=micro_batch).cut(16, 4, Process(index, count))
        assert sorted(chain(*cut.parts)) == sorted(chain(*cut.r1_parts))
        for part in cut.parts:
            assert len(part) == min(micro_batch or 16, 16 // count)
            found += [tuple(part[j :: len(part) // 4]) for j in range(len(part) // 4)]
    assert sorted(found) == [(j, j + 4, j + 8, j + 12) for j in range(4)]


def test_path_length_takes_the_first_half_of_the_batch():
    halves = [Execution(micro_batch=4).cut(16, 4, Process(index, 2)).path_parts for index in range(2)]
    assert [[list(part) for part in half] for half in halves] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    uneven = [Execution().cut(6, 1, Process(index, 2)) for index in range(2)]
    assert [(list(chain(*cut.path_parts)), cut.path_share) for cut in uneven] == [([0], 1 / 3), ([1, 2], 2 / 3)]
    # more processes than samples: those without any keep pace with one that counts nothing
    few = [Execution().cut(4, 1, Process(index, 4)) for index in range(4)]
    assert [(list(chain(*cut.path_parts)), cut.path_share) for cut in few] == [
        ([1], 0),
        ([0], 0.5),
        ([1], 0),
        ([1], 0.5),
    ]
    assert {cut.path_samples for cut in few} == {2}


def test_parts_that_cut_a_statistic_group_are_refused():
    with pytest.raises(InputError, match="groups of 4 images, which parts of 3"):
        Execution(micro_batch=3).cut(12, 4, Process())
    with pytest.raises(InputError, match="groups of 4 images, which parts of 2"):
        Execution(micro_batch=2).cut(8, 4, Process())
    with pytest.raises(InputError, match="cannot be cut into parts of 5"):
        Execution(micro_batch=5).cut(12, 1, Process())
    assert Execution().cut(8, 4, Process(0, 4)).group == 2  # a process has no more


@pytest.mark.parametrize(("setting", "value"), [("precision", "half"), ("recompute", "sometimes"), ("micro_batch", 0)])
def test_what_no_training_can_be_computed_with_is_refused(setting, value):
    with pytest.raises(InputError, match=f"{setting} must be"):
        Execution(**{setting: value})


def test_float16_is_refused_for_networks_that_clamp_nothing():
    with pytest.raises(InputError, match="needs networks that clamp"):
        Execution(precision="fp16").low_precision(torch.device("cuda"), None)
    assert Execution(precision="fp16").low_precision(torch.device("cuda"), 256) == torch.float16


def test_float16_is_refused_on_a_cpu():
    with pytest.raises(InputError, match="fp16 needs a GPU"):
        StyleGAN2Trainer(CONFIG, Noise(), range(12), execution=Execution(device="cpu", precision="fp16"))


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
@pytest.mark.parametrize("image_needs", [False, True])
def test_discriminators_whose_images_need_no_gradient_are_computed_again(architecture, image_needs):
    torch.manual_seed(0)
    network = Discriminator(resolution=16, channel_base=128, channel_max=8, architecture=architecture)
    image = torch.randn(4, 3, 16, 16).requires_grad_(image_needs)
    gradients = []
    for network.recompute in (False, True):
        network.zero_grad()
        network(image).sum().backward()
        gradients.append({name: parameter.grad for name, parameter in network.named_parameters()})
    assert_same(*gradients, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [8, 256])  # the larger is worked on in blocks
@pytest.mark.parametrize("clamp", [None, 1.5])
def test_gradients_of_the_activation_are_those_of_its_parts(dtype, size, clamp):
    draws = torch.Generator().manual_seed(0)
    x = torch.randn((2, 16, size, size), generator=draws).to(dtype)
    bias, scale = 4 * torch.randn(16, generator=draws), torch.rand((2, 16), generator=draws) + 0.5
    noise, weight = (torch.randn(shape, generator=draws) for shape in ((2, 1, size, size), x.shape))
    inputs = [tensor.requires_grad_() for tensor in (x, bias, scale, noise)]
    y = bias_act(x, bias, activation="lrelu", scale=scale, noise=noise, clamp=clamp)
    ours = torch.autograd.grad((y.float() * weight).sum(), inputs)
    # by hand in float32, on the side of each kink on which y, rounded, is
    slope = torch.where(y > 0, 1, 0.2) * 2**0.5 * (torch.ones_like(y) if clamp is None else y.abs() < clamp)
    d = (weight.to(dtype) * slope).float()
    of_scale = (d * x).sum(dim=(2, 3))
    expected = d * scale[:, :, None, None], d.sum(dim=(0, 2, 3)), of_scale, d.sum(dim=1, keepdim=True)
    tolerance = 1e-4 if dtype == torch.float32 else 0.05  # sums of rounded values of either sign
    for name, gradient, reference in zip(("x", "bias", "scale", "noise"), ours, expected, strict=True):
        assert (gradient.float() - reference.float()).norm() <= tolerance * reference.float().norm(), name


def test_gradients_in_bfloat16_are_near_those_in_float32():
    def gradients(precision):
        trainer = StyleGAN2Trainer(CONFIG, Noise(), range(12), execution=Execution(device="cpu", precision=precision))
        found = {}
        trainer.generator_optimiser.step = lambda: found.update(
            {name: p.grad.clone() for name, p in trainer.generator.named_parameters() if p.grad is not None}
        )
        trainer._generator_step(0)
        return torch.cat([found[name].flatten() for name in sorted(found)])

    low, full = gradients("bf16"), gradients("fp32")
    assert 0 < float((low - full).norm() / full.norm()) < 0.1
