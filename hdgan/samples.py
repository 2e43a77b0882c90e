"""Samples of a generator as they lie in a folder: latents and the images made of them. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from hdgan.latents import Latents
from tiling.stage import completed
from tiling.wording import quoted

LATENTS = "latents.npz"
NEAREST_TABLE = "nearest.csv"
NEAREST_SHEET = "nearest.png"


def image_path(folder: Path, index: int) -> Path:
    """Where the image of a sample is."""
    return folder / "images" / f"image_{index:04d}.png"


def load_samples(folder: Path) -> tuple[Latents, list[Path]]:
    """Latents of a finished sampling and the files of their images, in the same order."""
    completed(folder, made_by=f"hdgan sample --study {quoted(folder.parent)}")
    latents = Latents.load(folder / LATENTS)
    return latents, [image_path(folder, index) for index in range(len(latents))]
