from dataclasses import replace

import numpy as np
import pytest
import torch

from hdgan.stylegan2 import GeneratorEvaluation, held_out_evaluation, load_generator, train, train_config
from hdgan.stylegan2.discriminator import Discriminator, minibatch_deviation
from hdgan.stylegan2.execution import Execution
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.growing import grow_discriminator, grow_generator
from hdgan.stylegan2.ops import resampling_filter, upsample2d
from hdgan.stylegan2.presets import PRESETS
from tiling.errors import InputError
from training.metrics import Level, read_metrics

CPU = Execution(device="cpu")
SHAPE = {"z_dim": 8, "w_dim": 8, "channel_base": 256, "channel_max": 16, "mapping_layers": 2}


class Noise:
    def __init__(self, size):
        self.tiles = np.random.default_rng(0).integers(0, 256, (12, size, size, 3), dtype=np.uint8)

    def __len__(self):
        return len(self.tiles)

    def read(self, index):
        return self.tiles[index]


def test_a_grown_generator_begins_with_the_images_of_the_smaller_one_doubled():
    smaller, larger = Generator(resolution=16, **SHAPE), Generator(resolution=32, **SHAPE)
    grow_generator(larger, smaller)
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    small = smaller.synthesis(smaller.mapping(z), noise="const")
    large = larger.synthesis(larger.mapping(z), noise="const")
    torch.testing.assert_close(large, upsample2d(small, resampling_filter()), atol=1e-6, rtol=1e-6)
    top = larger.synthesis.b32
    assert torch.count_nonzero(top.torgb.weight) == 0
    assert top.conv0.weight.std() > 0.9


@pytest.mark.parametrize("architecture", ["resnet", "orig"])
def test_networks_of_every_architecture_grow(architecture):
    smaller, larger = (Generator(resolution=r, architecture=architecture, **SHAPE) for r in (16, 32))
    grow_generator(larger, smaller)
    torch.testing.assert_close(larger.synthesis.b16.conv1.weight, smaller.synthesis.b16.conv1.weight)


@pytest.mark.parametrize("architecture", ["resnet", "skip", "orig"])
def test_a_discriminator_keeps_all_but_its_new_block(architecture):
    smaller, larger = (
        Discriminator(resolution=r, channel_base=256, channel_max=16, architecture=architecture) for r in (16, 32)
    )
    fresh = larger.b32.conv0.weight.clone()
    grow_discriminator(larger, smaller.state_dict(), 16)
    torch.testing.assert_close(larger.b16.conv0.weight, smaller.b16.conv0.weight)
    torch.testing.assert_close(larger.b4.out.weight, smaller.b4.out.weight)
    torch.testing.assert_close(larger.b32.conv0.weight, fresh)


def test_a_discriminator_grows_into_one_of_another_group():
    smaller, larger = (
        Discriminator(resolution=r, channel_base=256, channel_max=16, mbstd_group=group)
        for r, group in ((16, 2), (32, 1))
    )
    grow_discriminator(larger, smaller.state_dict(), 16)
    torch.testing.assert_close(larger.b4.conv.weight, smaller.b4.conv.weight)
    assert larger(torch.zeros(3, 3, 32, 32)).shape == (3, 1)


def test_the_deviation_of_an_image_alone_is_a_channel_of_its_own():
    deviation = minibatch_deviation(torch.randn(3, 5, 4, 4), 1)
    torch.testing.assert_close(deviation, torch.full((3, 1, 4, 4), 1e-4))
    widths = [
        Discriminator(resolution=8, channel_base=64, channel_max=8, mbstd_group=group).b4.conv.weight.shape[1]
        for group in (0, 1, 2)
    ]
    assert widths == [8, 9, 9]


def test_networks_that_do_not_fit_are_told():
    smaller = Generator(resolution=16, **SHAPE)
    with pytest.raises(InputError, match="are of 16 px, so they grow to 32 px, not to 64; train at 32 px first"):
        grow_generator(Generator(resolution=64, **SHAPE), smaller)
    with pytest.raises(InputError, match="take the same channel_base"):
        grow_generator(Generator(resolution=32, **{**SHAPE, "channel_max": 8}), smaller)
    with pytest.raises(InputError, match="another architecture or depth"):
        grow_generator(Generator(resolution=32, **{**SHAPE, "mapping_layers": 3}), smaller)


