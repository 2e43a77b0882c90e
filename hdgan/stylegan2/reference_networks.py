"""Our networks with the weights of the StyleGAN2-ADA reference's modules.

Shapes and numbers of layers are those of the tensors. What these do not tell (clamping, half precision, groups of the
minibatch deviation) is read from the settings that a module was made with. Settings that our networks cannot express,
or that nobody here knows, are refused by name.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hdgan.checks import check_number
from hdgan.stylegan2.discriminator import Discriminator, DiscriminatorConfig
from hdgan.stylegan2.generator import Generator, GeneratorConfig
from hdgan.stylegan2.layout import Architecture
from hdgan.stylegan2.reference_modules import StoredModule, StoredTensor
from tiling.errors import InputError
from training.checkpoint import build_network

Tensors = Mapping[str, StoredTensor]
Settings = Mapping[str, object]
Accepted = tuple[object, ...] | None  # the values that our networks express; None: it makes no difference to them

_FILTER = ([1, 3, 3, 1], (1, 3, 3, 1))
_LRELU = ("lrelu",)
_MOST_LAYERS = 64
_LARGEST_GROUP = 1024


def generator_of(module: object) -> Generator:
    """The generator in a module of the reference, in evaluation mode, on the CPU.

    Raises
    ------
    InputError
        When it is no generator, its tensors are not just those of ours, or its settings are others.
    """
    stored = _of_class(module, "Generator")
    tensors, settings = stored.tensors(), _settings(stored)
    synthesis, mapping = _group(settings, "synthesis_kwargs"), _group(settings, "mapping_kwargs")
    config = _generator_config(tensors, synthesis)
    shapes = {"z_dim": config.z_dim, "c_dim": config.c_dim, "w_dim": config.w_dim, "img_resolution": config.resolution}
    groups: dict[str, Accepted] = {"synthesis_kwargs": None, "mapping_kwargs": None}
    _check(settings, {**{name: (value,) for name, value in shapes.items()}, "img_channels": (3,), **groups})
    _check(synthesis, _of_layers(config) | {"use_noise": (True,), "kernel_size": (3,)})
    _check(mapping, _of_mapping(config.mapping_layers, config.w_dim) | {"w_avg_beta": None})
    weights = {name: tensor.read() for name, tensor in tensors.items()}
    return build_network(lambda: Generator.from_config(config), weights, Path("it")).eval().requires_grad_(False)


def discriminator_of(module: object) -> Discriminator:
    """The discriminator in a module of the reference, as :func:`generator_of`. Frozen layers are as any other."""
    stored = _of_class(module, "Discriminator")
    tensors, settings = stored.tensors(), _settings(stored)
    epilogue = _group(settings, "epilogue_kwargs")
    config = _discriminator_config(tensors, settings, epilogue)
    width = _size(tensors, "b4.fc.weight", 0)
    groups: dict[str, Accepted] = {"block_kwargs": None, "mapping_kwargs": None, "epilogue_kwargs": None}
    shapes: dict[str, Accepted] = {
        "c_dim": (config.c_dim,),
        "img_resolution": (config.resolution,),
        "img_channels": (3,),
        "cmap_dim": (None, width if config.c_dim else 0, width),
    }
    _check(settings, {**_of_layers(config), **shapes, **groups})
    _check(
        _group(settings, "block_kwargs"),
        {"activation": _LRELU, "resample_filter": _FILTER, "fp16_channels_last": None, "freeze_layers": None},
    )
    _check(
        epilogue, {"mbstd_group_size": None, "mbstd_num_channels": (int(config.mbstd_group > 0),), "activation": _LRELU}
    )
    if config.c_dim:
        _check(_group(settings, "mapping_kwargs"), _of_mapping(config.mapping_layers, width) | {"w_avg_beta": None})
    weights = {name: tensor.read() for name, tensor in tensors.items()}
    return build_network(lambda: Discriminator.from_config(config), weights, Path("it")).eval().requires_grad_(False)


def _generator_config(tensors: Tensors, synthesis: Settings) -> GeneratorConfig:
    resolution = _resolution(tensors, "synthesis.")
    w_dim = _size(tensors, "synthesis.b4.conv1.affine.weight", 1)
    c_dim = _size(tensors, "mapping.embed.weight", 1) if "mapping.embed.weight" in tensors else 0
    return GeneratorConfig(
        resolution=resolution,
        z_dim=_size(tensors, "mapping.fc0.weight", 1) - (w_dim if c_dim else 0),
        w_dim=w_dim,
        c_dim=c_dim,
        mapping_layers=_mapping_layers(tensors),
        architecture=_architecture(tensors, f"synthesis.b{resolution}.skip.weight", "synthesis.b4.torgb.weight"),
        **_widths(tensors, synthesis, {size: f"synthesis.b{size}.conv1" for size in _blocks(resolution)}),
        **_clamp_and_precision(synthesis),
    )


def _discriminator_config(tensors: Tensors, settings: Settings, epilogue: Settings) -> DiscriminatorConfig:
    resolution = _resolution(tensors, "")
    c_dim = _size(tensors, "mapping.embed.weight", 1) if "mapping.embed.weight" in tensors else 0
    statistics = _size(tensors, "b4.conv.weight", 1) - _size(tensors, "b4.conv.weight", 0)
    group = _number(epilogue, "mbstd_group_size", 4) if statistics else 0
    if statistics:
        check_number("mbstd_group_size", group, 1, _LARGEST_GROUP)
    return DiscriminatorConfig(
        resolution=resolution,
        c_dim=c_dim,
        mbstd_group=group,
        architecture=_architecture(tensors, f"b{resolution}.skip.weight", "b4.fromrgb.weight"),
        **({"mapping_layers": _mapping_layers(tensors)} if c_dim else {}),
        **_widths(tensors, settings, {size: f"b{size}.conv{'' if size == 4 else 0}" for size in _blocks(resolution)}),
        **_clamp_and_precision(settings),
    )


def _of_class(module: object, name: str) -> StoredModule:
    if not isinstance(module, StoredModule) or module.class_name != name:
        found = f"of class {module.class_name[:64]!r}" if isinstance(module, StoredModule) else "no module"
        raise InputError(f"it is {found}, not a {name}")
    return module


def _settings(module: StoredModule) -> Settings:
    """What a module was made with, by name."""
    if module.state.get("_init_args"):
        raise InputError("it was made with arguments without names")
    return _group(module.state, "_init_kwargs")


def _group(settings: Settings, name: str) -> Settings:
    group = settings.get(name, {})
    if not isinstance(group, dict):
        raise InputError(f"its {name} are {_told(group)}, not settings by name")
    return group


def _check(settings: Settings, accepted: Mapping[str, Accepted]) -> None:
    for name, value in settings.items():
        if name not in accepted:
            raise InputError(f"it was made with a setting that hdgan does not know: {name[:64]!r}")
        values = accepted[name]
        if values is not None and value not in values:
            ours = _told(values[0])
            raise InputError(f"{name} is {_told(value)}, where hdgan's network for these tensors has {ours}")


def _of_layers(config: GeneratorConfig | DiscriminatorConfig) -> dict[str, Accepted]:
    """What blocks and layers may be set to; what is None is taken over, or checked by the shapes of the tensors."""
    taken = ("channel_base", "channel_max", "num_fp16_res", "conv_clamp", "fp16_channels_last")
    return {
        **dict.fromkeys(taken),
        "architecture": (config.architecture,),
        "resample_filter": _FILTER,
        "activation": _LRELU,
    }


def _of_mapping(layers: int, width: int) -> dict[str, Accepted]:
    widths = (None, width)
    fixed: dict[str, Accepted] = {"activation": _LRELU, "lr_multiplier": (0.01,)}
    return {"num_layers": (layers,), "embed_features": widths, "layer_features": widths, **fixed}


def _size(tensors: Tensors, name: str, axis: int) -> int:
    if name not in tensors or len(tensors[name].shape) <= axis:
        raise InputError(f"it lacks {name}, or its shape is another")
    return tensors[name].shape[axis]


def _resolution(tensors: Tensors, prefix: str) -> int:
    """The largest block's."""
    found = [re.match(re.escape(prefix) + r"b(\d{1,5})\.", name) for name in tensors]
    return max((int(match[1]) for match in found if match), default=0)


