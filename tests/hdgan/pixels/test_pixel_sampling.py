from pathlib import Path
from types import FunctionType

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import hdgan.pixels.blocks
from hdgan.features import Features
from hdgan.features.patch import cut
from hdgan.pixels import kernels
from hdgan.pixels.blocks import BlockPool, LabelBlocks
from hdgan.pixels.sampling import Noise, PixelSampler
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


def random_map(size, p=(0.9, 0.05, 0.01, 0.04)):
    return np.random.default_rng(0).choice([0, 1, 2, 255], size=(size, size), p=p).astype(np.uint8)


def test_every_pixel_of_a_class_is_found_by_its_rank_in_its_block():
    labels = {4: random_map(64), 7: np.full((64, 64), 255, np.uint8)}
    blocks = LabelBlocks(labels, [4, 7], classes=4, edge=16)
    assert len(blocks) == 16
    for block, place in enumerate(blocks.places):
        here = labels[place.image][place.y : place.y + 16, place.x : place.x + 16]
        np.testing.assert_array_equal(blocks.labels(block), here)
        first = 0
        for k in range(4):
            found = blocks.by_class(block)[first : first + blocks.counts[block, k]]
            np.testing.assert_array_equal(found, np.flatnonzero(here == k))
            first += len(found)
    np.testing.assert_array_equal(blocks.window(4, 5, 20, 37), labels[4][5:42, 20:57])


def test_positions_in_large_blocks_are_not_cut_off():
    labels = np.zeros((512, 512), np.uint8)
    labels[400:, 500:] = 1
    blocks = LabelBlocks({0: labels}, [0], classes=2, edge=512)
    np.testing.assert_array_equal(blocks.by_class(0)[-112 * 12 :], np.flatnonzero(labels))


def test_labels_take_no_memory_to_speak_of():
    labels = np.zeros((2048, 2048), np.uint8)
    labels[300:900, 500:1700] = 1
    labels[1000:1010] = 255
    blocks = LabelBlocks({0: labels}, [0], classes=2, edge=128)
    assert blocks.memory < 50_000
    assert blocks.counts.sum() == (labels != 255).sum()


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


class Planes(Features):
    """Features that tell where they are: image, row and column, and the row at half the resolution."""

    def __init__(self, images, size):
        self.path, self.shape, self.layers = Path("planes"), (size, size), {"b8.conv1": 1, "b16.conv0": 3}
        self.latents, self.seeds, self.generator = ("x",) * images, np.arange(images), ""
        rows, columns = (axis.astype(np.float32) for axis in np.mgrid[:size, :size])
        self._fine = [np.stack([np.full_like(rows, i), rows, columns]) for i in range(images)]
        self._coarse = rows[None, ::2, ::2] + 0.5

    def patch(self, i, *, y, x, h, w):
        return {
            "b8.conv1": cut(self._coarse, scale=2, y=y, x=x, h=h, w=w),
            "b16.conv0": cut(self._fine[i], scale=1, y=y, x=x, h=h, w=w),
        }