def test_a_training_grows_the_networks_of_another_run(tmp_path):
    config = train_config("tiny", resolution=16, kimg=0.008, z_dim=8, w_dim=8, channel_max=8)
    train(Noise(16), tmp_path / "small", config, execution=CPU)
    made = train(
        Noise(32), tmp_path / "large", replace(config, resolution=32, kimg=0.004, learning_rate=1e-9),
        start_from=tmp_path / "small", grow=True, execution=CPU,
    )  # fmt: skip
    small, large = (load_generator(tmp_path / name / "generator.safetensors") for name in ("small", "large"))
    assert made == tmp_path / "large" / "generator.safetensors"
    torch.testing.assert_close(large.synthesis.b16.conv1.weight, small.synthesis.b16.conv1.weight, atol=1e-4, rtol=0)


def test_an_evaluated_training_keeps_its_best_generator(tmp_path):
    scores = iter([3.0, 1.0, 2.0])
    seen = []

    def measure(generator):
        seen.append(generator.synthesis.b16.conv1.weight.clone())
        return {"fd": Level(next(scores)), "kid": Level(0.0)}

    config = train_config("tiny", resolution=16, kimg=0.024, z_dim=8, w_dim=8, channel_max=8, learning_rate=0.1)
    train(Noise(16), tmp_path / "run", config, evaluation=GeneratorEvaluation(measure, 0.008), execution=CPU)
    best = load_generator(tmp_path / "run" / "generator-best.safetensors")
    torch.testing.assert_close(best.synthesis.b16.conv1.weight, seen[1])
    assert not torch.equal(seen[1], seen[2])
    found = [(line["kimg"], line["fd"]) for line in read_metrics(tmp_path / "run") if "fd" in line]
    assert found == [(0.008, 3.0), (0.016, 1.0), (0.024, 2.0)]


def test_the_distance_to_held_out_tiles_is_measured_while_training(tmp_path):
    pytest.importorskip("scipy")
    from hdgan.embedding import random_space

    tiles = Noise(16)
    config = train_config("tiny", resolution=16, kimg=0.008, z_dim=8, w_dim=8, channel_max=8)
    distance = held_out_evaluation(tiles, range(8, 12), config, space=random_space(torch.device("cpu")), images=4)
    train(tiles, tmp_path / "run", config, indices=range(8), evaluation=distance, execution=CPU)
    (line,) = [line for line in read_metrics(tmp_path / "run") if "fd random-conv-v1" in line]
    assert line["step"] == 2
    assert line["fd random-conv-v1"] > 0


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_training(preset):
    resolution = {"paper256": 256, "paper512": 512, "hdgan4096": 4096}.get(preset, 1024 if "1024" in preset else 64)
    config = train_config(preset, resolution=resolution)
    assert config.kimg == (2600 if preset == "hdgan4096" else 25000)
    assert config.batch % max(config.mbstd_group, 1) == 0


def test_the_presets_of_papers_have_their_published_settings():
    names = (
        "batch",
        "mbstd_group",
        "channel_base",
        "learning_rate",
        "gamma",
        "ema_kimg",
        "ema_rampup",
        "mapping_layers",
    )
    told = {
        preset: tuple(getattr(train_config(preset, resolution=size), name) for name in names)
        for preset, size in (("stylegan2", 1024), ("paper256", 256), ("paper512", 512), ("paper1024", 1024))
    }
    assert told == {
        "stylegan2": (32, 4, 32768, 0.002, 10, 10, None, 8),
        "paper256": (64, 8, 16384, 0.0025, 1, 20, None, 8),
        "paper512": (64, 8, 32768, 0.0025, 0.5, 20, None, 8),
        "paper1024": (32, 4, 32768, 0.002, 2, 10, None, 8),
    }


def test_the_automatic_rule_follows_the_number_of_processes():
    at = {n: train_config("auto", resolution=256, processes=n) for n in (1, 2, 8)}
    assert {n: (c.batch, c.mbstd_group, c.gamma) for n, c in at.items()} == {
        1: (16, 4, 0.8192), 2: (32, 4, 0.4096), 8: (64, 4, 0.2048)
    }  # fmt: skip
    assert (train_config("auto", resolution=4096, processes=4).batch, train_config("auto", resolution=4096).batch) == (
        4,
        2,
    )
