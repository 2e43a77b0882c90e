"""Feature spaces by what a user calls them."""

from __future__ import annotations

from pathlib import Path

import torch

from hdgan.embedding.inception import inception_space
from hdgan.embedding.random_features import RANDOM_SPACE, random_space
from hdgan.embedding.space import ModuleSpace
from tiling.errors import InputError


def open_space(which: str | Path, device: torch.device | str = "cpu") -> ModuleSpace:
    """The feature space `random-conv-v1`, or Inception's with the weights in a file.

    Raises
    ------
    InputError
        For another name that is no file, and for what :func:`inception_space` refuses.
    """
    if str(which) == RANDOM_SPACE:
        return random_space(device)
    if not Path(which).exists():
        raise InputError(f"the feature space is {RANDOM_SPACE}, or a file with Inception's weights; {which} is neither")
    return inception_space(which, device)
