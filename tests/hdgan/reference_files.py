"""Files as the StyleGAN2-ADA reference writes them, from any weights: pickled modules with the source of their class.

The pickle names functions and classes of the reference's own modules, so stand-ins of these are there while it is made.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from hdgan.stylegan2 import Discriminator, Generator

SOURCE = "raise SystemExit('the source of a module was executed')\n"


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise AssertionError("the reference's function was called")


class EasyDict(dict[str, Any]):
    """What the reference keeps settings in."""


@contextlib.contextmanager
def reference_modules() -> Iterator[None]:
    """The modules that a file of the reference names."""
    named = {"torch_utils.persistence": _reconstruct_persistent_obj, "dnnlib.util": EasyDict}
    made = {"torch_utils": types.ModuleType("torch_utils"), "dnnlib": types.ModuleType("dnnlib")}
    for name, member in named.items():
        made[name] = types.ModuleType(name)
        setattr(made[name], member.__name__, member)
        member.__module__ = name
        package, _, below = name.partition(".")
        setattr(made[package], below, made[name])
    sys.modules.update(made)
    try:
        yield
    finally:
        for name in made:
            del sys.modules[name]


@dataclass
class Module:
    """A module of the reference: names and tensors, and what it was made with."""

    class_name: str
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Any] = field(default_factory=dict)
    parameters: frozenset[str] = frozenset()
    version: int = 6

    def __reduce__(self) -> tuple[Any, ...]:
        below: dict[str, dict[str, Tensor]] = {}
        own = {name: tensor for name, tensor in self.tensors.items() if "." not in name}
        for name, tensor in self.tensors.items():
            if "." in name:
                child, _, rest = name.partition(".")
                below.setdefault(child, {})[rest] = tensor
        children = {name: Module("Layer", tensors, {}, self._parameters_of(name)) for name, tensors in below.items()}
        parameters = {name: nn.Parameter(own[name], requires_grad=False) for name in own if name in self.parameters}
        state = {
            "_init_args": (),
            "_init_kwargs": EasyDict(self.settings),
            "training": False,
            "_parameters": OrderedDict(parameters),
            "_buffers": OrderedDict((name, tensor) for name, tensor in own.items() if name not in parameters),
            "_non_persistent_buffers_set": set(),
            "_backward_hooks": OrderedDict(),
            "_modules": OrderedDict(children),
            "weight_gain": np.float64(0.5),  # as a layer has it
            "taps": np.array([1.0, 3.0]),
            "conv_clamp": 256.0,
        }
        if "weight" in own:
            state["_parameters"].setdefault("bias", None)
        meta = {"type": "class", "version": self.version, "module_src": SOURCE, "class_name": self.class_name}
        return _reconstruct_persistent_obj, (EasyDict(meta | {"state": state}),)

    def _parameters_of(self, child: str) -> frozenset[str]:
        return frozenset(name.removeprefix(f"{child}.") for name in self.parameters if name.startswith(f"{child}."))


def module_of(network: nn.Module, class_name: str, settings: Mapping[str, Any], *, frozen: str = "-") -> Module:
    """A network of ours as a module of the reference; layers whose name begins with `frozen` are buffers."""
    parameters = frozenset(name for name, _ in network.named_parameters() if not name.startswith(frozen))
    return Module(class_name, dict(network.state_dict()), settings, parameters)


def dumped(networks: Mapping[str, Any], *, protocol: int = 4) -> bytes:
    """The bytes of a file with these networks."""
    augment = Module("AugmentPipe", {"p": torch.zeros([]), "Hz_geom": torch.ones(12)})
    content = {"training_set_kwargs": EasyDict(path="/data/tiles.zip", xflip=True), "augment_pipe": augment}
    with reference_modules():
        return pickle.dumps({**content, **networks}, protocol=protocol)


def write_reference(path: Path, *, protocol: int = 4, **networks: Any) -> Path:
    """A file with these networks."""
    path.write_bytes(dumped(networks, protocol=protocol))
    return path


def generator_settings(config: Mapping[str, Any], **synthesis: Any) -> dict[str, Any]:
    """What the reference made a generator with, whose configuration is given by the names of ours."""
    fixed = {"channel_base": config["channel_base"], "channel_max": config["channel_max"]}
    fixed |= {"num_fp16_res": config["fp16_resolutions"], "conv_clamp": config["conv_clamp"]}
    shape = {name: config[name] for name in ("z_dim", "c_dim", "w_dim")}
    return {
        **shape,
        "img_resolution": config["resolution"],
        "img_channels": 3,
        "mapping_kwargs": EasyDict(num_layers=config["mapping_layers"]),
        "synthesis_kwargs": EasyDict(fixed | {"architecture": config["architecture"]} | synthesis),
    }


def discriminator_settings(config: Mapping[str, Any], **epilogue: Any) -> dict[str, Any]:
    """What the reference made a discriminator with, whose configuration is given by the names of ours."""
    shape = {name: config[name] for name in ("c_dim", "architecture", "channel_base", "channel_max", "conv_clamp")}
    return {
        **shape,
        "img_resolution": config["resolution"],
        "img_channels": 3,
        "num_fp16_res": config["fp16_resolutions"],
        "block_kwargs": EasyDict(freeze_layers=1),
        "mapping_kwargs": EasyDict(num_layers=config["mapping_layers"]) if config["c_dim"] else EasyDict(),
        "epilogue_kwargs": EasyDict({"mbstd_group_size": config["mbstd_group"]} | epilogue),
    }


def reference_generator(generator: Generator, **synthesis: Any) -> Module:
    """A generator of ours as the reference has it."""
    return module_of(generator, "Generator", generator_settings(asdict(generator.config), **synthesis))


def reference_discriminator(discriminator: Discriminator, *, frozen: str = "-", **epilogue: Any) -> Module:
    """A discriminator of ours as the reference has it."""
    settings = discriminator_settings(asdict(discriminator.config), **epilogue)
    return module_of(discriminator, "Discriminator", settings, frozen=frozen)
