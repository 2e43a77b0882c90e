"""Image-mask pairs: made from latents, kept with their uncertainty, read one at a time."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdgan.pairs.pairset import Pair, PairSet
    from hdgan.pairs.synthesis import synthesize

__all__ = ["Pair", "PairSet", "synthesize"]

_HOME = {"Pair": "pairset", "PairSet": "pairset", "synthesize": "synthesis"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
