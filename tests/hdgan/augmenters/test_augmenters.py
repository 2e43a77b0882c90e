"""What holds for every augmenter."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_augmenters import SMALL, TRAINED, assert_equal, small, trainer_of, two_classes, weights

from hdgan.augmenters import create, load, names
from hdgan.augmenters.base import AUGMENTER, Shape
from hdgan.augmenters.cvae import CVAE, CVAEConfig
from tiling.errors import InputError
from tiling.stage import read_record
from training.checkpoint import load_weights, save_weights

EVERY, EVERY_TRAINED = pytest.mark.parametrize("name", SMALL), pytest.mark.parametrize("name", TRAINED)


def test_every_method_is_tried_here() -> None:
    assert set(SMALL) == set(names())


@EVERY
def test_a_loaded_augmenter_gives_the_same_samples_and_classes_give_others(name: str, tmp_path: Path) -> None:
    fitted = small(name).fit(two_classes(), run=tmp_path / "run", seed=3)
    samples = fitted.sample(70, "left", seed=1)
    assert (samples.shape, samples.dtype) == ((70, 16, 16, 1), np.uint8)
    fitted.save(tmp_path / "copy.safetensors")
    for path in (tmp_path / "run" / AUGMENTER, tmp_path / "copy.safetensors"):
        loaded = load(path)
        assert loaded.config == fitted.config
        assert (loaded.classes, loaded.licence) == (("left", "right"), ("CC0-1.0",))
        np.testing.assert_array_equal(loaded.sample(70, 0, seed=1), samples)
    assert (fitted.sample(70, "right", seed=1) != samples).any()
    assert (fitted.sample(70, "left", seed=2) != samples).any()
    assert len(np.unique(samples, axis=0)) == 70
    np.testing.assert_allclose(fitted.sample(3, 0, seed=1).astype(int), samples[:3], atol=1)


@EVERY
@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3)])
def test_images_of_other_sizes_and_colours_are_made(name: str, size: int, channels: int, tmp_path: Path) -> None:
    images = two_classes(size=size, channels=channels)
    fitted = small(name, **({} if name == "geometric" else {"steps": 1})).fit(images, run=tmp_path)
    assert fitted.sample(2, 1, seed=0).shape == (2, size, size, channels)


CARRYING = pytest.param("gmcl", {"carry_momentum": True}, id="gmcl that carries its momentum")


@pytest.mark.parametrize(("name", "settings"), [*((name, {}) for name in TRAINED), CARRYING])
def test_a_fit_that_is_stopped_goes_on_to_the_same_weights(
    name: str, settings: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = two_classes()
    small(name, **settings).fit(images, run=tmp_path / "undisturbed")
    augmenter, trainer = small(name, **settings), trainer_of(name)
    step = trainer.step

    def stopped(self, index: int):
        if index == 3:
            raise KeyboardInterrupt
        return step(self, index)

    with monkeypatch.context() as patched:
        patched.setattr(trainer, "step", stopped)
        with pytest.raises(KeyboardInterrupt):
            augmenter.fit(images, run=tmp_path / "run")
    assert read_record(tmp_path / "run")["status"] == "running"
    small(name, **settings).fit(images, run=tmp_path / "run")
    assert_equal(weights(tmp_path / "run"), weights(tmp_path / "undisturbed"))


@EVERY_TRAINED
def test_losses_are_logged_by_name_and_samples_shown(name: str, tmp_path: Path) -> None:
    small(name, steps=10).fit(two_classes(), run=tmp_path)
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [key for key in logged[0] if key.startswith("loss")]
    sheets = sorted(path.stem for path in (tmp_path / "samples").iterdir())
    assert sheets[-1] in ("step-00000010", "kimg-000000.080")


@pytest.mark.parametrize(("name", "temporary"), [("dcgan", "checkpoints"), ("stylegan2", "training")])
def test_what_a_fit_that_was_killed_at_its_end_left_goes_with_the_next_call(
    name: str, temporary: str, tmp_path: Path
) -> None:
    small(name, steps=1).fit(two_classes(), run=tmp_path)
    assert not (tmp_path / temporary).exists()
    (tmp_path / temporary).mkdir()
    (tmp_path / temporary / "step-00000001.safetensors").touch()
    small(name, steps=1).fit(two_classes(), run=tmp_path)
    assert not (tmp_path / temporary).exists()


@EVERY_TRAINED
def test_losses_in_bf16_are_near_those_in_float32(name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    wanted, got = (losses_in(precision, name, tmp_path / precision) for precision in ("fp32", "bf16"))
    assert got == pytest.approx(wanted, rel=0.1)
    assert (got == wanted) == (name == "gmcl")
    assert ("gmcl: computed in float32 and not in bf16" in capfd.readouterr().err) == (name == "gmcl")
    with pytest.raises(InputError, match="precision must be one of auto, fp32, bf16, not 'half'"):
        losses_in("half", name, tmp_path / "half")


def losses_in(precision: str, name: str, run: Path) -> dict[str, float]:
    """Means over two steps on the CPU."""
    small(name, steps=2).fit(two_classes(), run=run, device="cpu", precision=precision)
    (logged,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {key: value for key, value in logged.items() if key.startswith("loss")}


@pytest.mark.parametrize("name", ["dcgan", "stylegan2"])
def test_losses_are_logged_for_tensorboard_too(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    small(name, steps=1).fit(two_classes(), run=tmp_path, tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events*"))


def test_what_a_student_is_shown_is_left_as_a_picture_with_a_row_for_each_inner_step(tmp_path: Path) -> None:
    small("gmcl", steps=1).fit(two_classes(), run=tmp_path)
    with Image.open(tmp_path / "curriculum.png") as sheet:
        assert sheet.size == (8 * 76, 3 * 90)


@EVERY_TRAINED
def test_what_cannot_be_fitted_is_told_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="6 images are fewer than a batch of 8: take a smaller one, such as batch=3"):
        small(name).fit(two_classes(6), run=tmp_path / "run")
    with pytest.raises(InputError, match="none is of right: number classes from 0"):
        small(name).fit(two_classes().subset(range(0, 40, 2)), run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_names_and_settings_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no augmenter 'gan'; there are: geometric, "):
        create("gan")
    with pytest.raises(InputError, match="dcgan has no setting 'stpes'; there are: steps, batch, "):
        create("dcgan", stpes=3)
    with pytest.raises(InputError, match="steps must be a whole number from 1"):
        create("dcgan", steps=0)
    with pytest.raises(InputError, match="this dcgan augmenter is not fitted"):
        create("dcgan").sample(1, 0, seed=0)
    (tmp_path / "no.safetensors").write_bytes(b"no")
    with pytest.raises(InputError, match="is not a safetensors file"):
        load(tmp_path / "no.safetensors")
    fitted = small("geometric").fit(two_classes(), run=tmp_path / "run")
    with pytest.raises(InputError, match="no class 'up'; there are: left, right"):
        fitted.sample(1, "up", seed=0)
    with pytest.raises(InputError, match="no class 2; there are: left, right"):
        fitted.sample(1, 2, seed=0)


def test_what_was_made_before_there_was_a_setting_is_read_and_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images, run = two_classes(), tmp_path / "run"
    small("gmcl", steps=1).fit(images, run=run)
    record = json.loads((run / "stage.json").read_text())
    assert record["config"].pop("balanced") is False
    (run / "stage.json").write_text(json.dumps(record))
    tensors, about = load_weights(run / AUGMENTER, kind="augmenter")
    del about["config"]["balanced"]
    save_weights(run / AUGMENTER, tensors, kind="augmenter", about=about)
    assert load(run / AUGMENTER).config.balanced is False
    capsys.readouterr()
    small("gmcl", steps=1).fit(images, run=run)
    assert "is complete: nothing to do" in capsys.readouterr().err
    with pytest.raises(InputError, match="was made with balanced = False, and now True is asked for"):
        small("gmcl", steps=1, balanced=True).fit(images, run=run)


def test_other_images_are_told_as_such(tmp_path: Path) -> None:
    images = two_classes()
    small("geometric").fit(images, run=tmp_path)
    told = "was made from other images, or other labels; add --redo"
    for other in (images.subset(range(36)), replace(images, pixels=255 - np.asarray(images.pixels))):
        with pytest.raises(InputError, match=told):
            small("geometric").fit(other, run=tmp_path)
    with pytest.raises(InputError, match="was made from other classes"):
        small("geometric").fit(replace(images, classes=("a", "b")), run=tmp_path)


def test_a_log_that_cannot_be_written_is_told_before_anything_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InputError, match="pip install tensorboard"):
        small("dcgan").fit(two_classes(), run=tmp_path / "run", tensorboard=True)
    assert not (tmp_path / "run").exists()


def test_numbers_of_numpy_are_numbers(tmp_path: Path) -> None:
    one = np.int64(1)
    fitted = small("dcgan", steps=one).fit(two_classes(), run=tmp_path, seed=one)
    np.testing.assert_array_equal(fitted.sample(one, one, seed=one, first=one), fitted.sample(2, "right", seed=1)[1:])


def test_arrays_and_places_are_images_too(tmp_path: Path) -> None:
    images = two_classes()
    np.savez(tmp_path / "small.npz", train_images=images.pixels, train_labels=images.labels)
    sources = [images, (images.pixels, images.labels), (images.pixels[..., 0], images.labels.tolist()),
               tmp_path / "small.npz", str(tmp_path / "small.npz")]  # fmt: skip
    fitted = [small("geometric").fit(of, run=tmp_path / f"{k}") for k, of in enumerate(sources)]
    assert [each.classes for each in fitted] == [("left", "right"), *[("0", "1")] * 4]
    for each in fitted:
        np.testing.assert_array_equal(each.sample(3, 1, seed=0), fitted[0].sample(3, 1, seed=0))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (images := two_classes(4).pixels, "a pair of images and labels, or a place, not ndarray"),
        ((images, np.array([0, 1, 2000, 1])), "a label is 2000: number the classes from 0; 1000 are taken at most"),
        ((images, np.array([0, 1, np.nan, 1])), "labels of the images must be whole numbers, 0 for the first class"),
        ((images, np.array([0, 1, -1, 1])), "image 2 has label -1"),
        ((images.astype(float), np.array([0, 1, 0, 1])), "these are float64: convert them"),
        ("none.npz", "no images at none.npz: give an .npz file, a folder of images or a folder of tiles"),
    ],
)
def test_sources_of_no_images_are_refused(source, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        small("geometric").fit(source, run=tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Learning(CVAE):
    learns_unlabelled = True


def test_unlabelled_images_are_for_methods_that_learn_from_them(tmp_path: Path, capsys) -> None:
    images, more = two_classes(), two_classes(12).pixels
    config = CVAEConfig(steps=1, batch=8, latent=4, width=4)
    prints = []
    for k, (kind, unlabelled) in enumerate([(CVAE, None), (CVAE, more), (Learning, None), (Learning, more)]):
        kind(config).fit(images, unlabelled=unlabelled, run=tmp_path / f"{k}")
        prints.append(read_record(tmp_path / f"{k}")["config"]["images"])
        said = "cvae learns nothing from unlabelled images" in capsys.readouterr().err
        assert said == (k == 1)
    assert prints[0] == prints[1] == prints[2] != prints[3]
    with pytest.raises(InputError, match=r"unlabelled images are \(28, 28, 1\), and those with labels \(16, 16, 1\)"):
        CVAE(config).fit(images, unlabelled=two_classes(4, size=28).pixels, run=tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("dcgan", {"parts": "two"}, r"parts must be a whole number from 1 to .*, not 'two'"),
        ("cvae", {"parts": 0}, r"parts must be a whole number from 1 to .*, not 0"),
        ("dcgan", {"beta2": 1}, "beta2 must be a number from 0 to 0.999999, not 1"),
        ("gmcl", {"outer_beta1": 1.0}, "outer_beta1 must be a number from 0 to 0.999999, not 1.0"),
        ("cvaedcgan", {"balanced": 3}, "balanced must be true or false, not 3"),
        ("geometric", {"flips": "yes"}, "flips must be true or false, not 'yes'"),
        ("stylegan2", {"turn": 1}, "turn must be true or false, not 1"),
        ("stylegan2", {"batch": "8"}, "batch must be a whole number from 1 to .*, not '8'"),
        ("stylegan2", {"preset": []}, r"preset must be one of auto, .*, not \[\]"),
        ("stylegan2", {"augment": {}}, r"augment must be one of .*, not \{\}"),
        ("gmcl", {"balanced": "no"}, "balanced must be true or false, not 'no'"),
        ("gmcl", {"adaptive": "no"}, "adaptive must be true or false, not 'no'"),
        ("gmcl", {"parts": 1.5}, "parts must be a whole number from 1 to .*, not 1.5"),
        ("gmcl", {"mode": "truncated", "through": 4}, "through must be a whole number from 1 to 3, not 4"),
        ("gmcl", {"reset_student": True, "carry_momentum": True}, "has no momentum to carry: leave reset_student or"),
    ],
)
def test_settings_of_another_kind_are_refused(name: str, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create(name, **{key: value for key, value in SMALL[name].items() if key != "steps"} | settings)


def test_a_seed_that_is_none_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="seed must be a whole number from 0 to 9223372036854775807, not -1"):
        small("dcgan").fit(two_classes(), run=tmp_path / "run", seed=-1)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("method", [[], {}, None, 3, "gan"])
def test_a_file_of_no_method_is_refused(method: object, tmp_path: Path) -> None:
    about = {"method": method, "config": {}, "shape": {}, "licence": []}
    save_weights(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, kind="augmenter", about=about)
    with pytest.raises(InputError, match=r"a\.safetensors is no file of an augmenter"):
        load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"channels": 2}, "channels must be 1 or 3, not 2"),
        ({"channels": []}, r"channels must be a whole number from 1 to 3, not \[\]"),
        ({"classes": []}, "there are 0 classes, and 1 to 1000 are taken"),
        ({"classes": ["a", "a"]}, "classes must be names, each once, not a, a"),
        ({"classes": ["a", 3]}, "classes must be a list of texts"),
        ({"classes": [str(k) for k in range(1001)]}, "there are 1001 classes"),
    ],
)
def test_a_shape_that_is_none_is_refused(changed: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Shape.read({"size": 16, "channels": 1, "classes": ["a", "b"], **changed})
