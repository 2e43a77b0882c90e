"""The classifier that augmenters are judged by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from small_augmenters import two_classes

from hdgan.augmenters.classifier import CLASSIFIER, Classifier, ClassifierConfig, _ClassifierTrainer, fit_classifier
from hdgan.augmenters.geometric import GeometricConfig
from hdgan.augmenters.gmcl import GMCLTrainer
from hdgan.augmenters.gmcl_config import GMCLConfig
from tiling.errors import InputError
from training.checkpoint import save_weights
from training.host import Host

SMALL = ClassifierConfig(steps=40, batch=8, width=8)


def test_it_learns_what_can_be_learnt_and_is_read_back(tmp_path: Path) -> None:
    images = two_classes()
    made = fit_classifier(images, run=tmp_path, config=SMALL)
    chances = made.predict(images.pixels)
    assert (chances.shape, chances.dtype) == ((40, 2), np.float32)
    np.testing.assert_allclose(chances.sum(axis=1), 1, rtol=1e-5)
    assert (chances.argmax(axis=1) == images.labels).mean() > 0.9
    loaded = Classifier.load(tmp_path / CLASSIFIER)
    np.testing.assert_array_equal(loaded.predict(images.pixels), chances)
    assert loaded.embed(images.pixels).shape == (40, 32)
    assert [of(images.pixels[:0]).shape for of in (loaded.predict, loaded.embed)] == [(0, 2), (0, 32)]
    assert loaded.licence == ("CC0-1.0",)


def test_a_student_normalises_by_what_it_saw_of_real_images_and_needs_no_batch(tmp_path: Path) -> None:
    images = two_classes()
    made = fit_classifier(images, run=tmp_path, config=replace(SMALL, network="student", width=4))
    chances = made.predict(images.pixels)
    assert (chances.argmax(axis=1) == images.labels).mean() > 0.9
    np.testing.assert_allclose(made.predict(images.pixels[:1]), chances[:1], atol=1e-5)
    assert made.about == {"kind": "student", "width": 4}


def test_batches_of_gmcl_and_of_a_classifier_are_balanced_where_that_is_asked() -> None:
    images = two_classes().subset([*range(0, 40, 2), 1, 3])  # 20 of "left", 2 of "right"

    def shown(balanced: bool) -> list[list[float]]:
        gmcl = GMCLConfig(batch=8, inner_steps=1, student_width=4, balanced=balanced)
        alone = ClassifierConfig(batch=8, width=4, balanced=balanced)
        trainers = [
            GMCLTrainer(gmcl, images, seed=0, host=Host("cpu")),
            _ClassifierTrainer(alone, images, seed=0, host=Host("cpu"), transform=None),
        ]
        return [sum(c.sum(dim=0) for _, c in trainer.real(0)).tolist() for trainer in trainers]

    assert shown(balanced=True) == [[4, 4], [4, 4]]
    assert all(left > 4 for left, _ in shown(balanced=False))


def test_passes_differ_by_what_is_dropped_and_are_the_same_by_seed(tmp_path: Path) -> None:
    images = two_classes(8)
    made = fit_classifier(images, run=tmp_path / "a", config=ClassifierConfig(steps=1, batch=8, width=8))
    passes = made.passes(images.pixels, count=3, seed=1)
    assert passes.shape == (3, 8, 2)
    assert not np.array_equal(passes[0], passes[1])
    state = torch.get_rng_state()
    np.testing.assert_array_equal(made.passes(images.pixels, count=3, seed=1), passes)
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(made.predict(images.pixels), made.predict(images.pixels))
    certain = fit_classifier(images, run=tmp_path / "b", config=ClassifierConfig(steps=1, batch=8, dropout=0.0))
    with pytest.raises(InputError, match="with dropout, of which this classifier has none"):
        certain.passes(images.pixels, count=2)


def test_a_fit_that_is_stopped_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch) -> None:
    images = two_classes()
    settings = {"config": ClassifierConfig(steps=6, batch=8, width=8), "transform": GeometricConfig()}
    wanted = fit_classifier(images, run=tmp_path / "undisturbed", **settings).predict(images.pixels)
    step = _ClassifierTrainer.step

    def stopped(self, index: int):
        if index == 4:
            raise KeyboardInterrupt
        return step(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(_ClassifierTrainer, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            fit_classifier(images, run=tmp_path / "run", **settings)
    got = fit_classifier(images, run=tmp_path / "run", **settings).predict(images.pixels)
    np.testing.assert_array_equal(got, wanted)


def test_it_learns_in_bf16_too_and_leaves_no_checkpoints(tmp_path: Path) -> None:
    images = two_classes()
    for _ in range(2):
        made = fit_classifier(images, run=tmp_path, config=SMALL, device="cpu", precision="bf16")
        assert not (tmp_path / "checkpoints").exists()
        (tmp_path / "checkpoints").mkdir()  # as of a fit that was killed at its end
    assert (made.predict(images.pixels).argmax(axis=1) == images.labels).mean() > 0.9
    assert all(weight.dtype == torch.float32 for weight in made.network.parameters())


def test_images_of_another_size_are_refused(tmp_path: Path) -> None:
    made = fit_classifier(two_classes(8), run=tmp_path, config=ClassifierConfig(steps=1, batch=8))
    with pytest.raises(InputError, match=r"takes images of .*; these are 28 x 28 px, grey"):
        made.predict(np.zeros((2, 28, 28, 1), np.uint8))
    for floats in (np.full((2, 16, 16, 1), np.nan), np.zeros((2, 16, 16, 1))):
        with pytest.raises(InputError, match="images must be uint8, 0 to 255, and these are float64"):
            made.embed(floats)


def test_files_and_settings_that_are_none_are_refused(tmp_path: Path) -> None:
    about = {"network": {"kind": []}, "shape": {"size": 16, "channels": 1, "classes": ["a", "b"]}, "licence": []}
    save_weights(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, kind="classifier", about=about)
    with pytest.raises(InputError, match=r"no network of a classifier: \{'kind': \[\]\}; there are: strided, student"):
        Classifier.load(tmp_path / "a.safetensors")
    with pytest.raises(InputError, match="balanced must be true or false, not 'no'"):
        ClassifierConfig(balanced="no")
    with pytest.raises(InputError, match="seed must be a whole number from 0"):
        fit_classifier(two_classes(8), run=tmp_path / "run", config=SMALL, seed=-1)
    with pytest.raises(InputError, match="6 images are fewer than a batch of 8"):
        fit_classifier((two_classes(6).pixels, [0, 1] * 3), run=tmp_path / "run", config=SMALL)
    assert not (tmp_path / "run").exists()
