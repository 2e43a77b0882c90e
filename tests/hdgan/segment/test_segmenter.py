import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from hdgan.labels import KIDNEY, UNLABELLED, ClassList, LabelClass
from hdgan.segment import FitConfig, Segmenter, UNet, fit_segmenter
from hdgan.segment.crops import draw_crop, recolour
from hdgan.segment.fit import segmentation_loss
from hdgan.segment.network import REACH
from tiling.errors import InputError
from training.checkpoint import save_weights

CLASSES = ClassList((LabelClass("plain", (9, 9, 9)), LabelClass("striped", (99, 9, 9)), LabelClass("dot", (9, 9, 99))))
QUICK = {"classes": CLASSES, "batch": 4, "crop": 32, "width": 4, "checkpoint_every": 2}


def toy_pairs(n, *, size=48, seed=0):
    """Two tissues of one mean grey, plain and striped, and a small dark dot; three rows are unlabelled."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    pairs = []
    for _ in range(n):
        phase = generator.uniform(0, 6, 2)
        labels = (np.sin(x / 9 + phase[0]) + np.cos(y / 8 + phase[1]) > 0).astype(np.uint8)
        grey = np.where(labels == 1, np.where(y // 2 % 2, 190, 110), 150)
        cy, cx = generator.integers(6, size - 6, 2)
        dot = (y - cy) ** 2 + (x - cx) ** 2 < 16
        labels[dot] = 2
        labels[:3] = UNLABELLED
        image = np.where(dot, 40, grey)[..., None] + generator.normal(0, 6, (size, size, 3))
        pairs.append((np.clip(image, 0, 255).astype(np.uint8), labels))
    return pairs


@pytest.fixture(autouse=True)
def one_thread():
    """Tiny layers on several threads wait for each other most of the time on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = UNet(len(CLASSES), width=4).train()
    with torch.no_grad():
        for _ in range(30):  # until the normalisation knows its statistics
            network(torch.rand(4, 3, 64, 64) * 2 - 1)
    return network.eval()


def test_texture_and_rare_classes_are_learnt_in_seconds(tmp_path):
    segmenter = fit_segmenter(toy_pairs(24), tmp_path / "out", classes=CLASSES, steps=150, batch=8, crop=32)
    for image, labels in toy_pairs(6, seed=1):
        predicted, known = segmenter.predict(image), labels != UNLABELLED
        assert (predicted == labels)[known].mean() > 0.9
        assert (predicted == 2)[labels == 2].mean() > 0.8


def test_a_fitted_segmenter_is_read_back_and_not_fitted_again(tmp_path):
    pairs = toy_pairs(3)
    fitted = fit_segmenter(pairs, tmp_path / "out", steps=2, **QUICK)
    written = (tmp_path / "out" / "network.safetensors").stat().st_mtime_ns
    again = fit_segmenter(pairs, tmp_path / "out", steps=2, **QUICK)
    assert (tmp_path / "out" / "network.safetensors").stat().st_mtime_ns == written
    for segmenter in (again, Segmenter.load(tmp_path / "out")):
        np.testing.assert_array_equal(segmenter.probabilities(pairs[0][0]), fitted.probabilities(pairs[0][0]))
        assert segmenter.classes == CLASSES
    with pytest.raises(InputError, match="steps = 2, and now 3"):
        fit_segmenter(pairs, tmp_path / "out", steps=3, **QUICK)
    with pytest.raises(InputError, match="pairs"):
        fit_segmenter(toy_pairs(3, seed=5), tmp_path / "out", steps=2, **QUICK)


class StopsAfter(list):
    """Pairs that are interrupted after some reads, as a user's Ctrl-C would."""

    reads = 0

    def __getitem__(self, index):
        self.reads += 1
        if self.reads == 3 + 4 * 5 + 2:  # the survey's, five steps of four crops, and part of the sixth
            raise KeyboardInterrupt
        return super().__getitem__(index)


