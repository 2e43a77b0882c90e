"""Samples of augmenters beside real images: `python benchmarks/augmenter_grid.py OUT.png [--images FILE] [--steps N]`.

Of each class a row of real images, and one of samples of dcgan, cvae and cvaedcgan each: the first, none chosen.
The images are an `.npz` file of MedMNIST or a folder, as `hdgan augment fit` takes them; or else patches of a slide
that is drawn for it, a procedural kidney biopsy as the demo's, of which nothing comes from a patient: 32 px of 2 um,
classed by what three fifths of them are.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

METHODS = ("dcgan", "cvae", "cvaedcgan")
SETTINGS: Mapping[str, Any] = {"steps": 600, "batch": 64, "width": 32}
"""Of all three: what makes samples of 28 to 32 px in a minute or two on two cores."""

CLASSES = ("cortical tubulointerstitium", "glomerulus", "artery")  # of the phantom: those larger than a patch
SHARE = 0.6
COLUMNS, ENLARGED, GAP, MARGIN = 6, 2, 2, 190


def phantom_patches(folder: Path) -> Any:
    """Labelled images of a phantom that is drawn, tiled and left in a folder."""
    import numpy as np

    from hdgan.augmenters import LabelledImages
    from hdgan.demo.phantom import make_phantom
    from hdgan.demo.truth import labelled_tiles, read_truth
    from hdgan.labels import KIDNEY
    from tiling import tile_archive

    (folder / "slides").mkdir()
    make_phantom(folder / "slides" / "phantom.tiff", folder / "truth.tiff", size=8192, mpp=1)
    tiles = tile_archive(folder / "slides", folder / "tiles", size=32, mpp=2, inspect=False, pictures=False)
    pixels, truth = labelled_tiles(tiles, read_truth(folder / "truth.tiff"), len(KIDNEY))
    shares = np.stack([(truth == KIDNEY.index(name)).mean(axis=(1, 2)) for name in CLASSES], axis=1)
    clear = shares.max(axis=1) >= SHARE
    return LabelledImages(pixels[clear], shares[clear].argmax(axis=1), CLASSES, ("CC0-1.0",))


def drawn_rows(images: Any, folder: Path, **settings: Any) -> dict[str, Any]:
    """{class and what it is of: images (n, H, W, C) uint8}."""
    import numpy as np

    from hdgan.augmenters import create

    fitted = [create(name, **{**SETTINGS, **settings}).fit(images, run=folder / name) for name in METHODS]
    rows = {}
    for label, name in enumerate(images.classes):
        rows[f"{name}\nreal"] = images.pixels[np.flatnonzero(images.labels == label)[:COLUMNS]]
        rows |= {f"{name}\n{made.name}": made.sample(COLUMNS, label, seed=0) for made in fitted}
    return rows


def picture(rows: Mapping[str, Any]) -> Any:
    """Rows of images, each after its name, (h, w, 3) uint8."""
    import numpy as np
    from PIL import Image, ImageDraw

    from hdgan.augmenters.batches import as_rgb

    edge = ENLARGED * next(iter(rows.values())).shape[1]
    step = edge + GAP
    sheet = Image.new("RGB", (MARGIN + COLUMNS * step, len(rows) * step), "white")
    draw = ImageDraw.Draw(sheet)
    for row, (name, images) in enumerate(rows.items()):
        draw.text((4, row * step + edge / 2), name, fill="black", anchor="lm", font_size=13)
        for column, image in enumerate(as_rgb(images)):
            enlarged = Image.fromarray(image).resize((edge, edge), Image.Resampling.NEAREST)
            sheet.paste(enlarged, (MARGIN + column * step, row * step))
    return np.array(sheet)


def main() -> None:
    """Fit, draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--steps", type=int, default=SETTINGS["steps"])
    asked = parser.parse_args()

    from hdgan.augmenters import open_images
    from hdgan.pictures import write_png

    with tempfile.TemporaryDirectory() as folder:
        images = open_images(asked.images)["train"] if asked.images else phantom_patches(Path(folder))
        print(images.counts)
        write_png(asked.out, picture(drawn_rows(images, Path(folder), steps=asked.steps)))


if __name__ == "__main__":
    main()
