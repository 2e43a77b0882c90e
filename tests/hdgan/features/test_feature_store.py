import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import make_latents
from torch.nn.functional import interpolate

from hdgan.features import FeatureStore, extract
from hdgan.latents import Latents
from hdgan.stylegan2.generator import Generator
from tiling.errors import InputError
from tiling.files import fingerprint
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
    assert fingerprint_of(out) == fingerprint_of(store.path) != first


def test_other_weights_other_latents_and_bad_requests_are_refused(made):
    generator, latents, store = made
    with pytest.raises(InputError, match="blocks = 4, and now 3"):
        extract(generator, latents, store.path, blocks=3)
    for others in (latents.subset([0, 1]), Latents.sample(generator, [10, 11, 12], psi=0.3)):
        with pytest.raises(InputError, match="holds features of latents that are not asked for now"):
            extract(generator, others, store.path, blocks=4)
    with pytest.raises(InputError, match="float32 or int8, not 'int4'"):
        extract(generator, latents, store.path, dtype="int4")
    with pytest.raises(InputError, match="latent 3 is not in"):
        store.window(3, y=0, x=0, h=8, w=8)
    with pytest.raises(InputError, match="not within the image"):
        store.pixels(0, [0, 32], [0, 0])


def test_a_bad_request_neither_discards_features_nor_stands_in_the_way_of_the_corrected_one(made, tmp_path):
    generator, latents, store = made
    out = tmp_path / "features"
    for blocks in (0, 9):
        with pytest.raises(InputError, match=f"blocks must be 1 to 4, of a generator of 32 px, not {blocks}"):
            extract(generator, latents, out, blocks=blocks)
    assert not out.exists()
    extract(generator, latents, out, blocks=4)
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


@pytest.mark.slow
def test_an_extraction_killed_anywhere_and_then_asked_for_more_ends_with_the_same_store(made, tmp_path):
    _, latents, store = made
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
extract(generator, make_latents(generator, 3).subset(places), {str(tmp_path / "features")!r}, blocks=4)
""")
    root = tmp_path / "features" / "features.zarr"
    for last, places in ((2, "2"), (0, "02"), (0, "012"), (1, "012")):
        process = subprocess.Popen([sys.executable, str(script), *places])
        while process.poll() is None and not (root / latents.fingerprint(last)).exists():
            time.sleep(0.002)
        process.kill()
        process.wait()
    subprocess.run([sys.executable, str(script), *"012"], check=True)
    assert fingerprint(root) == fingerprint(store.path / "features.zarr")
    assert fingerprint_of(tmp_path / "features") == fingerprint_of(store.path)