def test_an_interrupted_run_goes_on_to_the_weights_of_one_that_was_not(tmp_path):
    pairs = toy_pairs(3)
    with pytest.raises(KeyboardInterrupt):
        fit_segmenter(StopsAfter(pairs), tmp_path / "stopped", steps=7, **QUICK)
    steps = sorted(path.name for path in (tmp_path / "stopped" / "checkpoints").iterdir())
    assert steps == ["step-00000002.safetensors", "step-00000004.safetensors"]
    fit_segmenter(pairs, tmp_path / "stopped", steps=7, **QUICK)
    fit_segmenter(pairs, tmp_path / "undisturbed", steps=7, **QUICK)
    weights = [(tmp_path / name / "network.safetensors").read_bytes() for name in ("stopped", "undisturbed")]
    assert weights[0] == weights[1]
    assert not (tmp_path / "stopped" / "checkpoints").exists()


def test_other_pairs_are_refused_also_where_they_come_from_the_same_folder(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "note.txt").write_text("where the pairs are from")
    more = {**QUICK, "steps": 2, "inputs": {"source": source}}
    fit_segmenter(toy_pairs(3), tmp_path / "out", **more)
    with pytest.raises(InputError, match="was made from other pairs; add --redo"):
        fit_segmenter(toy_pairs(2), tmp_path / "out", **more)


