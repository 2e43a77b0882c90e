"""Draw the README's picture from a finished demo: `python docs/make_pictures.py demo-study`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from hdgan.demo.report import pair_strip
from hdgan.labels import KIDNEY
from hdgan.pairs import PairSet
from hdgan.pictures import write_png

ROWS, EDGE = 4, 128


def main(study: Path) -> None:
    """Of the less uncertain half of the pairs those with the most glomerulus: image, mask, both, uncertainty."""
    pairs = PairSet.open(study / "pairs").select(drop_uncertain=0.5)
    glomeruli = [np.mean(pair.mask() == KIDNEY.index("glomerulus")) for pair in pairs]
    strips = [pair_strip(pairs, int(i), size=EDGE) for i in np.argsort(glomeruli)[: -2 * ROWS - 1 : -1]]
    gap = np.full((EDGE, EDGE // 8, 3), 255, np.uint8)
    rows = [np.concatenate([left, gap, right], axis=1) for left, right in zip(strips[::2], strips[1::2], strict=True)]
    write_png(Path(__file__).parent / "images" / "pairs.png", np.concatenate(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
