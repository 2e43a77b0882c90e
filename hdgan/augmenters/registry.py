"""The augmenters by name: a new one is a file, and a line here."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import torch

from hdgan.augmenters.base import KIND, Augmenter
from tiling.errors import InputError
from training.checkpoint import read_about
from training.devices import choose_device

_METHODS = {
    "geometric": "hdgan.augmenters.geometric:Geometric",
    "cvae": "hdgan.augmenters.cvae:CVAE",
    "dcgan": "hdgan.augmenters.dcgan:DCGAN",
    "cvaedcgan": "hdgan.augmenters.cvaedcgan:CVAEDCGAN",
    "stylegan2": "hdgan.augmenters.stylegan2:StyleGAN2",
    "gmcl": "hdgan.augmenters.gmcl:GMCL",
}


def names() -> tuple[str, ...]:
    """Names of all methods."""
    return tuple(_METHODS)


def method(name: str) -> type[Augmenter]:
    """The class of a method."""
    if name not in _METHODS:
        raise InputError(f"no augmenter {name!r}; there are: {', '.join(_METHODS)}")
    module, _, attribute = _METHODS[name].partition(":")
    found: type[Augmenter] = getattr(importlib.import_module(module), attribute)
    return found


def create(name: str, **config: Any) -> Augmenter:
    """An augmenter that is to be fitted.

    Parameters
    ----------
    name
        Of :func:`names`.
    config
        Settings of the method that are to be others than its defaults.

    Raises
    ------
    InputError
        For a name that is none, and for settings that the method does not have or take.

    Examples
    --------
    >>> create("dcgan", steps=100).config.steps
    100
    """
    made = method(name)
    return made(made.settings_of(config))


def load(path: Path | str, *, device: str | torch.device = "cpu") -> Augmenter:
    """The augmenter that :meth:`Augmenter.save` wrote, to sample on a device; else an :class:`InputError`."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    about = read_about(path)
    if about.get("kind") != KIND or not isinstance(about.get("config"), dict) or about.get("method") not in names():
        raise InputError(f"{path} is no file of an augmenter; give one made by `hdgan augment fit`")
    return create(about["method"], **about["config"]).take(path).to(choose_device(device))
