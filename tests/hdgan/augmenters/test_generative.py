"""DCGAN, CVAE and CVAEDCGAN: their networks at all sizes, their losses, the specification's settings."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_augmenters import small, two_classes
from torch.distributions import Normal, kl_divergence

from hdgan.augmenters import create
from hdgan.augmenters.base import Shape
from hdgan.augmenters.conditional_networks import Generator, Sampler, prior_loss
from hdgan.augmenters.cvae import CVAETrainer, likelihood_loss
from hdgan.augmenters.cvaedcgan import CVAEDCGANTrainer
from hdgan.augmenters.layers import Down, Up, edges
from training.host import Host

LOSSES = {
    "dcgan": {"loss_real", "loss_fake", "loss_generator"},
    "cvae": {"loss", "loss_prior", "loss_likelihood"},
    "cvaedcgan": {
        "loss_prior", "loss_likelihood", "loss_real", "loss_reconstructed", "loss_sampled", "loss_deceived",
    },
}  # fmt: skip


def trainer(name: str, images, **settings):
    return small(name, **settings).trainer(images, unlabelled=None, seed=0, host=Host("cpu"))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("size", "stages"), [(28, 3), (32, 3), (64, 4), (128, 5), (224, 6)])
def test_stages_go_from_4_px_to_every_size_and_back(size: int, stages: int, channels: int) -> None:
    assert len(edges(size)) == stages + 1
    images = Up(5, size, channels, 1)(torch.randn(2, 5))
    assert images.shape == (2, channels, size, size)
    down = Down(size, channels, 1)
    assert down(images).shape == (2, down.outputs, 4, 4)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize(("size", "channels"), [(64, 3), (128, 1), (224, 3)])
def test_a_step_is_done_at_large_sizes_and_each_network_moves(name: str, size: int, channels: int) -> None:
    trained = trainer(name, two_classes(4, size=size, channels=channels), batch=4, width=1)
    before = {of: [p.clone() for p in network.parameters()] for of, network in trained.networks.items()}
    losses = trained.step(0)
    assert all(math.isfinite(float(loss)) for loss in losses.values())
    for of, network in trained.networks.items():
        assert any(not torch.equal(*pair) for pair in zip(network.parameters(), before[of], strict=True)), of


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_logged_by_its_name(name: str, tmp_path: Path) -> None:
    small(name, steps=1).fit(two_classes(), run=tmp_path)
    (logged,) = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {key for key in logged if key.startswith("loss")} == LOSSES[name]


def test_settings_are_the_specifications() -> None:
    for name in ("dcgan", "cvaedcgan"):
        config = create(name).config
        assert (config.latent, config.width) == (100, 64)
        assert (config.learning_rate, config.beta1, config.beta2) == (2e-4, 0.5, 0.999)
    config = create("cvae").config
    assert (config.latent, config.width) == (100, 64)
    assert (config.learning_rate, config.beta1, config.beta2) == (1e-3, 0.9, 0.999)
    config = create("gmcl").config
    assert (config.steps, config.batch, config.inner_steps, config.inner_batch, config.latent) == (
        2000,
        128,
        32,
        64,
        128,
    )
    assert (config.rate, config.momentum, config.student_width) == (0.02, 0.5, 64)
    assert (config.outer_rate, config.outer_beta1, config.outer_beta2, config.outer_epsilon) == (0.02, 0.9, 0.9, 1e-5)
    assert (config.z, config.mode) == ("learned", "sqrt")
    assert (config.adaptive, config.reset_student, config.carry_momentum) == (True, False, False)


def test_the_prior_loss_is_the_divergence_from_the_prior() -> None:
    mean, log_variance = torch.randn(2, 5, 3, dtype=torch.float64)
    wanted = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum(dim=1).mean()
    torch.testing.assert_close(prior_loss(mean, log_variance), wanted)


def test_the_likelihood_is_that_of_the_gaussian_whose_variance_fits_best() -> None:
    off = torch.randn(1000, dtype=torch.float64)
    variance = off.square().mean()

    def of(deviation: torch.Tensor) -> torch.Tensor:
        return -Normal(0.0, deviation).log_prob(off).sum()

    wanted = of(variance.sqrt())
    torch.testing.assert_close(likelihood_loss(variance, 1000), wanted)
    assert all(of(factor * variance.sqrt()) > wanted for factor in (0.9, 1.1))


def test_the_prior_of_a_class_has_the_moments_of_its_posteriors() -> None:
    draws = np.random.default_rng(0)
    latent, many = 3, 200_000
    factor, centre = np.tril(draws.normal(size=(latent, latent))), draws.normal(size=latent)
    means = torch.from_numpy(draws.normal(size=(many, latent)) @ factor.T + centre)
    log_variances = torch.full((many, latent), 0.3, dtype=torch.float64)
    sampler = Sampler(Generator(Shape(16, 1, ("a", "b")), latent, 1), latent, 2)
    sampler.fit_prior([(means, log_variances, torch.tensor([[1, 0]]).expand(many, 2))])
    wanted = factor @ factor.T + np.exp(0.3) * np.eye(latent)
    np.testing.assert_allclose(sampler.centres[0], centre, atol=0.03)
    np.testing.assert_allclose(sampler.spreads[0] @ sampler.spreads[0].T, wanted, atol=0.05)
    assert torch.equal(sampler.centres[1], torch.zeros(latent))
    assert torch.equal(sampler.spreads[1], torch.eye(latent))


def test_the_bound_is_the_sum_of_its_terms_and_falls() -> None:
    trained = trainer("cvae", two_classes(8), width=8, steps=30)
    assert isinstance(trained, CVAETrainer)
    found = [trained.step(index) for index in range(30)]
    assert found[0]["loss"] == pytest.approx(float(found[0]["loss_prior"] + found[0]["loss_likelihood"]))
    assert float(found[-1]["loss"]) < float(found[0]["loss"]) - 50


def test_each_network_of_a_vae_gan_learns_from_its_own_losses() -> None:
    trained = trainer("cvaedcgan", two_classes(8), gamma=0.5)
    assert isinstance(trained, CVAEDCGANTrainer)
    images, c = next(trained.real(0))
    noise, z = torch.randn(2, 8, 4)
    losses = trained.losses(images, c, noise, z)
    wanted = {
        "encoder": losses["loss_prior"] + losses["loss_likelihood"],
        "decoder": 0.5 * losses["loss_likelihood"] + losses["loss_deceived"],
        "discriminator": losses["loss_real"] + losses["loss_reconstructed"] + losses["loss_sampled"],
    }
    gradients = {
        name: torch.autograd.grad(loss, list(trained.networks[name].parameters()), retain_graph=True)
        for name, loss in wanted.items()
    }
    trained.add_gradients(losses)
    for name, of in gradients.items():
        for parameter, gradient in zip(trained.networks[name].parameters(), of, strict=True):
            np.testing.assert_array_equal(parameter.grad.numpy(), gradient.numpy())
