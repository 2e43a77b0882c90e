"""A walk through latents as a film."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from hdgan.latents import Latents
from hdgan.stylegan2 import Generator, render
from hdgan.walk import latent_walk
from tiling.errors import InputError


def frames_of(path: Path) -> list[np.ndarray]:
    with Image.open(path) as film:
        return [np.array(frame.convert("RGB")).astype(int) for frame in ImageSequence.Iterator(film)]


@pytest.mark.parametrize("suffix", [".webp", ".png", ".gif"])
def test_a_walk_is_a_film_that_ends_where_it_began(small_generator: Generator, tmp_path: Path, suffix: str) -> None:
    film = latent_walk(small_generator, tmp_path / f"walk{suffix}", [3, 5, 8], frames=8, psi=1)
    frames = frames_of(film)
    assert len(frames) == 24
    with Image.open(film) as opened:
        opened.load()
        assert (opened.size, opened.info["loop"], opened.info["duration"]) == ((32, 32), 0, 40)
    steps = [np.abs(one - other).mean() for one, other in zip(frames, [*frames[1:], frames[0]], strict=True)]
    assert 0 < steps[-1] <= 1.5 * max(steps[:-1])
    apart = np.abs(frames[0] - frames[8]).mean()
    assert max(steps) < apart / 2
    again = latent_walk(small_generator, tmp_path / f"again{suffix}", [3, 5, 8], frames=8, psi=1)
    assert again.read_bytes() == film.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [again.name, film.name]


def test_a_walk_goes_through_the_images_of_its_seeds(small_generator: Generator, tmp_path: Path) -> None:
    film = latent_walk(small_generator, tmp_path / "walk.png", [3, -1, 8], frames=2)
    images = list(render(small_generator, Latents.sample(small_generator, [3, -1, 8])))
    for frame, image in zip(frames_of(film)[::2], images, strict=True):
        np.testing.assert_array_equal(frame, image)


def test_large_images_are_averaged_down_and_classes_are_asked_for(tmp_path: Path) -> None:
    generator = Generator(resolution=16, z_dim=4, w_dim=4, c_dim=2, channel_base=64, channel_max=8, mapping_layers=1)
    generator.eval().classes = {"HE": 1, "PAS": 1}
    film = latent_walk(generator, tmp_path / "walk.png", [0, 1], frames=1, of_class="PAS", size=8)
    c = np.eye(2, dtype=np.float32)[[1, 1]]
    images = np.stack(list(render(generator, Latents.sample(generator, [0, 1], c=c))))
    means = images.reshape(2, 8, 2, 8, 2, 3).mean(axis=(2, 4))
    np.testing.assert_allclose(np.stack(frames_of(film)), means, atol=1)


@pytest.mark.parametrize(
    ("name", "seeds", "changed", "message"),
    [
        ("walk.mp4", [0, 1], {}, "ends in .webp, .png, .gif, not walk.mp4"),
        ("walk.webp", [0], {}, "at least 2 seeds, not 1"),
        ("walk.webp", [0, 1], {"frames": 0}, "frames must be a whole number from 1 to 10000, not 0"),
        ("walk.webp", [0, 1], {"of_class": "PAS"}, "no class 'PAS'"),
    ],
)
def test_what_is_no_walk_is_refused(
    small_generator: Generator, tmp_path: Path, name: str, seeds: list[int], changed: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        latent_walk(small_generator, tmp_path / name, seeds, **changed)
    assert not list(tmp_path.iterdir())