class Maps(Features):
    """Random maps of five scales: with more channels than a processor takes at once, with as many, with fewer."""

    def __init__(self, kind, size=64):
        self.path, self.shape, self.latents, self.generator = Path("maps"), (size, size), ("x",), ""
        self.seeds, random = np.arange(1), np.random.default_rng(0)
        channels = {f"b{size // 16 * 2**i}.conv{j}": c + j for i, c in enumerate((33, 16, 17, 1, 8)) for j in range(2)}
        edges = {layer: int(layer[1:].split(".")[0]) for layer in channels}
        self.maps = {k: random.normal(5, 2, (channels[k], edges[k], edges[k])).astype(kind) for k in channels}
        self.layers = channels

    def patch(self, i, *, y, x, h, w):
        scales = {layer: self.shape[0] // len(values[0]) for layer, values in self.maps.items()}
        return {k: cut(values, scale=scales[k], y=y, x=x, h=h, w=w) for k, values in self.maps.items()}

    def standardised(self, statistics):
        """(size, size, C) float64, by definition."""
        maps = [torch.from_numpy(values).double()[None] for values in self.maps.values()]
        whole = [F.interpolate(values, self.shape, mode="bilinear", align_corners=False)[0] for values in maps]
        return (torch.cat(whole).permute(1, 2, 0).numpy() - statistics.mean) / statistics.deviation


def pool_of(store, statistics=None):
    """All four blocks of an image."""
    blocks = LabelBlocks({0: np.zeros((64, 64), np.uint8)}, [0], classes=1, edge=32)
    pool = BlockPool(store, blocks, statistics or Statistics.neutral(store.channels), most_bytes=2**20, least=1)
    pool.hold(np.arange(4))
    return pool


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "uncompiled"])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_pixels_of_blocks_are_those_of_the_upsampled_maps(kind, compiled, monkeypatch):
    if not compiled:
        monkeypatch.setattr(hdgan.pixels.blocks, "find_spec", lambda name: None)
    store, random = Maps(kind), np.random.default_rng(1)
    statistics = Statistics(*random.uniform(1, 9, (2, store.channels)).astype(np.float32))
    pool = pool_of(store, statistics)
    guard = np.full(pool._values.size + 2048, np.nan, kind)  # what lies beside a value shows in no result
    pool._values = guard[1024:-1024].reshape(pool._values.shape)
    pool.held[:] = -1
    pool.hold(np.array([2, 0, 3, 1]))
    assert np.isnan(guard[:1024]).all()
    assert np.isnan(guard[-1024:]).all()
    slots, positions = random.permutation(np.stack(np.divmod(np.arange(64**2), 32**2), axis=1)).T.copy()
    places = [pool._blocks.places[pool.held[slot]] for slot in slots]
    y, x = np.array([(place.y, place.x) for place in places]).T + np.divmod(positions, 32)
    features, wanted = pool.gather(slots, positions), store.standardised(statistics)[y, x]
    assert features.dtype == np.float32
    assert np.abs(features - wanted).max() <= 1e-6 * np.abs(wanted).max()


def test_pixels_do_not_depend_on_the_number_of_threads():
    store, random = Maps(np.float16), np.random.default_rng(2)
    pool = pool_of(store)
    asked, before = (random.integers(0, 4, 20_000), random.integers(0, 32**2, 20_000)), torch.get_num_threads()
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found.append(pool.gather(*asked))
    torch.set_num_threads(before)
    np.testing.assert_array_equal(*found)


def test_pixels_that_are_still_referred_to_are_not_written_over():
    pool, random = pool_of(Maps(np.float32)), np.random.default_rng(3)

    def gather():
        return pool.gather(random.integers(0, 4, 100), random.integers(0, 32**2, 100))

    first = gather()
    place, wanted, held = first.ctypes.data, first.copy(), torch.from_numpy(first)[1:].T
    del first
    assert gather().ctypes.data != place
    np.testing.assert_array_equal(held.T, wanted[1:])
    del held
    assert place in [rows.ctypes.data for rows in (gather(), gather())]


def test_the_compiled_pass_writes_the_pixels_asked_for_and_nothing_else():
    store = Maps(np.float16)
    pool = pool_of(store)
    slots, positions = np.array([3, 0, 3]), np.array([32**2 - 1, 0, 5])
    guard = np.full((5, store.channels), np.nan, np.float32)
    kernels.gather_pixels(
        pool._values.view(np.uint16), slots, positions, np.array([2, 0, 1]), *pool._layout, guard[1:4]
    )
    np.testing.assert_array_equal(guard[1:4], pool.gather(slots, positions))
    assert np.isnan(guard[[0, 4]]).all()


