"""How near a pair is to the tiles of the training is in its row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from small_study import make_latents

from hdgan.embedding import random_space
from hdgan.image_folder import ImageFolder
from hdgan.pairs import synthesize, training_tiles
from hdgan.pictures import write_png
from hdgan.quality import TileSplit
from hdgan.stylegan2 import synthesize_image
from tiling.errors import InputError


@pytest.fixture(scope="module")
def latents(small_generator):
    return make_latents(small_generator, 3)


@pytest.fixture(scope="module")
def tiles(small_generator, latents, tmp_path_factory) -> ImageFolder:
    """Noise, and among it what two of the latents give, one of them mirrored; the other is held out."""
    import torch

    folder = tmp_path_factory.mktemp("tiles")
    images = [np.random.default_rng(i).integers(0, 256, (32, 32, 3)).astype(np.uint8) for i in range(6)]
    for place, i in ((2, 1), (4, 2)):
        images[place] = synthesize_image(small_generator, torch.tensor(latents.w[i : i + 1]))[:, ::-1]
    for number, image in enumerate(images):
        write_png(folder / f"tile_{number}.png", np.ascontiguousarray(image))
    return ImageFolder(folder)


@pytest.mark.parametrize("edge", [16, 256])
def test_the_nearest_training_tile_and_its_distance_are_noted(
    edge: int, small_generator, random_ensemble, latents, tiles, tmp_path: Path
) -> None:
    split = TileSplit(training=[0, 1, 2, 3, 5], held_out=[4], fold=None)
    near = training_tiles(tiles, split, space=random_space(), resolution=32, edge=edge, kept=tmp_path / "kept")
    assert near.edge == min(edge, 32)
    pairs = synthesize(small_generator, random_ensemble, latents, tmp_path / "pairs", window=12, tiles=near)
    places, distances = (pairs.table()[f"nearest_{what}"].to_pylist() for what in ("tile", "distance"))
    assert places[1] == 2
    assert distances[1] < 0.1 * min(distances[0], distances[2])
    assert 4 not in places
    with pytest.raises(InputError, match="made from a comparison with other training tiles, or with none"):
        synthesize(small_generator, random_ensemble, latents, tmp_path / "pairs", window=12)


def test_without_tiles_nothing_is_noted(small_generator, random_ensemble, latents, tmp_path: Path) -> None:
    pairs = synthesize(small_generator, random_ensemble, latents, tmp_path / "pairs")
    assert pairs.table()["nearest_tile"].null_count == pairs.table()["nearest_distance"].null_count == 3


def test_comparisons_that_cannot_be_are_refused(tiles) -> None:
    split = TileSplit(training=[0], held_out=[], fold=None)
    with pytest.raises(InputError, match="power of two, such as 256, not 20"):
        training_tiles(tiles, split, space=random_space(), resolution=32, edge=20)
    with pytest.raises(InputError, match="no training tiles"):
        training_tiles(tiles, TileSplit([], [0], None), space=random_space(), resolution=32)
