import tracemalloc
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from hdgan.latents import MEAN_SEED, Latents, SeededLatents
from hdgan.stylegan2 import Generator
from tiling.errors import InputError


def same(a, b):
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(Latents))


@pytest.fixture
def latents(small_generator):
    return Latents.sample(small_generator, [3, MEAN_SEED, 2**32 - 1], psi=0.5)


def test_latents_are_told_in_a_line(small_generator, latents):
    assert repr(latents) == "Latents(3: seeds 3, -1, 4294967295; psi 0.5)"
    many = Latents.sample(small_generator, range(5, 45), psi=0.7)
    assert repr(many) == "Latents(40: seeds 5 to 44; psi 0.7)"
    assert repr(many.followed_by(latents)) == "Latents(43: seeds 5, 6, 7, and 40 more; psi 0.5 to 0.7)"
    assert repr(many.subset([])) == "Latents(none)"


def test_z_is_what_the_seed_draws_and_w_its_mapping_truncated_towards_the_mean(small_generator, latents):
    z = np.random.RandomState(3).randn(1, 32).astype(np.float32)
    np.testing.assert_array_equal(latents.z[:1], z)
    mean = small_generator.mapping.w_avg.numpy()
    with torch.no_grad():
        whole = small_generator.mapping(torch.from_numpy(z)).numpy()
    np.testing.assert_allclose(latents.w[:1], mean + 0.5 * (whole - mean), atol=1e-6)
    assert latents.w.shape == (3, small_generator.num_ws, 32)
    assert latents.psi.tolist() == [0.5] * 3
    assert latents.c.shape == (3, 0)


def test_the_seed_minus_one_is_the_mean_itself_on_every_layer(small_generator, latents):
    assert not latents.z[1].any()
    for w in latents.w[1]:
        np.testing.assert_array_equal(w, small_generator.mapping.w_avg.numpy())


def test_a_seed_gives_the_same_latent_in_any_company(small_generator, latents):
    many = Latents.sample(small_generator, range(100), psi=0.5)
    for seeds in ([3], [7, 3], range(3, 20), range(99, 2, -1)):
        drawn = Latents.sample(small_generator, seeds, psi=0.5)
        assert same(drawn, many.subset(seeds))
    np.testing.assert_array_equal(latents.w[0], many.w[3])
    assert latents.fingerprint(0) == many.fingerprint(3) != many.fingerprint(4)


def test_subsets_and_joined_latents_keep_every_field(latents):
    assert same(latents.subset([2, 0]), replace(latents, **{f.name: getattr(latents, f.name)[[2, 0]]
                                                            for f in fields(Latents)}))  # fmt: skip
    assert same(latents.subset([0]).followed_by(latents.subset([1, 2])), latents)


def test_a_w_that_all_layers_share_is_held_once_and_mixed_ones_as_they_are(small_generator, latents, tmp_path):
    latents.save(tmp_path / "latents.npz")
    for unmixed in (latents, latents.subset([1, 2]), Latents.load(tmp_path / "latents.npz")):
        assert unmixed.w.shape == (len(unmixed), small_generator.num_ws, 32)
        assert unmixed.w.base.nbytes == len(unmixed) * 32 * 4
        with pytest.raises(ValueError, match="read-only"):
            unmixed.w[0, 3:] = 0
    w = latents.w.copy()
    w[0, 3:] = w[1, 3:]
    mixed = replace(latents, w=w)
    mixed.save(tmp_path / "mixed.npz")
    np.testing.assert_array_equal(Latents.load(tmp_path / "mixed.npz").w, w)
    assert mixed.subset([0, 1]).w.strides[1] > 0


def test_latents_that_are_drawn_when_asked_for_are_those_of_their_seeds(small_generator):
    at_once, later = Latents.sample(small_generator, range(5, 75)), SeededLatents(small_generator, range(5, 75))
    assert len(later) == 70
    assert same(later.subset(range(70)), at_once)
    assert same(later.subset([69]), at_once.subset([69]))


def test_a_million_latents_that_are_drawn_when_asked_for_take_no_memory(small_generator):
    SeededLatents(small_generator, range(1)).subset([0])  # what is imported once does not count
    tracemalloc.start()
    try:
        drawn = SeededLatents(small_generator, range(1_000_000)).subset([999_999])
        assert drawn.seed.tolist() == [999_999]
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_conditional_generator_takes_its_conditions():
    torch.manual_seed(0)
    generator = Generator(resolution=16, z_dim=8, w_dim=8, c_dim=2, channel_base=128, channel_max=8, mapping_layers=2)
    conditions = np.eye(2)
    of_classes = Latents.sample(generator, [5, 5], psi=1.0, c=conditions)
    np.testing.assert_array_equal(of_classes.c, conditions)
    assert not np.array_equal(of_classes.w[0], of_classes.w[1])


@pytest.mark.parametrize("seeds", [[-2], [2**32], [0, 1, 2**40]])
def test_seeds_out_of_range_are_refused(small_generator, seeds):
    for draw in (Latents.sample, SeededLatents):
        with pytest.raises(InputError, match=r"seeds are -1 \(the mean\) or 0 to 2\^32 - 1, not"):
            draw(small_generator, seeds)


def test_saved_latents_come_back_as_they_were(latents, tmp_path):
    latents.save(tmp_path / "latents.npz")
    assert same(Latents.load(tmp_path / "latents.npz"), latents)
    assert [path.name for path in tmp_path.iterdir()] == ["latents.npz"]


def test_other_files_are_refused(latents, tmp_path):
    path = tmp_path / "latents.npz"
    with pytest.raises(InputError, match="no such file"):
        Latents.load(path)
    latents.save(path)
    whole = path.read_bytes()
    for content in (b"", b"text", whole[: len(whole) // 2], np.arange(3).tobytes()):
        path.write_bytes(content)
        with pytest.raises(InputError, match="not a file of latents"):
            Latents.load(path)
    np.savez(path, seed=latents.seed, z=latents.z)
    with pytest.raises(InputError, match="not a file of latents"):
        Latents.load(path)
    np.savez(path, **{name: np.array([{}], dtype=object) for name in ("seed", "z", "w", "psi", "c")})
    with pytest.raises(InputError, match="not a file of latents"):
        Latents.load(path)
    with path.open("wb") as file:
        np.save(file, latents.w)
    with pytest.raises(InputError, match="not a file of latents"):
        Latents.load(path)


def test_fields_of_different_lengths_and_shapes_are_refused(latents):
    with pytest.raises(InputError, match="as many of each field, not"):
        replace(latents, seed=latents.seed[:2])
    with pytest.raises(InputError, match=r"w must be \(N, num_ws, w_dim\), not \(3, 32\)"):
        replace(latents, w=latents.w[:, 0])
