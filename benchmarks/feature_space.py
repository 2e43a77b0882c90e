"""What the random features tell apart: `python benchmarks/feature_space.py [--folder FOLDER]`.

Draws two phantom slides, each of which is a patient and so a fold. Tiles of the second, as they are and spoilt, and
images of the demo's generator are compared with tiles of the first. The table is Markdown.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

sys.path[0] = str(Path(__file__).resolve().parents[1])
# instead of the folder of this file, which holds another `tiling`

import tiling
from hdgan.demo.phantom import make_phantom
from hdgan.demo.run import WEIGHTS
from hdgan.embedding import random_space
from hdgan.labels import Image
from hdgan.metrics import Chosen, DistributionReport, Images, compare_distributions
from hdgan.stylegan2 import Rendered, load_generator
from hdgan.stylegan2.evaluation import draw_latents


@dataclass(frozen=True)
class Spoilt:
    """Images with something done to each."""

    images: Images
    spoil: Callable[[Image], Image]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> Image:
        return self.spoil(self.images.read(index))


def tiles_of_two_patients(folder: Path, size: int) -> tuple[Images, Images]:
    for seed in (0, 1):
        make_phantom(folder / f"slides/{seed}.tiff", folder / f"truth/{seed}.tiff", size=size, seed=seed)
    tiles = tiling.tile_archive(
        folder / "slides", folder / "tiles", size=64, mpp=4.0, overlap=32, tissue=0.1, folds=2, pictures=False
    )
    folds = tiles.table()["fold"].to_pylist()
    first, second = ([i for i, fold in enumerate(folds) if fold == which] for which in (0, 1))
    return Chosen(tiles, first), Chosen(tiles, second)


def print_row(name: str, report: DistributionReport) -> None:
    overlap, memory = report.overlap, report.memorisation
    values = [f"{report.frechet:.2f}", f"{report.kernel.mean:.4f} ± {report.kernel.deviation:.4f}"]
    values += [f"{value:.2f}" for value in (overlap.precision, overlap.recall, overlap.density, overlap.coverage)]
    values += ["–", "–"] if memory is None else [f"{memory.copied:.0%}", f"{memory.z:.1f}"]
    print(f"| {name} | {report.fake} | " + " | ".join(values) + " |")


def print_table(folder: Path, size: int) -> None:
    real, other = tiles_of_two_patients(folder, size)
    generator, space = load_generator(WEIGHTS / "generator.safetensors"), random_space()
    print(f"{platform.machine()}, Python {platform.python_version()}; {len(real)} real tiles of one slide\n")
    print("| compared with them | images | Frechet | kernel | precision | recall | density | coverage | near | C_T |")
    print("|---" * 10 + "|")
    print_row("tiles of another slide", compare_distributions(real, other, space=space))
    for name, spoil in {
        "these, blurred by 0.7 px": lambda image: gaussian_filter(image, (0.7, 0.7, 0)),
        "these, 5% darker": lambda image: (image * 0.95).astype(np.uint8),
    }.items():
        print_row(name, compare_distributions(real, Spoilt(other, spoil), space=space))
    for psi in (1.0, 0.7, 0.5):
        images = Rendered(generator, draw_latents(generator, range(300), psi=psi))
        print_row(f"the demo's generator, psi {psi}", compare_distributions(real, images, space=space, training=other))
    turned = Spoilt(other, lambda image: np.rot90(image).copy())
    for name, copies in {"copies of the training tiles": other, "the same, turned": turned}.items():
        print_row(name, compare_distributions(real, copies, space=space, training=other))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where slides and tiles go; a temporary one if left out")
    parser.add_argument("--size", type=int, default=4096, help="edge of the slides, px")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        print_table(arguments.folder or Path(temporary), arguments.size)


if __name__ == "__main__":
    main()