_FIT = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path.insert(0, sys.argv[1])
from test_segmenter import QUICK, toy_pairs
from hdgan.segment import fit_segmenter
fit_segmenter(toy_pairs(6), Path(sys.argv[2]), steps=60, **QUICK)
"""


@pytest.mark.slow
def test_a_run_killed_again_and_again_ends_with_the_same_weights(tmp_path):
    def start(out):
        return subprocess.Popen([sys.executable, "-c", _FIT, os.path.dirname(__file__), str(out)])  # noqa: PTH120

    killed = 0
    while True:
        run = start(tmp_path / "killed")
        before = _newest(tmp_path / "killed")
        while run.poll() is None and (killed == 3 or _newest(tmp_path / "killed") - before < 1):
            time.sleep(0.01)
        if run.poll() is not None:
            break
        run.send_signal(signal.SIGKILL)
        run.wait()
        killed += 1
    assert run.returncode == 0
    assert killed == 3
    assert start(tmp_path / "undisturbed").wait() == 0
    weights = [(tmp_path / name / "network.safetensors").read_bytes() for name in ("killed", "undisturbed")]
    assert weights[0] == weights[1]


def _newest(out):
    """The newest step of which there is a checkpoint."""
    return max((int(path.stem[5:]) for path in (out / "checkpoints").glob("step-*.safetensors")), default=0)


@pytest.mark.parametrize("size", [(200, 328), (173, 260), (5, 9)])
def test_windows_give_the_result_of_the_whole_image(network, size):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    segmenter = Segmenter(network, CLASSES)
    whole, windows = (segmenter.probabilities(image, window=window) for window in (512, 64))
    assert whole.shape == (3, *size)
    np.testing.assert_allclose(whole.sum(axis=0), 1, atol=1e-5)
    np.testing.assert_allclose(windows, whole, atol=1e-5)


def test_no_pixel_further_than_the_margin_has_a_say():
    torch.manual_seed(0)
    network = UNet(3, width=16).eval()
    x = (torch.rand(1, 3, 320, 320) * 2 - 1).requires_grad_()
    for at in range(156, 164):  # every phase of the coarsest level
        (gradient,) = torch.autograd.grad(network(x)[0, :, at, at].sum(), x)
        rows = gradient.abs().sum((0, 1, 3)).nonzero()[:, 0]
        assert at - REACH <= int(rows.min())
        assert int(rows.max()) <= at + REACH


def test_the_loss_is_blind_to_unlabelled_pixels_and_falls_to_nothing_when_right():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (2, 8, 8), generator=generator, dtype=torch.uint8)
    labels[:, :4] = UNLABELLED
    changed = logits.clone()
    changed[:, :, :4] += 5 * torch.randn(2, 3, 4, 8, generator=generator)
    assert torch.equal(segmentation_loss(logits, labels), segmentation_loss(changed, labels))
    right = 30 * torch.nn.functional.one_hot(torch.where(labels == UNLABELLED, 0, labels).long(), 3).movedim(-1, 1)
    assert segmentation_loss(right.float(), labels) < 1e-3
    assert segmentation_loss(logits, torch.full_like(labels, UNLABELLED)) == 0


def test_balanced_crops_hold_the_rare_class_and_keep_image_and_labels_together():
    labels = np.zeros((64, 80), np.uint8)
    labels[50:52, 70:72] = 2
    image = np.full((64, 80, 3), 200, np.uint8)
    image[labels == 2] = 20
    present = np.array([[True, False, True]])
    held = 0
    for key in range(40):
        crop, crop_labels = draw_crop(
            [(image, labels)], present, np.random.default_rng([0, key]), crop=16, balanced=True
        )
        assert crop.shape == (16, 16, 3)
        np.testing.assert_array_equal(crop[..., 1] < 110, crop_labels == 2)
        held += (crop_labels == 2).any()
    assert 12 <= held <= 30


def test_recolouring_keeps_white_bright_and_is_repeatable():
    image = np.full((8, 8, 3), 255, np.uint8)
    first, second = (recolour(image, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert first.min() > 200


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "nothing to learn"),
        ([(np.zeros((48, 48, 3), np.uint8), np.full((48, 48), 255, np.uint8))], "nothing to learn"),
        ([(np.zeros((48, 48), np.uint8), np.zeros((48, 48), np.uint8))], "pair 0: an image is"),
        ([(np.zeros((48, 48, 3), np.uint8), np.zeros((40, 48), np.uint8))], "pair 0: the labels"),
        ([(np.zeros((24, 48, 3), np.uint8), np.zeros((24, 48), np.uint8))], "48 x 24 px, smaller than a crop of 32"),
        ([(np.zeros((48, 48, 3), np.uint8), np.full((48, 48), 3, np.uint8))], r"labels \[3\]; expected 0 to 2"),
    ],
)
def test_pairs_that_cannot_be_learnt_from_are_refused_before_anything_is_written(tmp_path, pairs, message):
    with pytest.raises(InputError, match=message):
        fit_segmenter(pairs, tmp_path / "out", steps=1, **QUICK)
    assert not (tmp_path / "out").exists()


def test_settings_out_of_range_are_refused_with_the_value():
    good = {"steps": 1, "batch": 1, "crop": 32, "seed": 0, "balanced": True, "width": 4}
    for wrong, message in (
        ({"steps": 0}, "steps must be above 0, not 0"),
        ({"crop": 33}, "multiple of 8 px, not 33"),
        ({"seed": -1}, "not -1"),
    ):
        with pytest.raises(InputError, match=message):
            FitConfig(**good | wrong)


def test_images_and_files_of_another_kind_are_refused(tmp_path, network):
    segmenter = Segmenter(network, CLASSES)
    with pytest.raises(InputError, match="not \\(3, 8, 8\\)"):
        segmenter.predict(np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(InputError, match="multiple of 8, not 100"):
        segmenter.predict(np.zeros((8, 8, 3), np.uint8), window=100)
    segmenter.save(tmp_path)
    KIDNEY.save(tmp_path / "classes.json")
    with pytest.raises(InputError, match=r"network\.safetensors has other shapes of head\.bias, head\.weight"):
        Segmenter.load(tmp_path)
    CLASSES.save(tmp_path / "classes.json")
    save_weights(tmp_path / "network.safetensors", network.state_dict(), kind="generator", about={})
    with pytest.raises(InputError, match="not a segmenter file but: generator"):
        Segmenter.load(tmp_path)
    (tmp_path / "network.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"network\.safetensors"):
        Segmenter.load(tmp_path)
    with pytest.raises(InputError, match=r"classes\.json"):
        Segmenter.load(tmp_path / "absent")


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("width", "message"),
    [
        (2**40, r"network\.safetensors: width must be a whole number from 1 to 4096, not 1099511627776"),
        (4096, r"network\.safetensors has other shapes of"),
        ("wide", "width must be a whole number"),
        (-4, "width must be a whole number"),
    ],
)
def test_a_width_that_does_not_fit_the_weights_is_refused_before_anything_is_built(tmp_path, network, width, message):
    segmenter = Segmenter(network, CLASSES)
    segmenter.save(tmp_path)
    save_weights(tmp_path / "network.safetensors", network.state_dict(), kind="segmenter", about={"width": width})
    with pytest.raises(InputError, match=message):
        Segmenter.load(tmp_path)
