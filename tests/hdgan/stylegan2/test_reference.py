"""Networks come out of the reference's files as they went in, and with them its numbers and its terms."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from reference_files import (
    EasyDict,
    Module,
    dumped,
    module_of,
    reference_discriminator,
    reference_generator,
    write_reference,
)
from torch import Tensor, nn

from hdgan.stylegan2 import Discriminator, Generator, convert_reference, load_generator, train, train_config
from hdgan.stylegan2.execution import Execution
from hdgan.stylegan2.reference import GENERATOR_NON_EMA, REFERENCE_LICENCE, read_reference
from hdgan.stylegan2.run import DISCRIMINATOR, shape_of
from tiling.errors import InputError
from tiling.files import write_json
from tiling.stage import read_record
from training.checkpoint import load_weights

GENERATORS = ["16_orig", "16_resnet", "32_clamp", "32_conditional", "64"]
DISCRIMINATORS = ["16_orig", "16_skip", "32_clamp", "32_conditional", "64"]


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(
        resolution=16, z_dim=8, w_dim=8, channel_base=128, channel_max=16, mapping_layers=2, fp16_resolutions=2
    )


@pytest.fixture(scope="module")
def discriminator() -> Discriminator:
    torch.manual_seed(1)
    return Discriminator(resolution=16, channel_base=128, channel_max=16, mbstd_group=8)


def golden_values(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    with np.load(path) as file:
        values = {name: torch.from_numpy(file[name]) for name in file.files if name != "config"}
        return json.loads(str(file["config"])), values


def state_of(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix("state/"): value for name, value in values.items() if name.startswith("state/")}


def assert_same(network: nn.Module, state: dict[str, Tensor]) -> None:
    own = network.state_dict()
    assert own.keys() == state.keys()
    assert all(torch.equal(own[name], state[name]) for name in own)


def assert_close(ours: Tensor, reference: Tensor) -> None:
    assert ours.shape == reference.shape
    assert (ours - reference).norm() <= 1e-4 * reference.norm()


@torch.no_grad()
@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("name", GENERATORS)
def test_a_generator_gives_the_images_that_it_gave_the_reference(
    golden: Path, tmp_path: Path, name: str, told: bool
) -> None:
    config, values = golden_values(golden / f"generator_{name}.npz")
    settings: dict[str, Any] = {"synthesis_kwargs": EasyDict(conv_clamp=config.get("clamp", 256))}
    if told:  # what the tensors tell too
        settings["synthesis_kwargs"] |= {"channel_base": 1024, "channel_max": 32}
        settings["mapping_kwargs"] = EasyDict(num_layers=config["num_mapping_layers"])
        settings |= {"img_resolution": config["res"], "img_channels": 3, "c_dim": config["c_dim"]}
    pkl = write_reference(tmp_path / "g.pkl", G_ema=Module("Generator", state_of(values), settings))
    converted = load_generator(convert_reference(pkl, tmp_path / "run"))
    assert_same(converted, state_of(values))
    assert_close(converted.mapping(values["z"], values["c"], psi=0.7), values["w_psi07"])
    assert_close(converted.synthesis(values["w"], noise="const"), values["image"])
    assert_close(converted.synthesis(values["w_mixed"], noise="const"), values["image_mixed"])
    assert not (tmp_path / "run" / DISCRIMINATOR).exists()


@torch.no_grad()
@pytest.mark.parametrize("frozen", ["-", "b16"])
@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_a_discriminator_gives_the_logits_that_it_gave_the_reference(
    golden: Path, generator: Generator, tmp_path: Path, name: str, frozen: str
) -> None:
    config, values = golden_values(golden / f"discriminator_{name}.npz")
    state = state_of(values)
    parameters = frozenset(key for key in state if "filter" not in key and not key.startswith(frozen))
    module = Module("Discriminator", state, {"conv_clamp": config.get("clamp", 256)}, parameters)
    pkl = write_reference(tmp_path / "g.pkl", G_ema=reference_generator(generator), G=None, D=module)
    converted = read_reference(pkl).discriminator
    assert converted is not None
    assert_same(converted, state)
    assert_close(converted(values["image"], values["c"]), values["logits"])


@pytest.mark.parametrize("protocol", [3, 4])
def test_what_a_run_folder_then_holds(
    generator: Generator, discriminator: Discriminator, tmp_path: Path, protocol: int
) -> None:
    torch.manual_seed(2)
    trained = Generator.from_config(generator.config)
    pkl = write_reference(
        tmp_path / "some.pkl",
        protocol=protocol,
        G=reference_generator(trained),
        D=reference_discriminator(discriminator),
        G_ema=reference_generator(generator),
    )
    made = convert_reference(pkl, tmp_path / "run")
    assert made == tmp_path / "run" / "generator.safetensors"
    for path, network in ((made, generator), (tmp_path / "run" / GENERATOR_NON_EMA, trained)):
        loaded = load_generator(path)
        assert (loaded.config, loaded.licence) == (generator.config, (REFERENCE_LICENCE,))
        assert_same(loaded, network.state_dict())
    tensors, about = load_weights(tmp_path / "run" / DISCRIMINATOR, kind="discriminator")
    assert (about["config"]["mbstd_group"], about["licence"]) == (8, [REFERENCE_LICENCE])
    assert_same(discriminator, tensors)
    record = read_record(tmp_path / "run")
    assert (record["stage"], record["status"], record["licence"]) == ("train", "complete", [REFERENCE_LICENCE])
    assert record["summary"] == {"imported": "some.pkl", "resolution": 16}
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["imported"], config["generator"]["fp16_resolutions"]) == ("some.pkl", 2)


def test_weights_in_any_order_in_memory_are_read(generator: Generator, tmp_path: Path) -> None:
    tensors = dict(generator.state_dict())
    name = "synthesis.b16.conv1.weight"
    tensors[name] = tensors[name].to(memory_format=torch.channels_last)
    assert not tensors[name].is_contiguous()
    module = replace(reference_generator(generator), tensors=tensors)
    assert_same(read_reference(write_reference(tmp_path / "g.pkl", G_ema=module)).generator, generator.state_dict())


def with_tensors(change: str, value: Tensor | None) -> Any:
    def changed(module: Module) -> Module:
        tensors = {name: tensor for name, tensor in module.tensors.items() if name != change}
        return replace(module, tensors=tensors if value is None else tensors | {change: value})

    return changed


def with_settings(**settings: Any) -> Any:
    def changed(module: Module) -> Module:
        own = dict(module.settings)
        for name, value in settings.items():
            own[name] = EasyDict(own.get(name, {}) | value) if isinstance(value, dict) else value
        return replace(module, settings=own)

    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_tensors("mapping.fc1.bias", None), "G_ema: it lacks mapping.fc1.bias"),
        (with_tensors("mapping.w_avg", None), "G_ema: it lacks mapping.w_avg"),
        (with_tensors("mapping.fc0.weight", None), "G_ema: it lacks mapping.fc0.weight"),
        (with_tensors("synthesis.b8.conv1.weight", None), "G_ema: it lacks synthesis.b8.conv1.weight"),
        (with_tensors("synthesis.b4.conv0.weight", torch.ones(2)), "G_ema: it has unknown synthesis.b4.conv0.weight"),
        (with_tensors("extra", torch.ones(2)), "G_ema: it has unknown extra"),
        (with_tensors("synthesis.b16.conv1.bias", torch.ones(5)), "has other shapes of synthesis.b16.conv1.bias"),
        (with_tensors("synthesis.b16.conv1.noise_const", torch.ones(8, 8)), "has other shapes of"),
        (
            with_tensors("synthesis.b24.conv1.weight", torch.ones(5, 5)),
            "img_resolution is 16, where hdgan's network for these tensors has 24",
        ),
        (with_tensors("mapping.w_avg", torch.ones(8).double()), "asks for torch.DoubleStorage"),
        (
            with_settings(synthesis_kwargs={"resample_filter": [1, 2, 1]}),
            "resample_filter is [1, 2, 1], where hdgan's network for these tensors has [1, 3, 3, 1]",
        ),
        (
            with_settings(synthesis_kwargs={"activation": "relu"}),
            "activation is 'relu', where hdgan's network for these tensors has 'lrelu'",
        ),
        (
            with_settings(synthesis_kwargs={"architecture": "orig"}),
            "architecture is 'orig', where hdgan's network for these tensors has 'skip'",
        ),
        (with_settings(synthesis_kwargs={"use_noise": False}), "use_noise is False"),
        (with_settings(synthesis_kwargs={"conv_clamp": "256"}), "conv_clamp is '256', not a number"),
        (with_settings(synthesis_kwargs={"num_fp16_res": -1}), "num_fp16_res must be a whole number from 0 to 16"),
        (with_settings(synthesis_kwargs={"channel_max": 8}), "has other shapes of"),
        (
            with_settings(mapping_kwargs={"lr_multiplier": 1}),
            "lr_multiplier is 1, where hdgan's network for these tensors has 0.01",
        ),
        (
            with_settings(mapping_kwargs={"num_layers": 8}),
            "num_layers is 8, where hdgan's network for these tensors has 2",
        ),
        (with_settings(img_channels=1), "img_channels is 1, where hdgan's network for these tensors has 3"),
        (with_settings(magnitude_ema_beta=0.5), "a setting that hdgan does not know: 'magnitude_ema_beta'"),
        (with_settings(synthesis_kwargs=[1]), "its synthesis_kwargs are [1], not settings by name"),
        (lambda module: replace(module, class_name="Discriminator"), "it is of class 'Discriminator', not a Generator"),
        (lambda module: replace(module, version=7), "not as the format's version 6 does"),
        (lambda module: None, "it holds no G_ema"),
        (lambda module: {"weights": 1}, "G_ema: it is no module, not a Generator"),
    ],
)
def test_a_generator_that_ours_cannot_express_is_refused_by_name(
    generator: Generator, tmp_path: Path, change: Any, message: str
) -> None:
    pkl = write_reference(tmp_path / "g.pkl", G_ema=change(reference_generator(generator)))
    with pytest.raises(InputError) as refusal:
        convert_reference(pkl, tmp_path / "run")
    said = str(refusal.value)
    assert message in said
    assert said.startswith(f"{pkl}: ")
    assert said.endswith("(nothing in it was executed)")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            with_settings(epilogue_kwargs={"mbstd_num_channels": 2}),
            "mbstd_num_channels is 2, where hdgan's network for these tensors has 1",
        ),
        (with_settings(epilogue_kwargs={"mbstd_group_size": None}), "mbstd_group_size is None, not a number"),
        (with_settings(epilogue_kwargs={"mbstd_group_size": 0}), "mbstd_group_size must be a whole number from 1"),
        (with_settings(epilogue_kwargs={"activation": "relu"}), "activation is 'relu'"),
        (with_settings(block_kwargs={"resample_filter": [1]}), "resample_filter is [1]"),
        (with_tensors("b4.out.bias", None), "D: it lacks b4.out.bias"),
        (with_tensors("b4.skip.weight", torch.ones(1)), "D: it has unknown b4.skip.weight"),
    ],
)
def test_a_discriminator_that_ours_cannot_express_is_refused_by_name(
    generator: Generator, discriminator: Discriminator, tmp_path: Path, change: Any, message: str
) -> None:
    module = change(reference_discriminator(discriminator))
    pkl = write_reference(tmp_path / "g.pkl", G_ema=reference_generator(generator), D=module)
    with pytest.raises(InputError) as refusal:
        convert_reference(pkl, tmp_path / "run")
    assert message in str(refusal.value)


@pytest.mark.parametrize(("group", "epilogue"), [(0, {"mbstd_group_size": 4, "mbstd_num_channels": 0}), (1, {})])
def test_a_discriminator_that_compares_no_images_is_taken_over(
    generator: Generator, tmp_path: Path, group: int, epilogue: dict[str, int]
) -> None:
    plain = Discriminator(resolution=16, channel_base=128, channel_max=16, mbstd_group=group)
    module = reference_discriminator(plain, **epilogue)
    converted = read_reference(
        write_reference(tmp_path / "g.pkl", G_ema=reference_generator(generator), D=module)
    ).discriminator
    assert converted is not None
    assert converted.config == plain.config


def test_an_import_is_repeated_replaced_and_trained_on_only_where_that_is_meant(
    generator: Generator, discriminator: Discriminator, tmp_path: Path
) -> None:
    pkl = write_reference(
        tmp_path / "g.pkl", G_ema=reference_generator(generator), D=reference_discriminator(discriminator)
    )
    run = tmp_path / "run"
    made = convert_reference(pkl, run)
    before = made.stat().st_mtime_ns
    assert convert_reference(pkl, run) == made
    assert made.stat().st_mtime_ns == before
    other = write_reference(tmp_path / "other.pkl", G_ema=reference_generator(generator, conv_clamp=None))
    with pytest.raises(InputError, match="made from another reference; add --redo"):
        convert_reference(other, run)

    def refuse() -> None:
        raise InputError("it has masks")

    with pytest.raises(InputError, match="it has masks"):
        convert_reference(other, run, before_replacing=refuse, redo=True)
    assert load_generator(made).config.conv_clamp == 256
    convert_reference(other, run, redo=True)
    assert load_generator(made).config.conv_clamp is None
    assert not (run / DISCRIMINATOR).exists()


class Tiles:
    """Noise to train on."""

    def __len__(self) -> int:
        return 4

    def read(self, index: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        return np.random.default_rng(index).integers(0, 255, (16, 16, 3), dtype=np.uint8)


def test_a_training_begins_with_an_import_and_keeps_its_terms(
    generator: Generator, discriminator: Discriminator, tmp_path: Path
) -> None:
    pkl = write_reference(
        tmp_path / "g.pkl", G_ema=reference_generator(generator), D=reference_discriminator(discriminator)
    )
    run = tmp_path / "run"
    convert_reference(pkl, run)
    config = replace(
        train_config("tiny", resolution=16, kimg=0.004, learning_rate=1e-9, gamma=0.0, path_length_weight=0.0),
        **shape_of(run),
    )
    with pytest.raises(InputError, match="was imported: train in another study with `--from"):
        train(Tiles(), run, config, execution=Execution(device="cpu"))
    trained = load_generator(
        train(Tiles(), tmp_path / "second", config, start_from=run, execution=Execution(device="cpu"))
    )
    assert trained.licence == (REFERENCE_LICENCE,)
    for name, tensor in trained.state_dict().items():
        if "w_avg" not in name:
            torch.testing.assert_close(tensor, generator.state_dict()[name], atol=1e-3, rtol=0)
    with pytest.raises(InputError, match="second holds what was not imported; add --redo"):
        convert_reference(pkl, tmp_path / "second")


def test_a_folder_of_files_that_no_stage_made_is_left_alone(generator: Generator, tmp_path: Path) -> None:
    pkl = write_reference(tmp_path / "g.pkl", G_ema=reference_generator(generator))
    write_json(tmp_path / "mine" / "notes.json", {})
    with pytest.raises(InputError, match="holds files that no stage made"):
        convert_reference(pkl, tmp_path / "mine")


def test_half_precision_waits_for_a_gpu(generator: Generator) -> None:
    w = generator.mapping(torch.ones(1, 8))
    full = Generator.from_config(replace(generator.config, fp16_resolutions=0))
    full.load_state_dict(generator.state_dict())
    assert torch.equal(generator.synthesis(w, noise="const"), full.synthesis(w, noise="const"))


def test_the_opcodes_of_large_networks_are_far_from_the_most_that_are_read(tmp_path: Path) -> None:
    with torch.device("meta"):
        large = Generator(resolution=1024)
    small = {name: torch.zeros([1] * tensor.ndim) for name, tensor in large.state_dict().items()}
    parameters = frozenset(name for name, _ in large.named_parameters())
    module = Module("Generator", small, {}, parameters)
    content = dumped({"G": module, "D": module, "G_ema": module_of(Generator(resolution=8, channel_max=4), "X", {})})
    (tmp_path / "g.pkl").write_bytes(content)
    with pytest.raises(InputError, match="class 'X', not a Generator"):
        read_reference(tmp_path / "g.pkl")