def _blocks(resolution: int) -> list[int]:
    """4, 8, ... up to the resolution."""
    return [2**i for i in range(2, max(resolution, 4).bit_length())]


def _mapping_layers(tensors: Tensors) -> int:
    layers = sum(1 for name in tensors if re.fullmatch(r"mapping\.fc\d+\.weight", name))
    check_number("the number of mapping layers", layers, 1, _MOST_LAYERS)
    return layers


def _architecture(tensors: Tensors, of_resnet: str, of_skip: str) -> Architecture:
    return "resnet" if of_resnet in tensors else "skip" if of_skip in tensors else "orig"


def _widths(tensors: Tensors, settings: Settings, layers: Mapping[int, str]) -> dict[str, Any]:
    """channel_base and channel_max: as set, or where they are not, such that the widths of the tensors come out.

    `layers` is a convolution of every resolution whose output is as wide as the block.
    """
    channels = {resolution: _size(tensors, f"{layer}.weight", 0) for resolution, layer in layers.items()}
    base = _number(settings, "channel_base", max(resolution * width for resolution, width in channels.items()))
    most = _number(settings, "channel_max", max(channels.values()))
    for name, value in (("channel_base", base), ("channel_max", most)):
        check_number(name, value, 1, 2**30)
    return {"channel_base": base, "channel_max": most}


def _clamp_and_precision(settings: Settings) -> dict[str, Any]:
    clamp = None if settings.get("conv_clamp") is None else _number(settings, "conv_clamp", 0)
    if clamp is not None:
        check_number("conv_clamp", clamp, 0, 1e6, whole=False)
    halved = _number(settings, "num_fp16_res", 0)
    check_number("num_fp16_res", halved, 0, 16)
    return {"conv_clamp": clamp, "fp16_resolutions": halved}


def _number(settings: Settings, name: str, default: int) -> Any:
    value = settings.get(name, default)
    if not isinstance(value, int | float):
        raise InputError(f"{name} is {_told(value)}, not a number")
    return value


def _told(value: object) -> str:
    """A setting's value in an error; what may be long only by its type."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_told_one, value[:8]))}]"
    return _told_one(value)


def _told_one(value: object) -> str:
    return reprlib.repr(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
