"""Generator files: what is read is what was written, and a file cannot ask for more than it holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from hdgan.stylegan2 import Discriminator, Generator, load_generator, save_generator
from tiling.errors import InputError
from training.checkpoint import save_weights

pytestmark = pytest.mark.usefixtures("little_memory")


@pytest.fixture
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=16, mapping_layers=2)


def test_a_saved_generator_is_loaded_as_it_was_and_leaves_the_random_state_alone(
    generator: Generator, tmp_path: Path
) -> None:
    generator.licence = ("CC BY",)
    save_generator(generator, tmp_path / "g")
    before = torch.get_rng_state()
    loaded = load_generator(tmp_path / "g")
    assert torch.equal(before, torch.get_rng_state())
    assert (loaded.config, loaded.licence, loaded.training) == (generator.config, ("CC BY",), False)
    state = loaded.state_dict()
    for name, tensor in generator.state_dict().items():
        assert torch.equal(state[name], tensor)
        assert (state[name].dtype, state[name].stride()) == (tensor.dtype, tensor.stride())
        assert (state[name].device.type, state[name].untyped_storage().nbytes()) == ("cpu", tensor.nbytes)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_weights_of_another_precision_are_read_as_float32(generator: Generator, tmp_path: Path) -> None:
    halves = {name: tensor.half() for name, tensor in generator.state_dict().items()}
    save_weights(tmp_path / "g", halves, kind="generator", about={"config": asdict(generator.config)})
    loaded = load_generator(tmp_path / "g")
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"resolution": 2**20}, "g: resolution must be a whole number from 8 to 65536, not 1048576"),
        ({"resolution": 2**16, "channel_base": 2**30, "channel_max": 2**16}, r"g lacks synthesis\.b1024\."),
        ({"resolution": 2**16, "channel_base": 2**16}, r"g lacks synthesis\.b1024\."),
        ({"resolution": "abc"}, "g: resolution must be a whole number from 8 to 65536, not 'abc'"),
        ({"resolution": None}, "resolution must be a whole number"),
        ({"resolution": 16.0}, "resolution must be a whole number"),
        ({"resolution": 24}, "g: resolution must be a power of two of at least 8, not 24"),
        ({"z_dim": -1}, "g: z_dim must be a whole number from 1 to 65536, not -1"),
        ({"w_dim": True}, "w_dim must be a whole number from 1 to 65536, not True"),
        ({"w_dim": 2**60}, "w_dim must be"),
        ({"c_dim": 7}, r"g lacks mapping\.embed"),
        ({"channel_base": 0}, "channel_base must be a whole number"),
        ({"channel_max": [1]}, r"channel_max must be a whole number .* not \[1\]"),
        ({"channel_max": 8}, "g has other shapes of"),
        ({"mapping_layers": 10**9}, "mapping_layers must be a whole number from 0 to 64, not 1000000000"),
        ({"mapping_layers": 64}, r"g lacks mapping\.fc10"),
        ({"architecture": ["skip"]}, "g: architecture must be one of"),
        ({"conv_clamp": "256"}, "conv_clamp must be a number from 0 to"),
        ({"conv_clamp": float("nan")}, "conv_clamp must be a number .* not nan"),
        ({"fp16_resolutions": -3}, "fp16_resolutions must be"),
        ({"colour": 1}, "g: no configuration of a generator in the header"),
    ],
)
def test_a_header_that_does_not_fit_its_tensors_is_refused_before_anything_is_built(
    generator: Generator, tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    about = {"config": asdict(generator.config) | config}
    save_weights(tmp_path / "g", generator.state_dict(), kind="generator", about=about)
    with pytest.raises(InputError, match=message) as refusal:
        load_generator(tmp_path / "g")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"resolution": 2**20}, "resolution must be a whole number from 8 to 65536, not 1048576"),
        ({"c_dim": -1}, "c_dim must be a whole number from 0 to 65536, not -1"),
        ({"channel_max": 0}, "channel_max must be a whole number from 1"),
        ({"mbstd_group": -1}, "mbstd_group must be a whole number from 0 to 1024, not -1"),
        ({"mapping_layers": 2.0}, "mapping_layers must be a whole number"),
        ({"conv_clamp": -1}, "conv_clamp must be a number from 0 to"),
        ({"fp16_resolutions": 17}, "fp16_resolutions must be"),
    ],
)
def test_a_discriminator_of_unreasonable_size_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Discriminator(**{"resolution": 16, "channel_base": 128, "channel_max": 16} | config)


@pytest.mark.parametrize("about", [{}, {"config": None}, {"config": [16]}, {"config": {"z_dim": 8}}])
def test_a_header_without_a_configuration_is_refused(tmp_path: Path, about: dict[str, Any]) -> None:
    save_weights(tmp_path / "g", {}, kind="generator", about=about)
    with pytest.raises(InputError, match="no configuration of a generator"):
        load_generator(tmp_path / "g")


@pytest.mark.parametrize("licence", ["CC BY", [1], None])
def test_a_licence_that_is_no_list_of_texts_is_refused(generator: Generator, tmp_path: Path, licence: object) -> None:
    about = {"config": asdict(generator.config), "licence": licence}
    save_weights(tmp_path / "g", generator.state_dict(), kind="generator", about=about)
    with pytest.raises(InputError, match="licence must be a list of texts"):
        load_generator(tmp_path / "g")
