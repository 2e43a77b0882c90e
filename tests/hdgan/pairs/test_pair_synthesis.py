import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
import zarr
from PIL import Image
from small_study import make_ensemble, make_latents, make_small_generator

from hdgan.labels import KIDNEY, ClassList, LabelClass
from hdgan.latents import SeededLatents
from hdgan.pairs import PairSet, export_pairs, synthesize
from hdgan.pairs.strips import image_score
from hdgan.pixels import PixelEnsemble
from hdgan.stylegan2 import synthesize_windows, to_uint8
from tiling import open_slide
from tiling.errors import InputError
from tiling.files import fingerprint, write_json
from tiling.stage import read_record

CLASSES = ClassList((LabelClass("a", (10, 20, 30)), LabelClass("b", (40, 50, 60)), LabelClass("c", (70, 80, 90))))


@pytest.fixture(scope="module")
def latents(small_generator):
    return make_latents(small_generator, 5)


@pytest.fixture(scope="module")
def made(small_generator, random_ensemble, latents, tmp_path_factory):
    out = tmp_path_factory.mktemp("study") / "pairs"
    return synthesize(small_generator, random_ensemble, latents, out, classes=CLASSES)


def content(folder: Path) -> dict[str, str]:
    """Fingerprints of everything but the record of the run, which has times in it."""
    return {path.name: fingerprint(path) for path in folder.iterdir() if path.name != "stage.json"}


def test_a_pair_is_the_generators_image_and_the_ensembles_labels_of_it(
    made, small_generator, random_ensemble, small_store, latents
):
    assert len(made) == 5
    for i, pair in enumerate(made):
        image = to_uint8(small_generator.synthesis(torch.tensor(latents.w[i : i + 1]), noise="const"))[0]
        np.testing.assert_array_equal(pair.image(), image)
        features = small_store.window(i, y=0, x=0, h=32, w=32)  # half precision: not every pixel is certain
        labels, uncertainty = random_ensemble.predict(features)
        assert (pair.mask() == labels).mean() > 0.98
        np.testing.assert_allclose(pair.uncertainty(), uncertainty, atol=0.02)
        assert pair.seed == latents.seed[i]


def test_the_manifest_says_where_a_pair_is_from_and_what_is_in_it(made, latents):
    rows = made.table().to_pylist()
    assert [row["seed"] for row in rows] == latents.seed.tolist()
    for row, pair in zip(rows, made, strict=True):
        assert row["fraction_b"] == pytest.approx((pair.mask() == 1).mean())
        assert sum(row[f"fraction_{name}"] for name in "abc") == pytest.approx(1)
        assert row["uncertainty"] == pytest.approx(image_score(pair.uncertainty()), rel=1e-3)
        assert row["licence"] == ""
    assert len({row["latent"] for row in rows}) == 5


def test_terms_of_stages_generator_and_ensemble_reach_every_pair(small_store, latents, tmp_path):
    (tmp_path / "generator").mkdir()
    settled = {"status": "complete", "fingerprint": "0", "config": {}, "inputs": {}, "seconds": 0, "peak_rss_bytes": 0}
    record = {"stage": "train", "licence": ["non-commercial"], **settled}
    (tmp_path / "generator" / "stage.json").write_text(json.dumps(record))
    generator, ensemble = make_small_generator(), make_ensemble(small_store)
    generator.licence, ensemble.licence = ("weights: non-commercial",), ("labels: CC BY", "non-commercial")
    one = latents.subset([0])
    pairs = synthesize(generator, ensemble, one, tmp_path / "pairs", inputs={"generator": tmp_path / "generator"})
    terms = ["labels: CC BY", "non-commercial", "weights: non-commercial"]
    assert pairs.table()["licence"].to_pylist() == ["; ".join(terms)]
    assert read_record(pairs.path)["licence"] == terms
    alone = synthesize(generator, ensemble, one, tmp_path / "alone")
    assert alone.table()["licence"].to_pylist() == ["; ".join(terms)]


