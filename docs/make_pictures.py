"""Draw the README's picture from a finished demo: `python docs/make_pictures.py demo-study`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hdgan.demo.report import pair_strip
from hdgan.pairs import PairSet
from hdgan.pictures import write_png

ROWS, EDGE = 4, 128


def main(study: Path) -> None:
    """The pairs with the most even mix of classes, as image, mask, mask over image, uncertainty."""
    pairs = PairSet.open(study / "pairs")
    table = pairs.table()
    fractions = np.stack([table[name] for name in table.column_names if name.startswith("fraction_")])
    entropy = -(fractions * np.log(np.maximum(fractions, 1e-9))).sum(axis=0)
    strips = [pair_strip(pairs, int(i), size=EDGE) for i in np.argsort(-entropy)[: 2 * ROWS]]
    gap = np.full((EDGE, EDGE // 8, 3), 255, np.uint8)
    rows = [np.concatenate([left, gap, right], axis=1) for left, right in zip(strips[::2], strips[1::2], strict=True)]
    write_png(Path(__file__).parent / "images" / "pairs.png", np.concatenate(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
