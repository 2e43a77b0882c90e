import numpy as np
import pytest

from hdgan.pixels.sampling import ClassIndex, Noise, PixelSampler
from hdgan.pixels.statistics import Statistics, upsampled_statistics
from tiling.errors import InputError


def sampler_of(store, labels, indices=(0, 1, 2), **changed):
    settings = {"classes": 3, "balanced": True, "statistics": Statistics.neutral(store.channels)}
    return PixelSampler(store, labels, indices, **(settings | changed))


def test_statistics_are_those_of_the_whole_upsampled_maps(small_store):
    windows = [small_store.window(i, y=0, x=0, h=32, w=32).astype(np.float64) for i in (0, 3)]
    whole = np.stack(windows, axis=1)
    statistics = upsampled_statistics(small_store, [0, 3])
    np.testing.assert_allclose(statistics.mean, whole.mean(axis=(1, 2, 3)), atol=1e-6)
    np.testing.assert_allclose(statistics.deviation, whole.std(axis=(1, 2, 3)), rtol=1e-5)


def test_every_pixel_of_a_class_is_found_by_its_rank():
    labels = np.random.default_rng(0).choice([0, 1, 2, 255], size=(37, 61), p=[0.9, 0.05, 0.01, 0.04]).astype(np.uint8)
    index = ClassIndex(labels, 4)
    for k in range(4):
        expected = np.flatnonzero(labels == k)
        assert index.counts[k] == len(expected)
        np.testing.assert_array_equal(index.positions(k, np.arange(len(expected))), expected)


def test_drawn_pixels_carry_their_own_labels_and_features(small_store, label_maps):
    statistics = upsampled_statistics(small_store, [0, 1, 2])
    sampler = sampler_of(small_store, label_maps, statistics=statistics)
    draw = sampler.draw(300, np.random.default_rng(0))
    features = sampler.features(draw)
    for n in range(0, 300, 30):
        i, y, x = int(draw.image[n]), int(draw.y[n]), int(draw.x[n])
        assert label_maps[i][y, x] == draw.label[n]
        raw = small_store.window(i, y=y, x=x, h=1, w=1)[:, 0, 0]
        np.testing.assert_allclose(features[n], (raw - statistics.mean) / statistics.deviation, atol=1e-5)


def test_balanced_draws_take_classes_equally_and_natural_ones_as_they_come(small_store):
    labels = {0: np.zeros((32, 32), np.uint8), 1: np.full((32, 32), 255, np.uint8)}
    labels[0][0, :8] = 1
    labels[1][5, 5] = 1
    rng = np.random.default_rng(0)
    balanced = sampler_of(small_store, labels, (0, 1)).draw(20000, rng)
    natural = sampler_of(small_store, labels, (0, 1), balanced=False).draw(20000, rng)
    assert (balanced.label == 1).mean() == pytest.approx(0.5, abs=0.02)
    assert (natural.label == 1).mean() == pytest.approx(9 / 1025, abs=0.003)
    assert ((balanced.image == 1) & (balanced.label == 1)).mean() == pytest.approx(0.5 / 9, abs=0.01)
    of_zero = balanced.label == 0
    assert len(np.unique(balanced.y[of_zero] * 32 + balanced.x[of_zero])) == 1016
    assert not (balanced.label == 2).any()


def test_batches_do_not_depend_on_the_size_of_the_pools(small_store, label_maps):
    asked = {"size": 16, "seed": 1, "noise": Noise(0.5, 0.1)}
    small = list(sampler_of(small_store, label_maps, pool_bytes=1).batches(range(3, 10), **asked))
    large = list(sampler_of(small_store, label_maps).batches(range(3, 10), **asked))
    assert len(small) == len(large) == 7
    for (features, labels), (same_features, same_labels) in zip(small, large, strict=True):
        np.testing.assert_array_equal(features, same_features)
        np.testing.assert_array_equal(labels, same_labels)
    assert not np.array_equal(large[0][0], large[1][0])


def test_noise_touches_half_of_the_pixels_with_the_deviation_asked_for(small_store, label_maps):
    sampler = sampler_of(small_store, label_maps)
    (plain, _), = sampler.batches(range(1), size=2000, seed=5)  # fmt: skip
    (noisy, _), = sampler.batches(range(1), size=2000, seed=5, noise=Noise(0.5, 0.1))  # fmt: skip
    added = noisy - plain
    touched = added.any(axis=1)
    assert touched.mean() == pytest.approx(0.5, abs=0.05)
    assert added[touched].std() == pytest.approx(0.1, rel=0.02)


def test_images_without_a_labelled_pixel_are_refused(small_store):
    with pytest.raises(InputError, match=r"no pixel is labelled in images \[4\]"):
        sampler_of(small_store, {4: np.full((32, 32), 255, np.uint8)}, [4])