def test_selecting_drops_the_most_uncertain_and_keeps_the_order(made):
    scores = [pair.score for pair in made]
    selected = made.select(drop_uncertain=0.4)
    assert len(selected) == 3
    assert [p.score for p in selected] == [s for s in scores if s <= sorted(scores)[2]]
    np.testing.assert_array_equal(selected[0].image(), made[selected[0].index].image())
    assert len(made.select(drop_uncertain=0)) == 5
    assert made[-1].seed == made[4].seed
    with pytest.raises(IndexError):
        selected[3]
    with pytest.raises(InputError, match=r"less than 1, 0\.5 for half, not 1"):
        made.select(drop_uncertain=1)


def test_the_zarr_store_has_one_image_per_chunk(made):
    group = zarr.open_group(made.path / "pairs.zarr", mode="r")
    assert {name: (array.shape, array.chunks, str(array.dtype)) for name, array in group.arrays()} == {
        "image": ((5, 32, 32, 3), (1, 32, 32, 3), "uint8"),
        "mask": ((5, 32, 32), (1, 32, 32), "uint8"),
        "uncertainty": ((5, 32, 32), (1, 32, 32), "float16"),
        "index": ((5,), (65536,), "int64"),
        "seed": ((5,), (65536,), "int64"),
    }
    assert group["index"][:].tolist() == [0, 1, 2, 3, 4]
    assert group["seed"][:].tolist() == [pair.seed for pair in made]


@pytest.mark.parametrize("format", ["png", "ome-tiff"])
def test_folders_of_files_hold_the_same_pairs(made, small_generator, random_ensemble, latents, tmp_path, format):
    pairs = synthesize(small_generator, random_ensemble, latents, tmp_path / "pairs", format=format, classes=CLASSES)
    for pair, same in zip(pairs, made, strict=True):
        np.testing.assert_array_equal(pair.image(), same.image())
        np.testing.assert_array_equal(pair.mask(), same.mask())
        np.testing.assert_array_equal(pair.uncertainty(), same.uncertainty())
    assert pairs.table().equals(made.table())
    if format == "png":
        with Image.open(tmp_path / "pairs" / "masks" / "000001.png") as mask:
            assert mask.mode == "P"
            np.testing.assert_array_equal(np.asarray(mask.convert("RGB")), CLASSES.coloured(made[1].mask()))
    else:
        with tifffile.TiffFile(tmp_path / "pairs" / "images" / "000001.ome.tiff") as file:
            assert file.is_ome
            assert file.series[0].axes == "YXS"


@pytest.mark.parametrize("format", ["zarr", "png", "ome-tiff"])
def test_more_latents_add_to_a_finished_set(small_generator, random_ensemble, latents, tmp_path, format):
    for n in (2, 5):
        pairs = synthesize(
            small_generator, random_ensemble, latents.subset(range(n)), tmp_path / "grown", format=format
        )
        assert len(pairs) == n
    synthesize(small_generator, random_ensemble, latents, tmp_path / "at_once", format=format)
    assert content(tmp_path / "grown") == content(tmp_path / "at_once")


def test_latents_drawn_when_asked_for_give_the_same_set_as_those_drawn_at_once(
    made, small_generator, random_ensemble, tmp_path
):
    def seeded(first: int, n: int) -> SeededLatents:
        return SeededLatents(small_generator, range(first, first + n), psi=0.2)

    for n in (2, 5):
        synthesize(small_generator, random_ensemble, seeded(10, n), tmp_path / "pairs", classes=CLASSES)
    assert content(tmp_path / "pairs") == content(made.path)
    with pytest.raises(InputError, match=r"pair 0 .* was made with seed = 10, and now 11 is asked for; repeat"):
        synthesize(small_generator, random_ensemble, seeded(11, 5), tmp_path / "pairs", classes=CLASSES)


