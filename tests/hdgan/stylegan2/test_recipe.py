"""The training recipe, fact by fact: each test fails if its line of the trainer is changed."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from hdgan.stylegan2 import AugmentPipe, train_config
from hdgan.stylegan2.phase_draws import PhaseDraws
from hdgan.stylegan2.trainer import StyleGAN2Trainer

CONFIG = replace(
    train_config("tiny", resolution=16, kimg=0.04, z_dim=16, w_dim=16, channel_max=16), gamma=3.0, r1_interval=8
)


class Noise:
    def __init__(self):
        self.tiles = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)

    def __len__(self):
        return len(self.tiles)

    def read(self, index):
        return self.tiles[index]


@pytest.fixture
def trainer():
    return StyleGAN2Trainer(CONFIG, Noise(), range(8))


def draws_of(phase, samples):
    return PhaseDraws(CONFIG.seed, phase, 0, samples, torch.device("cpu"))


def gradients_of_a_step(network, step):
    """What a phase subtracts from the weights when the optimiser is plain descent with rate 1."""
    before = [p.detach().clone() for p in network.parameters()]
    step(torch.optim.SGD(network.parameters(), lr=1.0))
    return [b - p.detach() for b, p in zip(before, network.parameters(), strict=True)]


def assert_same(ours, expected):
    flat, reference = (torch.cat([g.flatten() for g in some]) for some in (ours, expected))
    assert (flat - reference).norm() < 1e-4 * reference.norm()


def test_adam_makes_up_for_the_lazy_steps(trainer):
    for optimiser, interval in ((trainer.generator_optimiser, 4), (trainer.discriminator_optimiser, 8)):
        (group,) = optimiser.param_groups
        ratio = interval / (interval + 1)
        assert group["lr"] == pytest.approx(CONFIG.learning_rate * ratio)
        assert group["betas"] == pytest.approx((0.0, 0.99**ratio))
        assert group["eps"] == 1e-8


def test_r1_weighs_half_of_gamma_times_the_interval(trainer):
    batch = next(trainer.batches.stream(0, 1))
    images, _ = batch.part(range(4))
    twin = copy.deepcopy(trainer.discriminator)

    def step(optimiser):
        trainer.discriminator_optimiser = optimiser
        trainer._r1_step(0, batch)

    ours = gradients_of_a_step(trainer.discriminator, step)
    leaf = images.clone().requires_grad_()
    (slope,) = torch.autograd.grad(twin(leaf).sum(), leaf, create_graph=True)
    loss = slope.square().sum(dim=(1, 2, 3)).mean() * 3.0 / 2 * 8
    expected = torch.autograd.grad(loss, list(twin.parameters()), allow_unused=True)
    assert_same(
        ours, [torch.zeros_like(p) if g is None else g for g, p in zip(expected, twin.parameters(), strict=True)]
    )


def test_path_length_weighs_its_weight_times_the_interval_and_pulls_to_a_running_mean(trainer):
    twin = copy.deepcopy(trainer.generator)

    def step(optimiser):
        trainer.generator_optimiser = optimiser
        trainer._path_length_step(0)

    trainer.path_length_mean = torch.tensor(0.02)
    ours = gradients_of_a_step(trainer.generator, step)
    draws = draws_of("path length", range(CONFIG.batch // 2))
    trainer.generator = twin
    w = trainer._mixed_w(torch.zeros(CONFIG.batch // 2, 0), draws)
    images = twin.synthesis(w, noise="random", generator=draws.of_samples("noise"))
    noise = draws.normal("path noise", images.shape[1:]) / 16
    (slope,) = torch.autograd.grad((images * noise).sum(), w, create_graph=True)
    lengths = slope.square().sum(dim=2).mean(dim=1).sqrt()
    torch.testing.assert_close(trainer.path_length_mean, 0.99 * 0.02 + 0.01 * lengths.detach().mean())
    loss = (lengths - 0.02).square().mean() * 2.0 * 4
    expected = torch.autograd.grad(loss, list(twin.parameters()), allow_unused=True)
    assert_same(
        ours, [torch.zeros_like(p) if g is None else g for g, p in zip(expected, twin.parameters(), strict=True)]
    )


def test_the_mean_w_follows_the_means_of_all_images_of_a_phase(trainer):
    z = draws_of("generator", range(CONFIG.batch)).normal("z", (16,))
    with torch.no_grad():
        batch_mean = trainer.generator.mapping.map(z, None).mean(dim=0)
    trainer._generator_step(0)
    torch.testing.assert_close(trainer.generator.mapping.w_avg, 0.005 * batch_mean)


def test_nine_in_ten_batches_mix_two_latents_from_one_layer_on(trainer):
    mixed = 0
    for step in range(300):
        trainer._ws = []
        draws = PhaseDraws(0, "test", step, range(2), torch.device("cpu"))
        w = trainer._mixed_w(torch.zeros(2, 0), draws).detach()
        changes = [i for i in range(1, w.shape[1]) if not torch.equal(w[:, i], w[:, i - 1])]
        assert len(changes) <= 1
        mixed += len(changes)
    assert 0.84 < mixed / 300 < 0.95


@pytest.mark.parametrize("phase", ["generator", "discriminator"])
def test_the_discriminator_sees_augmented_images_only(trainer, phase):
    trainer.augment_p = 1.0
    real = next(trainer.batches.stream(0, 1))
    seen, given = [], []
    trainer.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    pipe = AugmentPipe(CONFIG.augment)

    def noting(images, *, p, generator):
        given.append((images.detach().clone(), p))
        return pipe(images, p=p, generator=generator)

    trainer.augment = noting
    if phase == "generator":
        trainer._generator_step(0)
        assert len(seen) == 1
    else:
        trainer._discriminator_step(0, real)
        assert len(seen) == 2
        torch.testing.assert_close(given[1][0], real.part(range(4))[0])  # fakes, then reals, each by itself
    for (images, p), looked_at in zip(given, seen, strict=True):
        assert p == 1.0
        assert not torch.allclose(images, looked_at)
