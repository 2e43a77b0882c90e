"""Noise of an image: the generator's stored maps, or a draw of its own that image, features and pair share."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from small_study import make_ensemble, make_small_generator

from hdgan.features import extract
from hdgan.latents import Latents, SeededLatents
from hdgan.pairs import synthesize
from hdgan.samples import load_samples
from hdgan.sampling import sample
from hdgan.stylegan2 import render, save_generator
from tiling.errors import InputError


@pytest.fixture(scope="module")
def noisy():
    """A generator whose images noise changes visibly."""
    generator = make_small_generator()
    with torch.no_grad():
        for name, parameter in generator.named_parameters():
            if name.endswith("noise_strength"):
                parameter.fill_(0.5)
    return generator


def images(generator, latents):
    with torch.no_grad():
        return np.stack(list(render(generator, latents)))


def test_the_same_w_with_other_noise_is_another_image_and_another_latent(noisy):
    stored, drawn = (Latents.sample(noisy, [4, 4], noise=noise) for noise in ("const", "random"))
    assert (stored.noise.tolist(), drawn.noise.tolist()) == ([-1, -1], [4, 4])
    other = replace(drawn, noise=np.array([4, 5]))
    assert np.array_equal(*images(noisy, stored))
    assert np.array_equal(*images(noisy, drawn))
    assert not np.array_equal(*images(noisy, other))
    assert not np.array_equal(images(noisy, stored)[0], images(noisy, drawn)[0])
    assert stored.fingerprint(0) != drawn.fingerprint(0) == other.fingerprint(0) != other.fingerprint(1)
    np.testing.assert_array_equal(stored.w, drawn.w)


def test_the_mean_has_the_stored_noise(noisy):
    assert Latents.sample(noisy, [-1, 0], noise="random").noise.tolist() == [-1, 0]


def test_samples_features_and_pairs_of_a_seed_have_the_same_draw(noisy, tmp_path):
    save_generator(noisy, tmp_path / "generator.safetensors")
    seeds = [3, 9]
    latents = sample(tmp_path / "generator.safetensors", tmp_path / "latents", seeds=seeds, noise="random")
    latents, paths = load_samples(tmp_path / "latents")
    assert latents.noise.tolist() == seeds
    store = extract(noisy, latents, tmp_path / "features", blocks=3, dtype="float32")
    ensemble = make_ensemble(store)
    pairs = synthesize(noisy, ensemble, SeededLatents(noisy, seeds, noise="random"), tmp_path / "pairs")
    for i, (path, pair) in enumerate(zip(paths, pairs, strict=True)):
        np.testing.assert_array_equal(pair.image(), np.asarray(Image.open(path)))
        labels, _ = ensemble.predict(store.window(i, y=0, x=0, h=32, w=32))
        assert (pair.mask() == labels).mean() > 0.999
        maps = noisy.features(**latents.synthesis(i, device=torch.device("cpu")), blocks=3)
        np.testing.assert_array_equal(store.native(i, "b32.conv1"), maps["b32.conv1"][0].detach().numpy())
    with pytest.raises(InputError, match="from another latent of seed 3: with other noise, or by another generator"):
        synthesize(noisy, ensemble, SeededLatents(noisy, seeds, noise="const"), tmp_path / "pairs")


def test_latents_written_before_noise_was_noted_have_the_stored_one(noisy, tmp_path):
    latents = Latents.sample(noisy, [1, 2])
    fields = {name: getattr(latents, name) for name in ("seed", "z", "w", "psi", "c")}
    np.savez(tmp_path / "latents.npz", **fields)
    assert Latents.load(tmp_path / "latents.npz").noise.tolist() == [-1, -1]
    assert Latents(**fields).noise.tolist() == [-1, -1]


def test_another_noise_is_refused(noisy):
    with pytest.raises(InputError, match="noise is random or const, not 'none'"):
        Latents.sample(noisy, [1], noise="none")
