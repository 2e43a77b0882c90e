"""StyleGAN2-ADA as an augmenter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_augmenters import small, two_classes

from hdgan.augmenters import create
from hdgan.augmenters.stylegan2 import FramedImages
from hdgan.latents import Latents
from hdgan.stylegan2 import Rendered, load_generator, train
from tiling.errors import InputError
from training.draws import numpy_draws


@pytest.mark.parametrize(("size", "before"), [(28, 2), (17, 7), (32, 0)])
def test_images_are_framed_by_their_own_mirror_images(size: int, before: int) -> None:
    images, middle = two_classes(4, size=size), slice(before, before + size)
    framed = FramedImages(images, 32)
    for i in range(len(framed)):
        tile = framed.read(i)
        assert (tile.shape, tile.dtype) == ((32, 32, 3), np.uint8)
        np.testing.assert_array_equal(tile[middle, middle], images.pixels[i].repeat(3, axis=2))
        if before:
            np.testing.assert_array_equal(tile[before - 1], tile[before + 1])


def test_samples_are_of_the_generator_that_a_training_makes_and_of_the_class_asked_for(tmp_path: Path) -> None:
    images = replace(two_classes(size=28), classes=("right", "left"))
    fitted = small("stylegan2", steps=2, psi=0.7).fit(images, run=tmp_path / "run", seed=4)
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")) == [
        "augmenter.safetensors", "metrics.jsonl", "samples", "stage.json",
    ]  # fmt: skip
    config = fitted.config.of_training(28, seed=4)
    generator = load_generator(train(FramedImages(images, 32), tmp_path / "training", config, condition=["class"]))
    assert list(generator.classes) == ["left", "right"]
    for name in images.classes:
        c = np.array([[name == "left", name == "right"]], np.float32)
        samples = fitted.sample(2, name, seed=1)
        assert samples.shape == (2, 28, 28, 1)
        seed = first_seed(fitted.place(name))
        (image,) = Rendered(generator, Latents.sample(generator, [seed], psi=0.7, c=c, noise="random"))
        np.testing.assert_array_equal(samples[0], image[2:30, 2:30].mean(axis=2, keepdims=True).round())


def first_seed(label: int) -> int:
    return int(numpy_draws(1, f"samples of class {label}").integers(2**32))


def test_settings_that_no_training_takes_are_refused() -> None:
    with pytest.raises(InputError, match=r"preset must be one of auto, .*, not 'huge'"):
        create("stylegan2", preset="huge")
    with pytest.raises(InputError, match="batch 12 is not a multiple of mbstd_group 8"):
        create("stylegan2", preset="paper256", batch=12)
    with pytest.raises(InputError, match="psi must be a number from 0 to 2"):
        create("stylegan2", psi=-1)