def test_a_finished_set_is_recognised_and_other_requests_are_refused(made, small_generator, random_ensemble, latents):
    before = (made.path / "manifest.parquet").stat().st_mtime_ns
    synthesize(small_generator, random_ensemble, latents, made.path, classes=CLASSES)
    assert (made.path / "manifest.parquet").stat().st_mtime_ns == before

    def refused(match, latents=latents, ensemble=random_ensemble, out=made.path, **more):
        with pytest.raises(InputError, match=match):
            synthesize(small_generator, ensemble, latents, out, **({"classes": CLASSES} | more))
        assert PairSet.open(made.path).table().equals(made.table())

    refused("holds 5 pairs already, and 3 are asked for", latents.subset([0, 1, 2]))
    refused("pair 1 .* was made with seed = 11, and now 12 is asked for; repeat", latents.subset([0, 2, 1, 3, 4]))
    again = dataclasses.replace(latents, psi=np.full_like(latents.psi, 0.7))
    refused(r"pair 0 .* was made with psi = 0\.2, and now 0\.7 is asked for; repeat .* --redo", again)
    refused("format = 'zarr', and now 'png'", format="png")
    refused("format must be one of zarr, ome-tiff, png, not 'jpeg'", format="jpeg")
    refused("tells 3 classes apart, and 5 are named", classes=KIDNEY)
    refused("window must be a whole number from 8 to 4096, not 0", window=0)
    refused("label must be vote, mean, not 'median'", label="median")
    refused("workers must be a whole number", workers=-1)
    refused("is about workers of this machine", workers=2, scheduler="tcp://127.0.0.1:8786")
    refused("was made from another ensemble; add --redo", ensemble=make_ensemble_like(random_ensemble))


def make_ensemble_like(ensemble):
    return PixelEnsemble(layers=ensemble.layers, classes="abc", generator=torch.Generator().manual_seed(9))


def test_masks_are_made_by_the_rule_asked_for_and_a_set_has_one(small_generator, small_store, latents, tmp_path, capfd):
    ensemble = make_ensemble(small_store, members=4)

    def make(n, **more):
        return synthesize(small_generator, ensemble, latents.subset(range(n)), tmp_path / "pairs", **more)

    window = next(synthesize_windows(small_generator, torch.tensor(latents.w[:1]), blocks=3))
    mask = make(1, label="mean")[0].mask()
    np.testing.assert_array_equal(mask, ensemble.predict(window.features, label="mean")[0])
    assert (mask != ensemble.predict(window.features)[0]).any()
    with pytest.raises(InputError, match="label = 'mean', and now 'vote' is asked for; repeat the first setting"):
        make(2)
    make(1, redo=True)
    record = read_record(tmp_path / "pairs")
    assert record["config"].pop("label") == "vote"
    write_json(tmp_path / "pairs" / "stage.json", record)  # of a set made when there was no choice
    make(1)
    assert "is complete: nothing to do" in capfd.readouterr().err
    with pytest.raises(InputError, match="label = 'vote', and now 'mean' is asked for"):
        make(2, label="mean")
    assert len(make(2)) == 2
    assert read_record(tmp_path / "pairs")["config"]["label"] == "vote"


def test_an_ensemble_for_other_features_is_refused(small_generator, latents, tmp_path):
    other = PixelEnsemble(layers={"b32.conv0": 5, "b32.conv1": 5}, classes="ab", generator=torch.Generator())
    with pytest.raises(InputError, match=r"fitted on the layers b32\.conv0, b32\.conv1"):
        synthesize(small_generator, other, latents, tmp_path / "pairs")
    assert not (tmp_path / "pairs").exists()


