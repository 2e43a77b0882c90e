import json
import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from small_study import make_latents
from torch.nn.functional import interpolate

from hdgan.features import FeatureStore, ResynthesisedFeatures, extract, open_features, stored_latents
from hdgan.features.patch import interpolation_matrix
from hdgan.latents import Latents
from hdgan.stylegan2.generator import Generator
from tiling.errors import InputError
from tiling.files import fingerprint, read_json, write_json
from tiling.stage import fingerprint_of


@pytest.fixture(scope="module")
def made(small_generator, tmp_path_factory):
    latents = make_latents(small_generator, 3)
    out = tmp_path_factory.mktemp("study") / "features"
    return small_generator, latents, extract(small_generator, latents, out, blocks=4)


def whole_map(generator: Generator, w: np.ndarray) -> np.ndarray:
    features = generator.features(torch.tensor(w), blocks=4)
    maps = [v.half().float() for v in features.values()]
    return torch.cat([interpolate(m, size=(32, 32), mode="bilinear", align_corners=False) for m in maps], 1)[0].numpy()


def test_windows_and_pixels_equal_the_whole_upsampled_map(made):
    generator, latents, store = made
    for i in range(3):
        expected = whole_map(generator, latents.w[i : i + 1])
        np.testing.assert_allclose(store.window(i, y=0, x=0, h=32, w=32), expected, atol=1e-5)
        np.testing.assert_allclose(store.window(i, y=7, x=20, h=9, w=12), expected[:, 7:16, 20:], atol=1e-5)
        ys, xs = np.random.default_rng(i).integers(0, 32, (2, 50))
        pixels = store.pixels(i, ys, xs)
        assert pixels.dtype == np.float32
        np.testing.assert_allclose(pixels, expected[:, ys, xs].T, atol=1e-5)


def test_a_store_knows_its_layers_in_order(made):
    _, _, store = made
    assert list(store.layers.items()) == [
        ("b4.conv1", 32), ("b8.conv0", 32), ("b8.conv1", 32), ("b16.conv0", 32), ("b16.conv1", 32), ("b32.conv0", 16),
        ("b32.conv1", 16),
    ]  # fmt: skip
    assert store.shape == (32, 32)
    assert len(store) == 3
    assert store.seeds.tolist() == [10, 11, 12]
    assert store.latents == tuple(made[1].fingerprint(i) for i in range(3))
    assert store.native(0, "b8.conv0").shape == (32, 8, 8)
    assert store.native(0, "b8.conv0").dtype == np.float16


def test_a_store_is_shown_with_what_it_holds(made):
    _, latents, store = made
    shown = f"FeatureStore({str(store.path)!r}, {len(latents)} latents: 192 channels of 7 layers, 32 x 32 px)"
    assert repr(store) == shown