def test_the_compiled_pass_stays_within_its_arrays():
    def part(array, index):
        assert 0 <= index <= array.size - kernels.LANES
        return array[index : index + kernels.LANES]

    def load_one(array, index):
        assert 0 <= index < array.size
        return array[index]

    def store(array, index, lanes):
        part(array, index)[:] = lanes

    interpreted = {
        "load": lambda array, index: part(array, index).copy(),
        "load_one": load_one,
        "store": store,
        "add_scaled": lambda total, array, index, lanes: total + array[index] * lanes,
        "times": lambda lanes, array, index: lanes * part(array, index),
    }
    gather = FunctionType(kernels.gather_pixels.py_func.__code__, vars(kernels) | interpreted)
    pool = pool_of(Maps(np.float32))
    slots, positions = np.repeat([0, 1, 3], 5), np.tile([0, 31, 31 * 32, 32**2 - 1, 501], 3)
    features = np.full((15, pool._features.channels), np.nan, np.float32)
    gather(pool._values, slots, positions, np.arange(15), *pool._layout, features)
    np.testing.assert_allclose(features, pool.gather(slots, positions), rtol=1e-6, atol=1e-6)


def streaming(labels, images=4, size=512, *, pool_bytes=4_000_000, **changed):
    """A sampler that holds some of its blocks."""
    return sampler_of(Planes(images, size), labels, range(images), pool_bytes=pool_bytes, **changed)


def blobs(images, size=512):
    """Class 1 in one corner of the first image, class 2 a column of each, a hole, the rest 0."""
    maps = {i: np.zeros((size, size), np.uint8) for i in range(images)}
    for i, labels in maps.items():
        labels[:, 100 * i + 20 : 100 * i + 50] = 2
        labels[200:220, 300:] = 255
    maps[0][:60, :70] = 1
    return maps


@pytest.fixture(scope="module")
def streamed():
    """(labels, features (n, 4), labels drawn (n,)) of batches while blocks come and go."""
    maps = blobs(4)
    batches = list(streaming(maps).batches(range(60), size=2000, seed=3))
    return maps, np.concatenate([b[0] for b in batches]), np.concatenate([b[1] for b in batches])


def test_streamed_pixels_carry_their_own_labels_and_features_and_none_is_unlabelled(streamed):
    maps, features, labels = streamed
    image, y, x = features[:, 1:].T.astype(int)
    np.testing.assert_array_equal(np.stack([maps[i] for i in range(4)])[image, y, x], labels)
    np.testing.assert_allclose(features[:, 0], y.clip(0.5, 510.5), atol=1e-3)


def test_streamed_batches_are_balanced(streamed):
    np.testing.assert_allclose(np.bincount(streamed[2], minlength=3) / len(streamed[2]), 1 / 3, atol=0.01)


def test_blocks_come_by_as_often_as_they_hold_pixels_of_a_class():
    sampler = streaming(blobs(4))
    slots, counts = 9, sampler._blocks.counts
    for k in range(3):
        came = [sampler._draw_block(slot, turn, slots, 0) for slot in range(3 * k, 3 * k + 3) for turn in range(300)]
        share = np.bincount(came, minlength=len(counts)) / len(came)
        np.testing.assert_allclose(share, counts[:, k] / counts[:, k].sum(), atol=0.04)
    for number in range(20):  # each time from everywhere
        assert len({sampler._blocks.places[block].image for block in sampler._held(12, number, 500, 0, 4096)[:4]}) >= 3


