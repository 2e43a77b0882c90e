"""Networks of twice the resolution that begin with what smaller ones have learnt.

Every block goes by its resolution, so all of the smaller networks fit into the larger ones; the blocks of the new
resolution are fresh. Karras et al. 2018 (section 2) grow networks so while they train.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from hdgan.stylegan2.discriminator import Discriminator
from hdgan.stylegan2.generator import Generator
from tiling.errors import InputError


def grow_generator(larger: Generator, smaller: Generator) -> None:
    """Put the weights of a generator into one of twice its resolution.

    The new block's part of the image begins at nothing, where every block adds to the image (architecture "skip"): the
    first images are those of the smaller generator, doubled.

    Raises
    ------
    InputError
        If the resolutions or the networks' widths do not fit; `larger` is as it was.
    """
    _check(larger.resolution, smaller.resolution)
    top = f"synthesis.b{larger.resolution}."
    _put(larger, smaller.state_dict(), new=top, gone=f"synthesis.b{smaller.resolution}.torgb.")
    if larger.config.architecture == "skip":
        torgb = larger.get_submodule(f"{top}torgb")
        assert isinstance(torgb.weight, Tensor)
        torch.nn.init.zeros_(torgb.weight)
    larger.licence = smaller.licence


def grow_discriminator(larger: Discriminator, smaller: Mapping[str, Tensor], resolution: int) -> None:
    """Put the weights of a discriminator of `resolution` px into one of twice that; as for generators."""
    _check(larger.config.resolution, resolution)
    _put(larger, smaller, new=f"b{larger.config.resolution}.", gone=f"b{resolution}.fromrgb.")


def _check(larger: int, smaller: int) -> None:
    if larger != 2 * smaller:
        raise InputError(
            f"the networks to grow from are of {smaller} px, so they grow to {2 * smaller} px, not to {larger}; "
            f"train at {2 * smaller} px first"
        )


def _put(larger: torch.nn.Module, smaller: Mapping[str, Tensor], *, new: str, gone: str) -> None:
    """Take over every tensor; what the larger network has besides must lie in its new block."""
    own = larger.state_dict()
    for name, tensor in own.items():
        if name in smaller and smaller[name].shape != tensor.shape:
            raise InputError(
                f"{name} is {tuple(smaller[name].shape)} in the networks to grow from, and {tuple(tensor.shape)} in "
                "those to train: take the same channel_base, channel_max and widths"
            )
        if name not in smaller and not name.startswith(new):
            raise InputError(f"the networks to grow from have no {name}: they are of another architecture or depth")
    for name in smaller:
        if name not in own and not name.startswith(gone):
            raise InputError(f"the networks to grow from have {name}, which those to train have not")
    larger.load_state_dict({name: smaller.get(name, tensor) for name, tensor in own.items()})