def test_reading_features_needs_no_torch(made):
    code = f"""
import sys
import time
from hdgan.features import FeatureStore
assert FeatureStore.open({str(made[2].path)!r}).window(0, y=0, x=0, h=8, w=8).shape == (192, 8, 8)
sys.exit('torch' in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_an_extraction_that_lost_a_latent_makes_only_that_one_again(made, tmp_path):
    generator, latents, store = made
    out = tmp_path / "features"
    extract(generator, latents, out, blocks=4)
    record = json.loads((out / "stage.json").read_text())
    (out / "stage.json").write_text(json.dumps(record | {"status": "running"}))
    first, lost = (out / "features.zarr" / latents.fingerprint(i) for i in (0, 1))
    lost.rename(lost.with_name(f".partial-0-{lost.name}"))
    kept = first.stat().st_mtime_ns
    with pytest.raises(InputError, match="only half made"):
        FeatureStore.open(out)
    extract(generator, latents, out, blocks=4)
    assert first.stat().st_mtime_ns == kept
    assert fingerprint(out / "features.zarr") == fingerprint(store.path / "features.zarr")
    assert not list((out / "features.zarr").glob(".partial*"))


def test_latents_that_are_added_anywhere_cost_their_own_features_only(made, tmp_path):
    generator, latents, store = made
    out = tmp_path / "features"
    root = out / "features.zarr"
    before = extract(generator, latents.subset([1]), out, blocks=4)
    kept = (root / latents.fingerprint(1)).stat().st_mtime_ns
    first = fingerprint_of(out)
    after = extract(generator, latents, out, blocks=4)
    assert (root / latents.fingerprint(1)).stat().st_mtime_ns == kept
    np.testing.assert_array_equal(after.native(1, "b16.conv0"), before.native(0, "b16.conv0"))
    assert fingerprint(root) == fingerprint(store.path / "features.zarr")
    assert fingerprint_of(out) == fingerprint_of(store.path) == first  # what is made of some does not depend on others


def test_other_weights_other_latents_and_bad_requests_are_refused(made):
    generator, latents, store = made
    with pytest.raises(InputError, match="blocks = 4, and now 3"):
        extract(generator, latents, store.path, blocks=3)
    for others in (latents.subset([0, 1]), Latents.sample(generator, [10, 11, 12], psi=0.3)):
        with pytest.raises(InputError, match="holds features of latents that are not asked for now"):
            extract(generator, others, store.path, blocks=4)
    with pytest.raises(InputError, match="float32 or int8, not 'int4'"):
        extract(generator, latents, store.path, dtype="int4")
    with pytest.raises(InputError, match="--store none stores nothing; leave one of the two out"):
        extract(generator, latents, store.path, dtype="float16", store="none")
    with pytest.raises(InputError, match="latent 3 is not in"):
        store.window(3, y=0, x=0, h=8, w=8)
    with pytest.raises(InputError, match="not within the image"):
        store.pixels(0, [0, 32], [0, 0])
    with pytest.raises(InputError, match="ys must be whole numbers, not float64"):
        store.pixels(0, [0.7], [0])
    assert store.pixels(0, [], []).shape == (0, store.channels)


def test_a_bad_request_neither_discards_features_nor_stands_in_the_way_of_the_corrected_one(made, tmp_path):
    generator, latents, store = made
    out = tmp_path / "features"
    for blocks in (0, 9):
        with pytest.raises(InputError, match=f"blocks must be 1 to 4, of a generator of 32 px, not {blocks}; take 4"):
            extract(generator, latents, out, blocks=blocks)
    assert not out.exists()
    extract(generator, latents, out)  # of all blocks: fewer than the default
    with pytest.raises(InputError, match="blocks must be"):
        extract(generator, latents, out, blocks=9, redo=True)
    assert fingerprint(out / "features.zarr") == fingerprint(store.path / "features.zarr")


def test_features_too_large_for_half_precision_are_refused_and_kept_in_single(made, tmp_path):
    generator, latents, _ = made
    loud = Generator.from_config(replace(generator.config, conv_clamp=None))
    loud.load_state_dict(generator.state_dict())
    loud.synthesis.b32.conv1.bias.data.fill_(1e5)
    loud.requires_grad_(False)
    with pytest.raises(InputError, match=r"b32\.conv1 of seed 10 reaches .* too large for float16"):
        extract(loud, latents, tmp_path / "loud", blocks=2)
    store = extract(loud, latents, tmp_path / "loud", blocks=2, dtype="float32")
    assert store.native(0, "b32.conv1").max() > 1e5
    assert store.native(0, "b32.conv1").dtype == np.float32


STORES = ["zarr", "zarr-zstd", "memmap"]


@pytest.fixture
def larger(monkeypatch):
    """A generator whose image takes four windows of 16 chunks, the fine blocks on crops, and its whole maps."""
    monkeypatch.setattr("hdgan.features.extraction.WINDOW", 64)
    monkeypatch.setattr("hdgan.features.writing.CHUNK", 16)
    monkeypatch.setattr("hdgan.stylegan2.windows._WHOLE_BYTES", 2**12)
    torch.manual_seed(1)
    generator = Generator(resolution=128, z_dim=8, w_dim=8, channel_base=512, channel_max=16, mapping_layers=1)
    generator.eval().requires_grad_(False)
    latents = Latents.sample(generator, [3], psi=0.5)
    features = generator.features(torch.tensor(latents.w), blocks=5)
    return generator, latents, {layer: values[0] for layer, values in features.items()}


def upsampled(maps, y, x, h, w):
    """A window of the upsampled maps, in float64."""
    size, found = 128, []
    for values in maps.values():
        rows, columns = (
            interpolation_matrix(start, length, scale=size // values.shape[1], first=-1, size=values.shape[1] + 2)
            for start, length in ((y, h), (x, w))
        )
        padded = np.pad(values.numpy(), [(0, 0), (1, 1), (1, 1)], mode="edge")
        (y_used,), (x_used,) = rows.any(axis=0).nonzero(), columns.any(axis=0).nonzero()
        near = padded[:, y_used[:, None], x_used].astype(np.float64)
        found.append(rows[:, y_used] @ near @ columns[:, x_used].T)
    return np.concatenate(found)


PLACES = [(0, 0, 20, 30), (104, 100, 24, 28), (50, 55, 30, 20), (15, 0, 3, 40), (63, 95, 2, 2), (127, 0, 1, 1)]


@pytest.mark.parametrize(("store", "dtype", "tolerance"), [
    ("zarr", "float32", 1e-5), ("memmap", "float32", 1e-5), ("zarr-zstd", "float16", 1e-3), ("zarr", "float16", 1e-3),
    ("memmap", "float16", 1e-3), ("none", None, 1e-5), ("zarr", "int8", 1e-2), ("memmap", "int8", 1e-2),
])  # fmt: skip
def test_every_store_gives_the_values_of_the_whole_upsampled_maps(larger, tmp_path, store, dtype, tolerance):
    generator, latents, maps = larger
    features = extract(generator, latents, tmp_path / "f", blocks=5, dtype=dtype, store=store)
    assert features.layers == {layer: len(values) for layer, values in maps.items()}
    largest = np.concatenate([np.abs(values.numpy()).max(axis=(1, 2)) for values in maps.values()])
    for y, x, h, w in PLACES:
        expected = upsampled(maps, y, x, h, w)
        found = features.window(0, y=y, x=x, h=h, w=w)
        assert (np.abs(found - expected) <= tolerance * largest[:, None, None]).all()
        pixels = features.pixels(0, [y, y + h - 1], [x, x + w - 1])
        assert (np.abs(pixels - expected[:, [0, -1], [0, -1]].T) <= tolerance * largest).all()
    assert all(isinstance(patch.values, np.ndarray) for patch in features.patch(0, y=8, x=8, h=8, w=8).values())


def test_zarr_and_numpy_read_what_is_stored(larger, tmp_path):
    generator, latents, maps = larger
    name = latents.fingerprint(0)
    for store, dtype in (("zarr", "float16"), ("zarr-zstd", "float16"), ("zarr", "int8"), ("memmap", "int8")):
        path = extract(generator, latents, tmp_path / f"{store}-{dtype}", blocks=3, store=store, dtype=dtype).path
        for layer in ("b32.conv0", "b128.conv1"):
            if store == "memmap":
                values = np.load(path / "maps" / name / f"{layer}.npy", mmap_mode="r").transpose(2, 0, 1)
                scale = np.load(path / "maps" / name / f"{layer}.scale.npy")
            else:
                array = zarr.open_array(path / "features.zarr" / name / layer, mode="r")
                values, scale = array[:], np.array(array.attrs.get("scale", 1), np.float32)
            read = values.astype(np.float32) * np.reshape(scale, (-1, 1, 1))
            np.testing.assert_array_equal(FeatureStore.open(path).native(0, layer), read)
            np.testing.assert_allclose(read, maps[layer].numpy(), atol=0.02 * float(maps[layer].abs().max()))


def test_a_channel_of_zeros_survives_eight_bits(small_generator, tmp_path):
    silent = Generator.from_config(small_generator.config)
    silent.load_state_dict(small_generator.state_dict())
    silent.synthesis.b32.conv1.weight.data[3] = 0
    silent.synthesis.b32.conv1.bias.data[3] = 0
    silent.synthesis.b32.conv1.noise_strength.data.zero_()
    silent.eval().requires_grad_(False)
    store = extract(silent, make_latents(silent, 1), tmp_path / "f", blocks=1, dtype="int8")
    values = store.native(0, "b32.conv1")
    assert not values[3].any()
    assert values[2].any()


@pytest.mark.parametrize("store", STORES)
def test_the_bytes_of_a_store_do_not_depend_on_what_was_there(made, tmp_path, store):
    generator, latents, _ = made
    for folder, parts in (("whole", [[0, 1, 2]]), ("parts", [[2], [0, 2], [0, 1, 2]])):
        for part in parts:
            extract(generator, latents.subset(part), tmp_path / folder, blocks=2, store=store)
    assert fingerprint_of(tmp_path / "whole") == fingerprint_of(tmp_path / "parts")
    roots = [next((tmp_path / folder).glob("*/")) for folder in ("whole", "parts")]
    assert fingerprint(roots[0]) == fingerprint(roots[1])


def test_without_a_store_features_are_made_again_by_their_generator_alone(made, tmp_path, monkeypatch):
    generator, latents, store = made
    out = tmp_path / "features"
    extract(generator, latents.subset([1]), out, blocks=4, store="none")
    features = extract(generator, latents, out, blocks=4, store="none")
    assert features.latents == store.latents
    assert stored_latents(out) == set(store.latents)
    assert sum(path.stat().st_size for path in out.rglob("*")) < 50_000
    exact = ResynthesisedFeatures(generator, latents, 4)
    monkeypatch.setattr("hdgan.features.resynthesis._EDGE", 8)  # maps in 16 windows
    for some in (features, exact, open_features(out, lambda: generator)):
        np.testing.assert_allclose(some.window(2, y=3, x=9, h=8, w=20), store.window(2, y=3, x=9, h=8, w=20), atol=2e-3)
        for layer in store.layers:
            np.testing.assert_allclose(some.native(2, layer), store.native(2, layer), atol=2e-3)
    with pytest.raises(InputError, match=r"layer 'b9\.conv0' is not in"):
        features.native(0, "b9.conv0")
    with pytest.raises(InputError, match="by their generator only"):
        open_features(out)
    with pytest.raises(InputError, match="holds no features"):
        FeatureStore.open(out)
    other = Generator.from_config(generator.config)
    with pytest.raises(InputError, match="is of another generator"):
        open_features(out, lambda: other)
    with pytest.raises(InputError, match="latent 3 is not in"):
        features.window(3, y=0, x=0, h=1, w=1)


def test_a_record_of_features_without_a_store_that_names_a_dtype_is_recognised(made, tmp_path, capfd):
    generator, latents, _ = made
    extract(generator, latents, tmp_path / "f", blocks=2, store="none")
    record = read_json(tmp_path / "f" / "stage.json")
    assert "dtype" not in record["config"]
    write_json(tmp_path / "f" / "stage.json", record | {"config": {"dtype": "float16", **record["config"]}})
    extract(generator, latents, tmp_path / "f", blocks=2, store="none")
    assert "is complete: nothing to do" in capfd.readouterr().err


@pytest.mark.parametrize(("store", "dtype"), [("zarr", "float16"), ("memmap", "int8")])
def test_maps_of_as_many_latents_stay_open_as_half_of_the_files_that_a_process_may_have(
    made, tmp_path, monkeypatch, store, dtype
):
    def open_files():
        return sum(1 for _ in Path("/dev/fd").iterdir())

    generator, latents, _ = made
    path = extract(generator, latents, tmp_path / "f", blocks=2, store=store, dtype=dtype).path
    monkeypatch.setattr("resource.getrlimit", lambda _: (17, 17))  # layers: 4
    features, before = FeatureStore.open(path), open_files()
    for i in (0, 1, 0, 2, 1):
        features.patch(i, y=0, x=0, h=8, w=8)
        assert open_files() - before <= 8
    assert features._maps.cache_info()[:4] == (1, 4, 2, 2)
    monkeypatch.setattr("resource.getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert FeatureStore.open(path)._maps.cache_info().maxsize == 1024


def test_a_damaged_store_is_named(made, tmp_path):
    generator, latents, _ = made
    extract(generator, latents.subset([0]), tmp_path / "z", blocks=1)
    shard = next((tmp_path / "z").rglob("b32.conv1/c/0/0/0"))
    shard.write_bytes(shard.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"b32\.conv1/c/0/0/0 is damaged"):
        FeatureStore.open(tmp_path / "z").window(0, y=0, x=0, h=8, w=8)
    extract(generator, latents.subset([0]), tmp_path / "m", blocks=1, store="memmap")
    file = next((tmp_path / "m").rglob("b32.conv1.npy"))
    file.write_bytes(file.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"b32\.conv1\.npy is damaged"):
        FeatureStore.open(tmp_path / "m").window(0, y=0, x=0, h=8, w=8)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zarr", "memmap"])
def test_an_extraction_killed_anywhere_and_then_asked_for_more_ends_with_the_same_store(made, tmp_path, kind):
    generator, latents, _ = made
    store = extract(generator, latents, tmp_path / "undisturbed", blocks=4, store=kind)
    script = tmp_path / "run.py"
    script.write_text(f"""