def test_a_ledger_that_was_cut_off_costs_one_pair(made, small_generator, random_ensemble, latents, tmp_path):
    synthesize(small_generator, random_ensemble, latents, tmp_path / "pairs", classes=CLASSES)
    ledger, record = tmp_path / "pairs" / "ledger.jsonl", tmp_path / "pairs" / "stage.json"
    ledger.write_bytes(ledger.read_bytes()[:-30])
    record.write_text(json.dumps(json.loads(record.read_text()) | {"status": "running"}))
    synthesize(small_generator, random_ensemble, latents, tmp_path / "pairs", classes=CLASSES)
    assert content(tmp_path / "pairs") == content(made.path)


def test_what_zarr_was_writing_when_it_was_killed_is_swept_up(
    made, small_generator, random_ensemble, latents, tmp_path
):
    out = shutil.copytree(made.path, tmp_path / "pairs")
    for name in ("zarr.0123.partial", "image/zarr.0123.partial", "mask/c/0/0/0.0123.partial"):
        (out / "pairs.zarr" / name).write_bytes(b"half")
    record = json.loads((out / "stage.json").read_text())
    (out / "stage.json").write_text(json.dumps(record | {"status": "running"}))
    synthesize(small_generator, random_ensemble, latents, out, classes=CLASSES)
    assert content(out) == content(made.path)


def test_reading_pairs_needs_no_torch(made):
    code = f"""
import sys
from hdgan.pairs import PairSet
pairs = PairSet.open({str(made.path)!r}).select(drop_uncertain=0.2)
assert pairs[0].image().shape == (32, 32, 3)
sys.exit('torch' in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("format", ["zarr", "png", "ome-tiff"])
def test_a_synthesis_killed_within_any_pair_ends_with_the_same_set(small_store, small_generator, tmp_path, format):
    latents, ensemble = make_latents(small_generator, 5), make_ensemble(small_store)
    synthesize(small_generator, ensemble, latents, tmp_path / "undisturbed", format=format, window=16)
    ensemble.save(tmp_path / "ensemble.safetensors")
    script = tmp_path / "run.py"
    script.write_text(f"""
import sys
import time
import torch
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
torch.set_num_threads(1)
from small_study import make_latents, make_small_generator
from hdgan.pairs import synthesize
from hdgan.pixels import PixelEnsemble
generator = make_small_generator()
ensemble = PixelEnsemble.load({str(tmp_path / "ensemble.safetensors")!r})
predictor = type(ensemble.predictor())
predict = predictor.predict
predictor.predict = lambda *given, **asked: (time.sleep(0.02), predict(*given, **asked))[1]  # so it is killed within
synthesize(generator, ensemble, make_latents(generator, 5), {str(tmp_path / "killed")!r}, format={format!r}, window=16)
""")
    ledger = tmp_path / "killed" / "ledger.jsonl"
    for made in range(1, 5):
        process = subprocess.Popen([sys.executable, str(script)])
        while process.poll() is None and not (ledger.exists() and ledger.read_text().count("\n") >= made):
            time.sleep(0.001)
        time.sleep(0.03)  # into the next pair
        process.kill()
        process.wait()
    subprocess.run([sys.executable, str(script)], check=True)
    assert content(tmp_path / "killed") == content(tmp_path / "undisturbed")


@pytest.mark.parametrize("mpp", [None, 0.25])
def test_pairs_are_of_the_resolution_of_their_generator_where_it_is_known(random_ensemble, mpp, tmp_path):
    generator = make_small_generator()
    generator.mpp = mpp
    pairs = synthesize(generator, random_ensemble, make_latents(generator, 2), tmp_path / "pairs")
    assert pairs.mpp == mpp
    assert pairs.table()["mpp"].to_pylist() == [mpp, mpp]
    assert zarr.open_group(tmp_path / "pairs" / "pairs.zarr", mode="r").attrs.get("mpp") == mpp
    export_pairs(pairs[1:], tmp_path / "out", format="ome-tiff")
    with open_slide(tmp_path / "out" / "images" / "000001.ome.tiff") as slide:
        assert slide.mpp == mpp
