"""How near each pair's image is to the tiles that its generator was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.labels import Image
from hdgan.metrics import Chosen, FeatureSpace, Turned, nearest
from hdgan.provenance import told_tiles
from hdgan.quality import RealTiles, TileSplit, identity_of, keeping_features
from tiling.errors import InputError

EDGE = 256  # px of the images that are compared


@dataclass(frozen=True)
class TrainingTiles:
    """Features of the tiles of a training, to find the one that an image is nearest to; see :func:`training_tiles`.

    Attributes
    ----------
    edge
        Images are compared averaged down to it, px.
    places
        The tiles' numbers.
    features
        (T, D) float32.
    space
        What made them.
    about
        What tells them from others, as JSON-able values.
    """

    edge: int
    places: Sequence[int]
    features: npt.NDArray[np.float32]
    space: FeatureSpace
    about: dict[str, Any]

    def nearest(self, image: Image) -> tuple[int, float]:
        """The number of the tile nearest to an image (edge, edge, 3) uint8 in any orientation, and its distance."""
        turned = Turned(self.space)
        found, distances = nearest(turned.apart(turned.embed(image[None])), self.features)
        return self.places[int(found[0])], float(distances[0])


def training_tiles(
    tiles: RealTiles,
    split: TileSplit,
    *,
    space: FeatureSpace,
    resolution: int,
    edge: int = EDGE,
    kept: Path | None = None,
) -> TrainingTiles:
    """Compute the features of the tiles that a generator was trained on, averaged down as its images will be.

    Parameters
    ----------
    tiles, split
        The tiles, and which of them the training saw, see :func:`hdgan.quality.training_split`. If it cropped them, one
        crop of each counts.
    space
        What makes features, see :mod:`hdgan.embedding`.
    resolution
        Of the generator, px.
    edge
        Power of two that images and tiles are averaged down to, px; smaller ones are compared as they are.
    kept
        Folder in which the features are kept, as for :func:`hdgan.quality.compare_generator`.

    Raises
    ------
    InputError
        If the edge is no power of two, there is no tile, or one is too small to have been trained on.
    """
    if edge < 1 or edge & (edge - 1):
        raise InputError(f"the edge that images are compared at must be a power of two, such as {EDGE}, not {edge}")
    if not split.training:
        raise InputError("there are no training tiles to compare the pairs with")
    edge = min(edge, resolution)
    shown = split.prepared(tiles, edge)
    with keeping_features(tiles, shown, kept) as embed:
        features = embed(Chosen(shown, split.training), space, what="training tiles")
    about = {
        "space": space.name,
        "edge": edge,
        "tiles": identity_of(tiles),
        "training": told_tiles(split.training),
        "crop": split.crop,
    }
    return TrainingTiles(edge, split.training, features, space, about)
