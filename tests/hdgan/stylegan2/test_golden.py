"""The networks give the reference's numbers: loaded strictly, 1e-4 relative in fp32, gradients 1e-3."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hdgan.stylegan2.discriminator import Discriminator
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.losses import path_lengths, r1_penalty
from hdgan.stylegan2.ops import upfirdn2d

GENERATORS = ["16_orig", "16_resnet", "32_clamp", "32_conditional", "64"]
DISCRIMINATORS = ["16_orig", "16_skip", "32_clamp", "32_conditional", "64"]


def read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with np.load(path) as file:
        config = json.loads(str(file["config"]))
        return config, {name: torch.from_numpy(file[name]) for name in file.files if name != "config"}


def load_state(network: nn.Module, values: dict[str, Tensor]) -> None:
    state = {name.removeprefix("state/"): value for name, value in values.items() if name.startswith("state/")}
    network.load_state_dict(state, strict=True)


def assert_close(ours: Tensor, reference: Tensor, tolerance: float = 1e-4) -> None:
    assert ours.shape == reference.shape
    assert (ours - reference).norm() <= tolerance * reference.norm()


def assert_gradients(network: nn.Module, values: dict[str, Tensor], prefix: str) -> None:
    references = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    ours = {name: parameter.grad for name, parameter in network.named_parameters() if parameter.grad is not None}
    assert references
    for name in sorted(references.keys() | ours.keys()):
        some = references.get(name, ours.get(name))
        assert some is not None
        reference = references.get(name, torch.zeros_like(some))
        gradient = ours.get(name, torch.zeros_like(some))
        scale = reference.norm() if reference.norm() >= 1e-6 else torch.tensor(1e-3)
        assert (gradient - reference).norm() <= 1e-3 * scale, name


@pytest.fixture(params=GENERATORS)
def generator(request: pytest.FixtureRequest, golden: Path) -> tuple[Generator, dict[str, Tensor]]:
    config, values = read(golden / f"generator_{request.param}.npz")
    network = Generator(
        resolution=config["res"],
        z_dim=config["z_dim"],
        w_dim=config["w_dim"],
        c_dim=config["c_dim"],
        channel_base=1024,
        channel_max=32,
        mapping_layers=config["num_mapping_layers"],
        architecture=config.get("arch", "skip"),
        conv_clamp=config.get("clamp", 256),
    )
    load_state(network, values)
    return network, values


@torch.no_grad()
def test_generator_maps_and_truncates_as_the_reference(generator: tuple[Generator, dict[str, Tensor]]) -> None:
    network, values = generator
    z, c = values["z"], values["c"]
    assert_close(network.mapping(z, c), values["w"])
    assert_close(network.mapping(z, c, psi=0.7), values["w_psi07"])
    assert_close(network.mapping(z, c, psi=0.5, cutoff=4), values["w_psi05_cutoff4"])


@torch.no_grad()
def test_generator_images_are_the_references(generator: tuple[Generator, dict[str, Tensor]]) -> None:
    network, values = generator
    assert_close(network.synthesis(values["w"], noise="const"), values["image"])
    assert_close(network.synthesis(values["w"], noise="none"), values["image_noise_none"])
    assert_close(network.synthesis(values["w_psi07"], noise="const"), values["image_psi07"])
    assert_close(network.synthesis(values["w_mixed"], noise="const"), values["image_mixed"])


@torch.no_grad()
def test_generator_features_are_the_references(generator: tuple[Generator, dict[str, Tensor]]) -> None:
    network, values = generator
    references = {name.removeprefix("features/"): v for name, v in values.items() if name.startswith("features/")}
    features = network.features(values["w_mixed"], blocks=len(network.synthesis.layout.resolutions))
    assert set(features) == set(references)
    for name, reference in references.items():
        assert_close(features[name], reference)


@pytest.mark.parametrize("recompute", [False, True])
def test_path_lengths_and_their_gradients_are_the_references(
    generator: tuple[Generator, dict[str, Tensor]], recompute: bool
) -> None:
    network, values = generator
    network.synthesis.recompute = recompute
    w = values["w_mixed"].requires_grad_()
    lengths = path_lengths(network.synthesis(w, noise="const"), w, values["pl_noise"])
    assert_close(lengths, values["pl_lengths"])
    (lengths - 0.3).square().mean().backward()
    assert_gradients(network, values, "pl_grad/")


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminator_logits_and_r1_are_the_references(name: str, recompute: bool, golden: Path) -> None:
    config, values = read(golden / f"discriminator_{name}.npz")
    network = Discriminator(
        resolution=config["res"],
        c_dim=config["c_dim"],
        channel_base=1024,
        channel_max=32,
        architecture=config.get("arch", "resnet"),
        conv_clamp=config.get("clamp", 256),
        mapping_layers=2,
    )
    load_state(network, values)
    network.recompute = recompute
    image = values["image"].requires_grad_()
    logits = network(image, values["c"])
    assert_close(logits, values["logits"])
    penalty = r1_penalty(logits, image)
    assert_close(penalty, values["r1_penalty"])
    (5 * penalty).mean().backward()
    assert_gradients(network, values, "r1_grad/")


@pytest.mark.parametrize("case", range(5))
def test_upfirdn2d_is_the_references(case: int, golden: Path) -> None:
    with np.load(golden / "upfirdn2d.npz") as file:
        x, filter, expected = (torch.from_numpy(file[n]) for n in ("x", f"case{case}/filter", f"case{case}/out"))
        args = json.loads(str(file[f"case{case}/args"]))
    assert_close(upfirdn2d(x, filter, **args), expected)
