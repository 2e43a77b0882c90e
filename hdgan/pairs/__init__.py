"""Image-mask pairs: made from latents, kept with their uncertainty, read one at a time, exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiling.lazy import lazy_names

if TYPE_CHECKING:
    from hdgan.pairs.export import export_pairs
    from hdgan.pairs.manifest import read_ledger
    from hdgan.pairs.memorisation import TrainingTiles, training_tiles
    from hdgan.pairs.pairset import Pair, PairSet
    from hdgan.pairs.synthesis import synthesize

__all__ = ["Pair", "PairSet", "TrainingTiles", "export_pairs", "read_ledger", "synthesize", "training_tiles"]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Pair": "hdgan.pairs.pairset",
        "PairSet": "hdgan.pairs.pairset",
        "TrainingTiles": "hdgan.pairs.memorisation",
        "export_pairs": "hdgan.pairs.export",
        "read_ledger": "hdgan.pairs.manifest",
        "synthesize": "hdgan.pairs.synthesis",
        "training_tiles": "hdgan.pairs.memorisation",
    },
)
