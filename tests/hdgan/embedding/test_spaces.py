"""Feature spaces: any module, and the one without weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hdgan.embedding import ModuleSpace, open_space, random_space
from hdgan.embedding.random_features import RandomConvolutions
from hdgan.metrics import compare_distributions
from tiling.errors import InputError


def textures(seed: int, count: int, *, grain: int, size: int = 32) -> np.ndarray:
    """(N, size, size, 3) uint8: coloured noise in squares of `grain` px."""
    draws = np.random.default_rng(seed)
    coarse = draws.integers(90, 220, (count, size // grain, size // grain, 3), np.uint8)
    return coarse.repeat(grain, axis=1).repeat(grain, axis=2)


class Listed:
    def __init__(self, images: np.ndarray) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> np.ndarray:
        return self.images[index]


@pytest.mark.parametrize(("span", "black", "white"), [((-1.0, 1.0), -1, 1), ((0.0, 1.0), 0, 1)])
def test_a_module_gets_the_span_that_it_wants(span: tuple[float, float], black: float, white: float) -> None:
    space = ModuleSpace(lambda x: x.amax(dim=(2, 3)), name="brightest", dimensions=3, span=span)
    images = np.zeros((2, 4, 5, 3), np.uint8)
    images[1, 2, 2] = 255
    found = space.embed(images)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [[black] * 3, [white] * 3], atol=1e-6)
    assert space.embed(images[:0]).shape == (0, 3)


def test_a_network_is_put_into_evaluation_mode() -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5)).train()
    ModuleSpace(network, name="dropout", dimensions=12).embed(np.zeros((1, 2, 2, 3), np.uint8))
    assert not network[1].training


def test_other_images_and_other_features_are_refused() -> None:
    space = ModuleSpace(lambda x: x, name="unpooled", dimensions=3)
    with pytest.raises(InputError, match=r"unpooled gives features of shape \(1, 3, 8, 8\) for 1 images, not \(1, 3\)"):
        space.embed(np.zeros((1, 8, 8, 3), np.uint8))
    with pytest.raises(InputError, match=r"must be \(N, H, W, 3\) uint8, not \(1, 3, 8, 8\) float64"):
        space.embed(np.zeros((1, 3, 8, 8)))
    with pytest.raises(InputError, match="images of 8 px at least"):
        random_space().embed(np.zeros((1, 4, 8, 3), np.uint8))
    with pytest.raises(InputError, match="or a file with Inception's weights; vgg is neither"):
        open_space("vgg")


def test_random_features_are_the_same_in_every_version_and_company() -> None:
    images = textures(0, 40, grain=2)
    space = open_space("random-conv-v1")
    found = space.embed(images)
    assert (space.name, found.shape) == ("random-conv-v1", (40, space.dimensions))
    np.testing.assert_allclose(space.embed(images[7:8]), found[7:8], rtol=1e-4, atol=1e-5)
    first = RandomConvolutions().first.flatten()[:3] / math.sqrt(2 / 27)
    np.testing.assert_allclose(first, [1.76405235, 0.40015721, 0.97873798], rtol=1e-6)  # numpy's, of seed 0, ever since


def test_random_features_tell_structure_and_colour_apart() -> None:
    space = random_space()
    real = Listed(textures(1, 60, grain=4))
    distances = [
        compare_distributions(real, Listed(fake), space=space, subsets=2).kernel.mean
        for fake in (textures(2, 60, grain=4), textures(2, 60, grain=2), textures(2, 60, grain=4)[..., ::-1] // 2)
    ]
    assert abs(distances[0]) < min(distances[1:]) / 20


def test_half_of_the_random_filters_see_no_colour_but_structure() -> None:
    layer = RandomConvolutions().first
    torch.testing.assert_close(layer[8:].sum(dim=(2, 3)), torch.zeros(8, 3), atol=1e-5, rtol=0)
    assert layer[:8].sum(dim=(2, 3)).abs().max() > 0.5


def test_random_features_work_at_any_size() -> None:
    space = random_space()
    for size in (8, 16, 129):
        found = space.embed(np.full((2, size, size, 3), 200, np.uint8))
        assert found.shape == (2, 256)
        assert np.isfinite(found).all()
