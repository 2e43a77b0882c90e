import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_study import make_latents

from hdgan.features import FeatureStore
from hdgan.pixels import PRESETS, PixelEnsemble, Preset, fit
from hdgan.pixels.ensemble import with_colours
from hdgan.pixels.fitting import _Task
from hdgan.pixels.trainer import members_losses
from hdgan.stylegan2 import to_uint8
from tiling.errors import InputError
from training.checkpoint import load_state, save_state
from training.host import Host

SPLIT = {"train": [0, 1, 2], "validation": [3], "test": [4, 5]}
QUICK = Preset(batch=128, epoch_pixels=1024, epochs=4, dropout=0.3, noise_probability=0.5, noise_deviation=0.1)


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
    assert config["split"] == SPLIT
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
