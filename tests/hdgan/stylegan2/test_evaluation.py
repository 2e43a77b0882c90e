"""The distance to held-out tiles, as a training asks for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from small_study import make_small_generator

from hdgan.conditions import Conditions
from hdgan.embedding import random_space
from hdgan.metrics import Moments, frechet_distance
from hdgan.stylegan2 import (
    DistanceToHeldOut,
    Generator,
    Rendered,
    held_out_evaluation,
    train_config,
)
from hdgan.stylegan2.evaluation import draw_latents, steps_of
from tiling.errors import InputError
from training.metrics import Level


class Tiles:
    """A generator's own images, or grey noise: tiles that are known to be near or far."""

    def __init__(self, images: list[np.ndarray]) -> None:
        self.images, self.read_so_far = images, 0

    def __len__(self) -> int:
        return len(self.images)

    def read(self, index: int) -> np.ndarray:
        self.read_so_far += 1
        return self.images[index]


def own_images(generator: Generator, seeds: range) -> list[np.ndarray]:
    return list(Rendered(generator, draw_latents(generator, seeds)))


def test_a_generator_is_nearer_to_its_own_images_than_to_noise() -> None:
    generator = make_small_generator()
    near = Tiles(own_images(generator, range(100, 140)))
    far = Tiles(list(np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)))
    found = [
        DistanceToHeldOut(tiles, range(5, 40), space=random_space(), images=30)(generator) for tiles in (near, far)
    ]
    names = ("fd", "kid", "precision", "recall", "density", "coverage")
    assert list(found[0]) == [f"{name} random-conv-v1" for name in names]
    assert found[0]["coverage random-conv-v1"] > 0.5 > found[1]["coverage random-conv-v1"] == 0
    assert all(isinstance(value, Level) for value in found[0].values())
    assert json.loads(json.dumps(found[0])) == found[0]
    assert found[0]["fd random-conv-v1"] < found[1]["fd random-conv-v1"] / 3
    assert found[0]["kid random-conv-v1"] < found[1]["kid random-conv-v1"] / 5


def test_the_distance_is_the_same_after_a_resume_and_disturbs_no_other_draw() -> None:
    generator = make_small_generator()
    tiles = Tiles(own_images(generator, range(100, 112)))
    distance = DistanceToHeldOut(tiles, range(12), space=random_space(), images=10)
    torch.manual_seed(1)
    np.random.seed(1)  # what others draw from
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()
    first = distance(generator)
    read_once = tiles.read_so_far
    assert distance(generator) == first
    assert tiles.read_so_far - read_once <= 1  # features of tiles are kept; one is looked at for its size
    assert DistanceToHeldOut(tiles, range(12), space=random_space(), images=10)(generator) == first
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]


def test_a_conditional_generator_is_told_what_to_draw() -> None:
    torch.manual_seed(0)
    generator = Generator(resolution=8, z_dim=4, w_dim=4, c_dim=2, channel_base=64, channel_max=8, mapping_layers=1)
    tiles = Tiles([np.full((8, 8, 3), shade, np.uint8) for shade in (100, 150, 200)])
    with pytest.raises(InputError, match=r"how frequent its classes are: say what to draw by c, \(6, 2\) float32"):
        DistanceToHeldOut(tiles, range(3), space=random_space(), images=6)(generator.eval())
    c = np.eye(2, dtype=np.float32)[[0, 1, 0, 1, 0, 1]]
    found = DistanceToHeldOut(tiles, range(3), space=random_space(), images=6, c=c)(generator)
    assert np.isfinite(list(found.values())).all()
    generator.classes = {"HE": 1, "PAS": 3}  # which a generator of a file knows
    of_counts = Conditions(generator.classes).of_seeds(range(6))
    drawn, told = (DistanceToHeldOut(tiles, range(3), space=random_space(), images=6, c=c) for c in (None, of_counts))
    assert drawn(generator) == told(generator)
    with pytest.raises(InputError, match="for the 5 images that are drawn, not for 6"):
        DistanceToHeldOut(tiles, range(3), space=random_space(), images=5, c=c)


def test_each_class_has_its_own_distance() -> None:
    torch.manual_seed(0)
    generator = Generator(resolution=8, z_dim=4, w_dim=4, c_dim=3, channel_base=64, channel_max=8, mapping_layers=1)
    generator.eval().classes = {"HE": 10, "PAS": 10, "rare": 1}
    tiles = Tiles([np.full((8, 8, 3), shade, np.uint8) for shade in range(0, 150, 10)])
    classes = ["HE"] * 6 + [None, "rare"] + ["PAS"] * 7
    found = DistanceToHeldOut(tiles, range(15), space=random_space(), images=40, classes=classes)(generator)
    both = [f"{measure} random-conv-v1" for measure in ("fd", "kid")]
    assert [name for name in found if name[:3] in ("fd ", "kid")] == [
        *both,
        *(f"{name} HE" for name in both),
        *(f"{name} PAS" for name in both),
    ]
    drawn = draw_latents(generator, range(40))
    of_class = np.flatnonzero([name == "PAS" for name in Conditions.of(generator).names_of(drawn.c)])
    space = random_space()
    real, fake = (space.embed(np.stack(images)) for images in (tiles.images[8:], [
        list(Rendered(generator, drawn))[place] for place in of_class
    ]))  # fmt: skip
    assert found["fd random-conv-v1 PAS"] == pytest.approx(frechet_distance(Moments.of(real), Moments.of(fake)), 1e-4)
    with pytest.raises(InputError, match="each of the 15 held-out tiles needs a class, not 14 of them"):
        DistanceToHeldOut(tiles, range(15), space=random_space(), classes=classes[1:])


class LabelledTiles(Tiles):
    def labels(self, name: str) -> list[str | None]:
        return ["HE" if index % 2 else "PAS" for index in range(len(self))]


def test_a_conditional_training_is_measured_class_by_class() -> None:
    config = train_config("tiny", resolution=8, kimg=1, c_dim=2)
    tiles = LabelledTiles([np.full((8, 8, 3), shade, np.uint8) for shade in range(40)])
    of = held_out_evaluation(tiles, range(20, 40), config, space=random_space(), condition=["stain"], images=30)
    generator = Generator(resolution=8, z_dim=4, w_dim=4, c_dim=2, channel_base=64, channel_max=8, mapping_layers=1)
    generator.eval().classes = {"HE": 10, "PAS": 10}
    assert [name.removeprefix("fd random-conv-v1") for name in of.measure(generator) if name.startswith("fd")] == [
        "", " HE", " PAS",
    ]  # fmt: skip


def test_how_often_to_evaluate_is_checked() -> None:
    assert (steps_of(0.1, 8), steps_of(0.001, 8), steps_of(None, 8)) == (12, 1, None)
    with pytest.raises(InputError, match=r"how often, kimg must be a number from 0\.001 to .*, not 0\.0"):
        steps_of(0.0, 8)


def test_what_cannot_be_compared_is_refused() -> None:
    tiles = Tiles([np.zeros((16, 16, 3), np.uint8)] * 3)
    with pytest.raises(InputError, match="at least 2 held-out tiles, not 1"):
        DistanceToHeldOut(tiles, [0], space=random_space())
    with pytest.raises(InputError, match=r"differ in size: \(16, 16, 3\) and \(32, 32, 3\)"):
        DistanceToHeldOut(tiles, range(3), space=random_space(), images=2)(make_small_generator())
