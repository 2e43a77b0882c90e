"""Network files: weights in safetensors, shape and origin as JSON in the header."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from hdgan.checks import check_number, check_texts
from hdgan.stylegan2.discriminator import Discriminator
from hdgan.stylegan2.generator import Generator, GeneratorConfig
from hdgan.stylegan2.growing import grow_discriminator
from tiling.errors import InputError
from training.checkpoint import build_network, load_strictly, load_weights, save_weights

GENERATOR_KIND = "generator"
DISCRIMINATOR_KIND = "discriminator"


def save_generator(generator: Generator, path: Path | str, *, about: Mapping[str, Any] | None = None) -> None:
    """Write a generator atomically, with its licence, classes and resolution; `about` is more JSON to keep with it."""
    header = {"config": asdict(generator.config), "licence": list(generator.licence), **(about or {})}
    header |= {"classes": generator.classes} if generator.classes else {}
    header |= {"mpp": generator.mpp} if generator.mpp is not None else {}
    save_weights(Path(path), generator.state_dict(), kind=GENERATOR_KIND, about=header)


def load_generator(path: Path | str) -> Generator:
    """Read a generator that :func:`save_generator` wrote, in evaluation mode, on the CPU.

    Its large noise maps stay in the file (see :func:`training.mapped.mapped_floats`), and windows read what they need
    of them. So as long as the generator is used, the file may be replaced or removed, but not written over in place.

    Raises
    ------
    InputError
        When the file is no generator of ours, or its tensors do not fit its configuration.
    """
    path = Path(path)
    tensors, about = load_weights(path, kind=GENERATOR_KIND, mapped=lambda name: name.endswith(".noise_const"))
    generator = build_network(lambda: _generator_of(about), tensors, path)
    return generator.eval().requires_grad_(False)


def _generator_of(about: Mapping[str, Any]) -> Generator:
    """A generator as a file's header describes it."""
    config, licence = about.get("config"), about.get("licence", [])
    names = {field.name for field in fields(GeneratorConfig)}
    if not isinstance(config, dict) or not set(config) <= names or "resolution" not in config:
        raise InputError("no configuration of a generator in the header")
    check_texts("licence", licence)
    generator = Generator.from_config(GeneratorConfig(**config))
    generator.licence = tuple(licence)
    generator.classes = _classes_of(about.get("classes", {}), generator.config.c_dim)
    if "mpp" in about:
        check_number("mpp", about["mpp"], 1e-6, 1e6, whole=False)
        generator.mpp = float(about["mpp"])
    return generator


def _classes_of(classes: object, c_dim: int) -> dict[str, int]:
    """The classes that a file's header names, if it names any, checked to be those of c."""
    if not classes and isinstance(classes, dict):
        return {}
    if not isinstance(classes, dict) or len(classes) != c_dim:
        raise InputError(
            f"the header must name {c_dim} classes with their numbers of tiles, not {reprlib.repr(classes)}"
        )
    for name, count in classes.items():
        check_number(f"the number of tiles of class {name!r}", count, 1, 2**53)
    return dict(classes)


def save_discriminator(discriminator: Discriminator, path: Path | str, *, about: Mapping[str, Any]) -> None:
    """Write a discriminator, with which a training can start again."""
    header = {"config": asdict(discriminator.config), **about}
    save_weights(Path(path), discriminator.state_dict(), kind=DISCRIMINATOR_KIND, about=header)


def load_discriminator_into(discriminator: Discriminator, path: Path | str, *, grow: bool = False) -> None:
    """Give a discriminator the weights of a file; an :class:`InputError` if the shapes differ.

    With `grow` those are of half its resolution.
    """
    tensors, about = load_weights(Path(path), kind=DISCRIMINATOR_KIND, needs=["config"])
    if grow:
        grow_discriminator(discriminator, tensors, _resolution_of(about["config"], Path(path)))
    else:
        load_strictly(discriminator, tensors, Path(path))


def _resolution_of(config: object, path: Path) -> int:
    """The resolution in a file's header, checked."""
    if not isinstance(config, dict) or "resolution" not in config:
        raise InputError(f"{path} has no configuration of a discriminator in its header")
    resolution = config["resolution"]
    check_number(f"the resolution in the header of {path}", resolution, 4, 2**20)
    return int(resolution)
