import subprocess
import sys

import numpy as np
import pytest

from hdgan.annotations import pick
from tiling.errors import InputError


def kinds(copies):
    """Images of four kinds (two plain colours, stripes, noise), `copies` of each with small differences."""
    generator = np.random.default_rng(0)
    x = np.arange(32)[None, :]
    plain = np.ones((32, 32, 1))
    bases = [
        plain * (220, 150, 180),
        plain * (120, 90, 190),
        ((x // 2 % 2)[..., None] * 120 + 60) * plain,
        generator.integers(0, 256, (32, 32, 3)).astype(float),
    ]
    noisy = [base + generator.normal(0, 3, base.shape) + np.zeros((32, 32, 3)) for base in bases for _ in range(copies)]
    return np.clip(noisy, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("seed", range(5))
def test_one_image_of_every_kind_is_picked(seed):
    picked = pick(kinds(6), 4, seed=seed)
    assert [index // 6 for index in picked] == [0, 1, 2, 3]


def test_latents_are_picked_from_every_cluster_and_in_its_middle():
    generator = np.random.default_rng(1)
    centres = np.eye(5, 16) * 20
    w = (centres[:, None] + generator.normal(0, 1, (5, 30, 16))).reshape(-1, 16).astype(np.float32)
    picked = pick(w, 5, seed=3)
    assert [index // 30 for index in picked] == [0, 1, 2, 3, 4]
    distances = np.linalg.norm(w - np.repeat(centres, 30, axis=0), axis=1).reshape(5, 30)
    assert all(distances[k, index % 30] < np.median(distances[k]) for k, index in enumerate(picked))


def test_the_same_seed_picks_the_same_and_all_can_be_picked():
    images = kinds(3)
    assert pick(images, 5, seed=7) == pick(list(images), 5, seed=7)
    assert pick(images, len(images), seed=0) == list(range(len(images)))


def test_copies_are_picked_only_when_nothing_else_is_left():
    images = np.repeat(kinds(1), 3, axis=0)
    assert [index // 3 for index in pick(images, 4, seed=0)] == [0, 1, 2, 3]
    assert len(set(pick(images, 9, seed=0))) == 9


@pytest.mark.parametrize("n", [0, 13])
def test_a_number_out_of_reach_is_refused(n):
    with pytest.raises(InputError, match=f"cannot pick {n} of 12"):
        pick(kinds(3), n, seed=0)


def test_images_of_another_kind_are_refused():
    with pytest.raises(InputError, match="uint8, not"):
        pick(np.zeros((3, 8, 8, 3), np.float32), 1, seed=0)


def test_annotations_need_no_torch():
    code = "import hdgan.annotations, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
