"""Tiles of the phantom together with their exact truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from hdgan.labels import Image, LabelMap
from tiling import Tile, TileSet
from tiling.errors import InputError


def read_truth(path: Path) -> LabelMap:
    """The truth map (H, W) uint8 that `make_phantom` wrote."""
    labels: LabelMap = tifffile.imread(path)
    return labels


def truth_of(tile: Tile, truth: LabelMap, classes: int) -> LabelMap:
    """(size, size) uint8: the commonest class of the truth under each pixel of a tile."""
    scale = round(tile.scale)
    if scale != tile.scale:
        raise InputError(f"the phantom's truth can be read at whole multiples of its resolution, not at {tile.scale}")
    extent = tile.size * scale
    region = truth[tile.y : tile.y + extent, tile.x : tile.x + extent]
    blocks = region.reshape(tile.size, scale, tile.size, scale)
    votes = np.stack([(blocks == index).sum(axis=(1, 3)) for index in range(classes)])
    labels: LabelMap = votes.argmax(axis=0).astype(np.uint8)
    return labels


def labelled_tiles(
    tiles: TileSet, truth: LabelMap, classes: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Tiles (N, size, size, 3) uint8 and their truth (N, size, size) uint8."""
    images: list[Image] = [tiles.read(i) for i in range(len(tiles))]
    return np.stack(images), np.stack([truth_of(tiles[i], truth, classes) for i in range(len(tiles))])