import sys
import torch
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
torch.set_num_threads(1)
from small_study import make_latents, make_small_generator
from hdgan.features import extract
generator = make_small_generator()
places = [int(place) for place in sys.argv[1:]]
extract(generator, make_latents(generator, 3).subset(places), {str(tmp_path / "features")!r}, blocks=4, store={kind!r})
""")
    name = {"zarr": "features.zarr", "memmap": "maps"}[kind]
    root = tmp_path / "features" / name
    for last, places in ((2, "2"), (0, "02"), (0, "012"), (1, "012")):
        process = subprocess.Popen([sys.executable, str(script), *places])
        while process.poll() is None and not (root / latents.fingerprint(last)).exists():
            time.sleep(0.002)
        process.kill()
        process.wait()
    subprocess.run([sys.executable, str(script), *"012"], check=True)
    assert fingerprint(root) == fingerprint(store.path / name)
    assert fingerprint_of(tmp_path / "features") == fingerprint_of(store.path)


def test_maps_that_lie_in_another_way_are_refused(small_generator, tmp_path):
    store = extract(small_generator, make_latents(small_generator, 1), tmp_path / "features", blocks=2)
    description = next((tmp_path / "features").glob("features.zarr/*/b32.conv0/zarr.json"))
    metadata = json.loads(description.read_text())
    del metadata["codecs"][0]["configuration"]["codecs"][0]  # as zarr-python would write it: channels first
    description.write_text(json.dumps(metadata))
    with pytest.raises(InputError, match="laid out in another way; make the features again with --redo"):
        FeatureStore.open(store.path).window(0, y=0, x=0, h=8, w=8)
