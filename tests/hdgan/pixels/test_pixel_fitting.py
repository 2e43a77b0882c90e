import json
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import make_latents

from hdgan.features import FeatureStore, extract
from hdgan.lazy import LazyMapping
from hdgan.pixels import PRESETS, PixelEnsemble, Preset, fit
from hdgan.pixels.ensemble import with_colours
from hdgan.pixels.fitting import _Task
from hdgan.pixels.trainer import members_losses
from hdgan.provenance import digest
from hdgan.stylegan2 import to_uint8
from tiling.errors import InputError
from training.checkpoint import load_state, save_state
from training.host import Host

SPLIT = {"train": [0, 1, 2], "validation": [3], "test": [4, 5]}
QUICK = Preset(batch=128, epoch_pixels=1024, epochs=4, dropout=0.3, noise_probability=0.5, noise_deviation=0.1)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("optimiser", "SGD", "optimiser must be one of adam, sgd, not 'SGD'"),
        ("patience", 0, "patience must be a whole number from 1 to 2147483648, not 0"),
        ("batch", None, "batch must be a whole number from 1 to 2147483648, not None"),
        ("epochs", 2.5, "epochs must be a whole number from 1 to 2147483648, not 2.5"),
        ("epoch_pixels", 0, "epoch_pixels must be a whole number from 1"),
        ("dropout", 1, "dropout must be a number from 0.0 to 0.9999, not 1"),
        ("learning_rate", -1e-3, "learning_rate must be a number from 1e-12 to 1.0, not -0.001"),
        ("noise_deviation", float("nan"), "noise_deviation must be a number from 0.0 to 1000.0, not nan"),
        ("weight_deviation", -1.0, "weight_deviation must be a number from 0.0"),
        ("balanced", "no", "balanced must be true or false, not 'no'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(setting, value, said):
    with pytest.raises(InputError, match=re.escape(said)):
        Preset(**{setting: value})


@pytest.fixture(scope="module")
def images(small_generator):
    latents = make_latents(small_generator, 6)
    return dict(enumerate(to_uint8(small_generator.synthesis(torch.tensor(latents.w), noise="const"))))


def test_the_default_learns_what_the_features_tell_and_beats_colour(small_store, label_maps, images, tmp_path):
    ensemble = fit(
        small_store, label_maps, tmp_path / "c", split=SPLIT, members=4, classes=["a", "b", "c"], images=images
    )
    report = json.loads((tmp_path / "c" / "report.json").read_text())
    assert report["accuracy"] > 0.75
    assert report["accuracy"] > report["nearest_colour"]["micro"]["dice"] + 0.1
    assert report["ensemble"]["support"] == {
        name: sum(int((label_maps[i] == k).sum()) for i in (4, 5)) for k, name in enumerate("abc")
    }
    losses = [epoch["validation_loss"] for epoch in report["training"]["history"]]
    assert losses.index(min(losses)) + 1 == report["training"]["best_epoch"]
    config = json.loads((tmp_path / "c" / "config.json").read_text())
    assert config["split"] == {part: [small_store.latents[i] for i in images] for part, images in SPLIT.items()}
    assert config["layers"] == small_store.layers
    assert {path.name for path in (tmp_path / "c").iterdir()} == {
        "ensemble.safetensors", "config.json", "report.json", "metrics.jsonl", "stage.json",
    }  # fmt: skip
    loaded = PixelEnsemble.load(tmp_path / "c" / "ensemble.safetensors")
    features = small_store.pixels(4, [5, 6], [7, 8])
    assert torch.equal(loaded.logits(features), ensemble.logits(features))


@pytest.mark.parametrize("name", ["paper", "datasetgan"])
def test_the_published_recipes_run(small_store, label_maps, tmp_path, name):
    preset = replace(PRESETS[name], epochs=1, epoch_pixels=512, batch=min(PRESETS[name].batch, 256))
    ensemble = fit(small_store, label_maps, tmp_path / "c", split=SPLIT | {"validation": []}, members=2, preset=preset)
    assert ensemble.classes == ["class 0", "class 1", "class 2"]
    assert ensemble.hidden == (128, 32)
    assert bool((ensemble.deviation == 1).all()) == (name == "datasetgan")


def test_a_finished_fit_is_recognised_and_other_labels_are_refused(small_store, label_maps, tmp_path):
    fit(small_store, label_maps, tmp_path / "c", split=SPLIT, members=2, preset=QUICK)
    written = (tmp_path / "c" / "ensemble.safetensors").stat().st_mtime_ns
    fit(small_store, label_maps, tmp_path / "c", split=SPLIT, members=2, preset=QUICK)
    assert (tmp_path / "c" / "ensemble.safetensors").stat().st_mtime_ns == written
    changed = label_maps | {0: np.zeros((32, 32), np.uint8)}
    with pytest.raises(InputError, match=r"was made from other masks \(they have changed since\); add --redo"):
        fit(small_store, changed, tmp_path / "c", split=SPLIT, members=2, preset=QUICK)


def test_a_fit_is_of_its_images_wherever_in_the_store_they_are(small_generator, label_maps, tmp_path):
    latents, preset = make_latents(small_generator, 5), replace(QUICK, epochs=1)
    split, later = {"train": [0, 1], "test": [2]}, {"train": [2, 3], "test": [4]}
    store = extract(small_generator, latents.subset([2, 3, 4]), tmp_path / "features", blocks=3)
    fit(store, label_maps, tmp_path / "c", split=split, members=2, preset=preset)
    written = (tmp_path / "c" / "stage.json").read_text()
    store = extract(small_generator, latents, tmp_path / "features", blocks=3)
    moved = {place: label_maps[i] for place, i in zip((2, 3, 4), (0, 1, 2), strict=True)}
    fit(store, moved, tmp_path / "c", split=later, members=2, preset=preset)
    assert (tmp_path / "c" / "stage.json").read_text() == written
    with pytest.raises(InputError, match="made from masks of other images"):
        fit(store, label_maps, tmp_path / "c", split=split, members=2, preset=preset)


def test_a_fit_whose_record_tells_images_by_their_places_is_recognised(small_store, label_maps, images, tmp_path):
    asked = {"split": SPLIT, "members": 2, "preset": replace(QUICK, epochs=1)}
    fit(small_store, label_maps, tmp_path / "c", images=images, **asked)
    record = json.loads((tmp_path / "c" / "stage.json").read_text())
    earlier = {"split": SPLIT, "labels": digest(label_maps), "images": digest(images)}
    written = json.dumps(record | {"config": record["config"] | earlier})
    (tmp_path / "c" / "stage.json").write_text(written)
    fit(small_store, label_maps, tmp_path / "c", images=images, **asked)
    assert (tmp_path / "c" / "stage.json").read_text() == written
    with pytest.raises(InputError, match="made from other masks"):
        fit(small_store, label_maps | {1: label_maps[0]}, tmp_path / "c", images=images, **asked)


def test_an_ensemble_carries_the_terms_of_what_it_was_made_from(small_store, label_maps, tmp_path):
    features = tmp_path / "features"
    shutil.copytree(small_store.path, features)
    record = features / "stage.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"licence": ["non-commercial"]}))
    store = FeatureStore.open(features)
    ensemble = fit(store, label_maps, tmp_path / "c", split=SPLIT, members=2, preset=replace(QUICK, epochs=1))
    assert ensemble.licence == ("non-commercial",)
    assert PixelEnsemble.load(tmp_path / "c" / "ensemble.safetensors").licence == ("non-commercial",)


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_training_goes_on_from_a_checkpoint_as_if_nothing_had_happened(small_store, label_maps, tmp_path, optimiser):
    preset = replace(QUICK, optimiser=optimiser, momentum=0.9 if optimiser == "sgd" else 0.0)

    def trainer():
        task = _Task(small_store, label_maps, None, SPLIT, with_colours("abc"), preset, members=2, seed=0)
        return task.trainer(Host("cpu"))

    undisturbed = trainer()
    expected = [undisturbed.step(epoch) for epoch in range(QUICK.epochs)]
    losses = []
    for epoch in range(QUICK.epochs):
        continued = trainer()
        if epoch:
            continued.restore(load_state(tmp_path / "state"))
        losses.append(continued.step(epoch))
        save_state(tmp_path / "state", continued.state())
    assert losses == expected
    assert continued.best_epoch == undisturbed.best_epoch
    for name, tensor in undisturbed.best_ensemble().state_dict().items():
        assert torch.equal(continued.best_ensemble().state_dict()[name], tensor)


class Together(Host):
    """A process among several that are threads here, and add up in memory."""

    def __init__(self, index, added, barrier):
        super().__init__("cpu")
        self.index, self.count, self._added, self._barrier = index, len(added), added, barrier

    def sum(self, value):
        self._added[self.index] = value
        self._barrier.wait(60)
        total = sum(self._added)
        self._barrier.wait(60)
        return total


@pytest.mark.parametrize(("members", "count"), [(3, 2), (2, 2), (5, 3)])
def test_processes_that_share_the_members_end_with_the_weights_of_one(
    small_store, label_maps, tmp_path, members, count
):
    preset = replace(QUICK, bootstrap=True, patience=1, learning_rate=0.05, epochs=3)
    task = _Task(small_store, label_maps, None, SPLIT, with_colours("abc"), preset, members=members, seed=0)

    def trained(host, epochs=range(3), state=None):
        trainer = task.trainer(host)
        if state is not None:
            trainer.restore(load_state(state))
        losses = [(trainer.step(epoch), trainer.out_of_patience()) for epoch in epochs]
        kept = tmp_path / f"{epochs} by {host.index} of {host.count}"
        save_state(kept, trainer.state())
        return losses, kept

    def together(*how):
        added, barrier = [None] * count, threading.Barrier(count)
        with ThreadPoolExecutor(count) as threads:
            hosts = [Together(index, added, barrier) for index in range(count)]
            return list(threads.map(lambda host: trained(host, *how), hosts))

    losses, alone = trained(Host("cpu"))
    expected = load_state(alone)
    for found, state in together():
        assert found == losses
        assert_same_state(load_state(state), expected)
    first, rest = range(1), range(1, 3)
    for _, state in together(rest, trained(Host("cpu"), first)[1]):
        assert_same_state(load_state(state), expected)
    assert_same_state(load_state(trained(Host("cpu"), rest, together(first)[0][1])[1]), expected)


def assert_same_state(ours, others):
    if isinstance(ours, dict):
        assert ours.keys() == others.keys()
        for name, value in ours.items():
            assert_same_state(value, others[name])
    elif isinstance(ours, torch.Tensor):
        torch.testing.assert_close(ours, others, rtol=1e-5, atol=1e-6)  # to the bit, where products are made row by row
    else:
        assert ours == others


def test_more_processes_than_members_are_refused(small_store, label_maps, tmp_path, monkeypatch):
    monkeypatch.setattr("hdgan.pixels.fitting.Host", lambda device: Together(0, [None] * 3, None))
    monkeypatch.setattr(Together, "told", lambda self, value=None: value, raising=False)
    with pytest.raises(InputError, match="3 processes cannot share 2 members"):
        fit(small_store, label_maps, tmp_path / "c", split=SPLIT, members=2, preset=QUICK)
    assert not (tmp_path / "c").exists()


def test_features_that_are_made_again_are_learnt_as_those_stored_in_float32(small_generator, label_maps, tmp_path):
    latents = make_latents(small_generator, 6)
    made = []
    for store, kept in (("none", {}), ("zarr", {"dtype": "float32"})):
        features = extract(small_generator, latents, tmp_path / store, blocks=3, store=store, **kept)
        made.append(fit(features, label_maps, tmp_path / f"fit {store}", split=SPLIT, members=2, preset=QUICK))
    for name, tensor in made[0].state_dict().items():
        torch.testing.assert_close(tensor, made[1].state_dict()[name], rtol=1e-5, atol=1e-6)


def test_label_maps_are_read_one_at_a_time_and_three_times_at_most(small_store, label_maps, images, tmp_path):
    read, held = [], []

    def mask(i):
        assert sum(there() is not None for there in held) <= 1  # the one before, until this one takes its place
        values = label_maps[i].copy()
        read.append(i)
        held.append(weakref.ref(values))
        return values

    masks = LazyMapping(range(6), mask)
    fit(small_store, masks, tmp_path / "c", split=SPLIT, members=2, preset=replace(QUICK, epochs=1), images=images)
    assert {i: read.count(i) for i in range(6)} == {0: 3, 1: 3, 2: 3, 3: 2, 4: 3, 5: 3}


def test_a_gpus_precision_labels_a_fitted_ensembles_images_alike(small_store, label_maps, tmp_path):
    preset = replace(QUICK, epochs=20)
    ensemble = fit(small_store, label_maps, tmp_path / "c", split=SPLIT, members=4, preset=preset)
    exact, coarse = ensemble.predictor(), ensemble.predictor(dtype=torch.bfloat16)
    found = [(p.predict(small_store.patch(i, y=0, x=0, h=32, w=32))) for p in (exact, coarse) for i in range(6)]
    labels, uncertainties = (np.array(values) for values in zip(*found, strict=True))
    assert len(np.unique(labels)) == 3
    assert np.mean(labels[:6] == labels[6:]) >= 0.99
    np.testing.assert_allclose(uncertainties[:6], uncertainties[6:], atol=0.1)


def test_a_fit_ends_when_the_validation_loss_has_not_fallen_for_as_long_as_it_has_patience(
    small_store, label_maps, tmp_path
):
    preset = replace(QUICK, epochs=60, patience=2, learning_rate=0.05)
    fit(small_store, label_maps, tmp_path / "c", split=SPLIT, members=2, preset=preset)
    training = json.loads((tmp_path / "c" / "report.json").read_text())["training"]
    assert training["epochs"] == len(training["history"]) == training["best_epoch"] + 2 < 60
    losses = [epoch["validation_loss"] for epoch in training["history"]]
    assert min(losses) == losses[training["best_epoch"] - 1]


def test_bad_splits_and_labels_are_refused(small_store, label_maps, tmp_path):
    def refused(match, split=SPLIT, labels=label_maps, **more):
        with pytest.raises(InputError, match=match):
            fit(small_store, labels, tmp_path / "c", split=split, **more)
        assert not (tmp_path / "c").exists()

    refused("names no image to train on", {"train": []})
    refused("not tets", {"train": [0], "tets": [1]})
    refused(r"in more are \[0\]", {"train": [0], "test": [0]})
    refused("image 9 of the split has no label map", {"train": [9]})
    refused(r"label map 0 is \(8, 8\) uint8", labels=label_maps | {0: np.zeros((8, 8), np.uint8)})
    refused("hold class 2; the classes are a, b", classes=["a", "b"])
    refused("unknown preset 'best'; there are default, balanced, paper, datasetgan", preset="best")
    refused("image 0 of the split is missing from images", images={})
    refused("at least 1 member, not 0", members=0)
    nothing = dict.fromkeys(range(6), np.full((32, 32), 255, np.uint8))
    refused(r"no pixel is labelled in the train images \[0, 1, 2\]", labels=nothing)
    refused(r"no pixel is labelled in the validation images \[3\]", labels=label_maps | {3: nothing[3]})


@pytest.mark.slow
def test_a_fit_killed_after_any_epoch_ends_with_the_same_ensemble(small_store, label_maps, tmp_path):
    fit(small_store, label_maps, tmp_path / "undisturbed", split=SPLIT, members=2, preset=QUICK)
    script = tmp_path / "run.py"
    script.write_text(f"""
import sys
import time
import torch
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
torch.set_num_threads(1)
from small_study import make_label_maps
from hdgan.features import FeatureStore
from hdgan.pixels import Preset, fit
store = FeatureStore.open({str(small_store.path)!r})
fit(store, make_label_maps(store), {str(tmp_path / "killed")!r}, split={SPLIT!r}, members=2, preset={QUICK!r})
""")
    for epoch in range(1, 4):
        checkpoint = tmp_path / "killed" / "checkpoints" / f"step-{epoch:08d}.safetensors"
        process = subprocess.Popen([sys.executable, str(script)])
        while process.poll() is None and not checkpoint.exists():
            time.sleep(0.002)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    subprocess.run([sys.executable, str(script)], check=True)
    for name in ("ensemble.safetensors", "metrics.jsonl", "report.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "undisturbed" / name).read_bytes()


def test_members_that_draw_for_themselves_differ_from_those_that_share_pixels(small_store, label_maps, tmp_path):
    made = {
        bootstrap: fit(small_store, label_maps, tmp_path / f"{bootstrap}", split=SPLIT, members=2, preset=replace(
            QUICK, bootstrap=bootstrap, epochs=2, dropout=0.0,
        ))
        for bootstrap in (True, False)
    }  # fmt: skip
    weights = [made[bootstrap].linear[0].weight for bootstrap in (True, False)]
    assert not torch.allclose(*weights)
    with pytest.raises(InputError, match=r"made with bootstrap = True, and now False is asked for"):
        fit(small_store, label_maps, tmp_path / "True", split=SPLIT, members=2, preset=replace(
            QUICK, bootstrap=False, epochs=2, dropout=0.0,
        ))  # fmt: skip


def test_a_pixel_counts_as_often_as_a_member_drew_it():
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(2, 3, 5, generator=draw), torch.tensor([0, 1, 2, 1, 0])
    times = torch.tensor([[1.0, 0, 2, 1, 1], [0, 3, 0, 1, 1]])
    repeated = [torch.repeat_interleave(torch.arange(5), times[m].long()) for m in range(2)]
    expected = [members_losses(logits[m : m + 1, :, rows], labels[rows]) for m, rows in enumerate(repeated)]
    assert torch.allclose(members_losses(logits, labels, times=times), torch.cat(expected))
