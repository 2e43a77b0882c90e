"""Image-mask pairs: made from latents, kept with their uncertainty, read one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiling.lazy import lazy_names

if TYPE_CHECKING:
    from hdgan.pairs.manifest import read_ledger
    from hdgan.pairs.pairset import Pair, PairSet
    from hdgan.pairs.synthesis import synthesize

__all__ = ["Pair", "PairSet", "read_ledger", "synthesize"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Pair": "hdgan.pairs.pairset",
        "PairSet": "hdgan.pairs.pairset",
        "read_ledger": "hdgan.pairs.manifest",
        "synthesize": "hdgan.pairs.synthesis",
    },
)