@pytest.mark.parametrize("balanced", [True, False])
def test_a_short_training_sees_blocks_from_everywhere_and_every_class_as_often_as_it_should(balanced):
    maps, batches = blobs(8), range(1000)
    for labels in maps.values():
        labels[480:484, 300:] = 1  # rare: 0.4%
    sampler = streaming(maps, images=8, pool_bytes=1_100_000, balanced=balanced)
    rows = [*sampler.batches(batches, size=100, seed=1, total=len(batches))]
    assert sampler._pool.slots * 10 < len(sampler._blocks)
    image, y, x = np.concatenate([features[:, 1:] for features, _ in rows]).T.astype(int)
    drawn = np.bincount(np.concatenate([labels for _, labels in rows]), minlength=3) / len(y)
    stack = np.stack(list(maps.values()))
    natural = np.bincount(stack[stack != 255], minlength=3) / (stack != 255).sum()
    np.testing.assert_allclose(drawn, 1 / 3 if balanced else natural, rtol=0.03 if balanced else 0.1)
    seen = np.bincount(image * 16 + y // 128 * 4 + x // 128, minlength=128) > 0
    assert seen.mean() > (0.6 if balanced else 0.95)  # of a class that is everywhere not all, where it is one of three


def test_neighbours_in_a_batch_are_not_neighbours_in_the_image(streamed):
    _, features, labels = streamed
    image, y, x = features[:2000, 1:].T.astype(int)
    of_zero = labels[:2000] == 0
    block = (image * 16 + y // 128 * 4 + x // 128)[of_zero]
    assert len(np.unique(block)) >= 6
    assert (block[1:] == block[:-1]).mean() < 0.25  # in a stream of blocks it would be nearly 1
    assert (np.bincount(block) / len(block)).max() < 0.25


def test_a_stream_that_is_taken_up_anywhere_goes_on_as_it_was():
    maps, asked = blobs(4), {"size": 500, "seed": 1, "noise": Noise(0.5, 0.1)}
    whole = list(streaming(maps).batches(range(20), **asked))
    later = list(streaming(maps).batches(range(13, 20), **asked))
    for (features, labels), (same_features, same_labels) in zip(whole[13:], later, strict=True):
        np.testing.assert_array_equal(features, same_features)
        np.testing.assert_array_equal(labels, same_labels)
    assert not np.array_equal(whole[0][0], whole[1][0])


def test_dense_windows_hold_the_features_and_labels_of_all_their_pixels():
    maps = blobs(4)
    (features, labels), _ = streaming(maps).windows(range(2), size=6, edge=40, seed=0)
    assert features.shape == (6, 4, 40, 40)
    for window, of_window in zip(features, labels, strict=True):
        i, y, x = window[1:, 0, 0].astype(int)
        np.testing.assert_array_equal(of_window, maps[i][y : y + 40, x : x + 40])
        np.testing.assert_array_equal(window[2], np.broadcast_to(np.arange(y, y + 40)[:, None], (40, 40)))
    with pytest.raises(InputError, match="windows have 1 to 512 px"):
        next(streaming(maps).windows(range(1), size=1, edge=513, seed=0))


def test_noise_touches_half_of_the_pixels_with_the_deviation_asked_for(small_store, label_maps):
    sampler = sampler_of(small_store, label_maps)
    (plain, _), = sampler.batches(range(1), size=2000, seed=5)  # fmt: skip
    (noisy, _), = sampler.batches(range(1), size=2000, seed=5, noise=Noise(0.5, 0.1))  # fmt: skip
    added = noisy - plain
    touched = added.any(axis=1)
    assert touched.mean() == pytest.approx(0.5, abs=0.05)
    assert added[touched].std() == pytest.approx(0.1, rel=0.02)


def test_noise_touches_half_of_the_pixels_of_dense_windows():
    asked = {"size": 4, "edge": 40, "seed": 5}
    (plain, labels), = streaming(blobs(2), images=2).windows(range(1), **asked)  # fmt: skip
    (noisy, same), = streaming(blobs(2), images=2).windows(range(1), **asked, noise=Noise(0.5, 0.1))  # fmt: skip
    np.testing.assert_array_equal(labels, same)
    added = (noisy - plain).swapaxes(0, 1)
    touched = added.any(axis=0)
    np.testing.assert_array_equal(touched, added.all(axis=0))
    assert touched.mean() == pytest.approx(0.5, abs=0.05)
    assert added[:, touched].std() == pytest.approx(0.1, rel=0.02)


def test_images_without_a_labelled_pixel_are_refused(small_store):
    with pytest.raises(InputError, match=r"no pixel is labelled in images \[4\]"):
        sampler_of(small_store, {4: np.full((32, 32), 255, np.uint8)}, [4])
