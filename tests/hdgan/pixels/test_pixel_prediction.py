"""Every way to predict gives what the plain definition gives: compiled, in cells, in another precision."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FunctionType, SimpleNamespace

import numpy as np
import pytest
import torch

import hdgan.pixels.folded
from hdgan.features.patch import Floats, Patch, coverage, cut, upsample
from hdgan.labels import LabelMap
from hdgan.pixels import PixelEnsemble, fused, kernels
from hdgan.pixels.folded import Predictor, verdict
from tiling.errors import InputError

SIZE = 160  # px of an image: more than a block in both directions


@dataclass
class Image:
    """A random generator's maps {layer: (values (C, h, w), scale)}, and an ensemble with statistics of its own."""

    maps: Mapping[str, tuple[Floats, int]]
    ensemble: PixelEnsemble

    def patches(self, y: int, x: int, h: int, w: int) -> dict[str, Patch]:
        return {name: cut(values, scale=scale, y=y, x=x, h=h, w=w) for name, (values, scale) in self.maps.items()}

    def upsampled(self, *window: int) -> Floats:
        return upsampled(self.patches(*window))

    def predictor(self, *, compiled: bool) -> Predictor:
        return Predictor(self.ensemble.folded(), self.ensemble.layers, compiled=compiled)


def make(
    *, blocks: int = 3, members: int = 3, hidden: tuple[int, ...] = (24, 8), classes: int = 4, finest: int = 0
) -> Image:
    """Blocks of two layers of 3, 4, 5, ... channels; a pixel of the finest maps spans `2 ** finest` px of the image."""
    random = np.random.default_rng(blocks)
    maps = {}
    for block in range(blocks):
        scale = 2 ** (blocks - 1 - block + finest)
        for conv in range(2):
            values = random.standard_normal((3 + 2 * block + conv, SIZE // scale, SIZE // scale), np.float32)
            maps[f"b{SIZE // scale}.conv{conv}"] = values, scale
    layers = {name: len(values) for name, (values, _) in maps.items()}
    draw = torch.Generator().manual_seed(0)
    names = [f"class {k}" for k in range(classes)]
    ensemble = PixelEnsemble(layers=layers, classes=names, members=members, hidden=hidden, generator=draw)
    for name, values in ensemble.state_dict().items():
        if "var" in name or "deviation" in name:
            values.uniform_(0.5, 2, generator=draw)
        elif "num_batches" not in name and not name.endswith("weight"):
            values.normal_(generator=draw)
    return Image(maps, ensemble)


def upsampled(patches: Mapping[str, Patch]) -> Floats:
    y, x, h, w = coverage(patches)
    return np.concatenate([upsample(patch, y=y, x=x, h=h, w=w) for patch in patches.values()])


def by_definition(ensemble: PixelEnsemble, window: Floats, *, label: str = "vote") -> tuple[LabelMap, Floats]:
    """Logits, softmax, vote or mean, and Jensen-Shannon divergence in plain NumPy, double precision."""
    logits = ensemble.logits(window.reshape(len(window), -1).T).numpy().astype(np.float64)
    p = np.exp(logits - logits.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    mean = p.mean(axis=0)
    votes = np.stack([(logits.argmax(axis=2) == k).sum(axis=0) for k in range(logits.shape[2])], axis=1)
    labels = (votes + mean / 2 if label == "vote" else mean).argmax(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        joint, own = np.nan_to_num(mean * np.log(mean)).sum(axis=1), np.nan_to_num(p * np.log(p)).sum(axis=2)
    return labels.reshape(window.shape[1:]), (own.mean(axis=0) - joint).reshape(window.shape[1:])


def assert_equal(got: tuple[LabelMap, Floats], wanted: tuple[LabelMap, Floats]) -> None:
    labels, uncertainty = got
    assert labels.dtype == np.uint8
    assert uncertainty.dtype == np.float32
    assert labels.shape == uncertainty.shape == wanted[0].shape
    assert (labels != wanted[0]).sum() <= labels.size // 10_000
    np.testing.assert_allclose(uncertainty, wanted[1], atol=2e-5)


COMPILED_OR_NOT = pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "in cells"])

WINDOWS = [
    (0, 0, SIZE, SIZE),  # several blocks, all borders of the image
    (61, 3, 70, 131),  # not aligned with any map, across edges of blocks
    (SIZE - 1, 0, 1, SIZE),
    (0, SIZE - 1, SIZE, 1),
    (77, 13, 1, 1),
]


@pytest.fixture(scope="module", params=[1, 3, 5], ids="{} blocks".format)
def image(request: pytest.FixtureRequest) -> Image:
    return make(blocks=request.param)


@COMPILED_OR_NOT
@pytest.mark.parametrize("window", WINDOWS)
def test_windows_anywhere_are_labelled_as_by_definition(image: Image, window, compiled: bool) -> None:
    wanted = by_definition(image.ensemble, image.upsampled(*window))
    assert_equal(image.predictor(compiled=compiled).predict(image.patches(*window)), wanted)
    if wanted[0].size > 1000:
        assert len(np.unique(wanted[0])) > 1


@COMPILED_OR_NOT
@pytest.mark.parametrize(
    "shape",
    [
        {"members": 1},
        {"classes": 2},
        {"classes": 1},
        {"classes": 33, "hidden": (5,)},
        {"hidden": (64,)},
        {"hidden": (65, 16)},
        {"hidden": (130, 17, 9), "members": 2},
        {"members": 20, "hidden": (3, 3)},
    ],
    ids=str,
)
def test_ensembles_of_any_shape_are_computed_as_by_definition(shape, compiled: bool) -> None:
    image, window = make(**shape), (30, 20, 41, 37)
    wanted = by_definition(image.ensemble, image.upsampled(*window))
    assert_equal(image.predictor(compiled=compiled).predict(image.patches(*window)), wanted)


@COMPILED_OR_NOT
def test_features_none_of_which_has_the_images_resolution(compiled: bool) -> None:
    image = make(blocks=2, finest=1)
    patches = image.patches(10, 20, 90, 130)
    wanted = by_definition(image.ensemble, upsampled(patches))
    assert_equal(image.predictor(compiled=compiled).predict(patches), wanted)


@COMPILED_OR_NOT
@pytest.mark.parametrize("kind", ["float16", "double", "tensor", "bfloat16", "larger patches", "strided", "upsampled"])
def test_features_of_any_kind(kind: str, compiled: bool) -> None:
    image, window = make(), (40, 16, 48, 32)
    patches = image.patches(*window)
    if kind == "upsampled":
        given = image.upsampled(*window)
    elif kind == "larger patches":  # one layer has more than the window needs, another of its scale has not
        given = patches | {"b160.conv1": Patch(image.maps["b160.conv1"][0], 0, 0, 1)}
    else:
        change = {
            "float16": lambda v: v.astype(np.float16),
            "double": lambda v: v.astype(np.float64),
            "tensor": torch.from_numpy,
            "bfloat16": lambda v: torch.from_numpy(v).bfloat16(),
            "strided": lambda v: np.repeat(v, 2, axis=2)[:, :, ::2],
        }[kind]
        given = {name: Patch(change(p.values), p.y0, p.x0, p.scale) for name, p in patches.items()}
    exact = image.upsampled(*window)
    if "float16" in kind:
        rounded = {n: Patch(torch.as_tensor(p.values).float().numpy(), p.y0, p.x0, p.scale) for n, p in given.items()}
        exact = upsampled(rounded)
    assert_equal(image.predictor(compiled=compiled).predict(given), by_definition(image.ensemble, exact))


@COMPILED_OR_NOT
def test_the_label_of_the_highest_mean_probability_is_another_than_the_votes(compiled: bool) -> None:
    image, window = make(), (0, 0, 64, 64)
    predictor, patches = image.predictor(compiled=compiled), image.patches(*window)
    voted, averaged = predictor.predict(patches), predictor.predict(patches, label="mean")
    assert_equal(averaged, by_definition(image.ensemble, image.upsampled(*window), label="mean"))
    np.testing.assert_array_equal(voted[1], averaged[1])
    assert 0 < np.mean(voted[0] != averaged[0]) < 0.3


@pytest.mark.parametrize("by_vote", [True, False])
def test_among_equals_the_first_class_wins_compiled_or_not(by_vote: bool) -> None:
    image = make(members=2, classes=3)
    torch.nn.init.zeros_(image.ensemble.linear[-1].weight)
    torch.nn.init.zeros_(image.ensemble.linear[-1].bias)
    for compiled in (True, False):
        label = "vote" if by_vote else "mean"
        labels, uncertainty = image.predictor(compiled=compiled).predict(image.patches(0, 0, 8, 8), label=label)
        assert (labels == 0).all()
        np.testing.assert_allclose(uncertainty, 0, atol=1e-6)


def test_certain_and_contradicting_members_are_no_trouble_for_the_logarithm() -> None:
    image = make(members=2, classes=2)
    torch.nn.init.zeros_(image.ensemble.linear[-1].weight)
    image.ensemble.linear[-1].bias.data = torch.tensor([[[-300.0], [300.0]], [[300.0], [-300.0]]])
    for compiled in (True, False):
        _, uncertainty = image.predictor(compiled=compiled).predict(image.patches(0, 0, 8, 8))
        np.testing.assert_allclose(uncertainty, np.log(2), rtol=1e-6)


def test_equal_votes_go_to_the_higher_mean_probability():
    logits = torch.tensor([[[0.0, 5.0, 0.0]], [[1.0, 0.0, 0.0]], [[0.0, 4.0, 0.0]], [[1.0, 0.0, 0.0]]])
    assert verdict(logits)[0].tolist() == [1]
    assert verdict(logits[[1, 3, 0]])[0].tolist() == [0]
    assert verdict(logits[[1, 3, 0]], by_vote=False)[0].tolist() == [1]


def test_members_that_agree_have_no_uncertainty_and_members_that_contradict_have_log_two():
    agreeing = torch.tensor([[[0.3, 2.0]], [[0.3, 2.0]]])
    contradicting = torch.tensor([[[-50.0, 50.0]], [[50.0, -50.0]]])
    assert verdict(agreeing)[1].item() == pytest.approx(0, abs=1e-6)
    assert verdict(contradicting)[1].item() == pytest.approx(np.log(2))


def test_a_predictor_serves_threads_and_uses_as_many_as_pytorch() -> None:
    image, window = make(), (0, 0, SIZE, SIZE)
    predictor, patches = image.predictor(compiled=True), image.patches(*window)
    alone = predictor.predict(patches)
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        found = {}
        threads = [threading.Thread(target=lambda i=i: found.update({i: predictor.predict(patches)})) for i in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        torch.set_num_threads(before)
    for labels, uncertainty in found.values():
        np.testing.assert_array_equal(labels, alone[0])
        np.testing.assert_array_equal(uncertainty, alone[1])
    assert len(found) == 3


def test_a_pixels_verdict_is_the_same_to_the_bit_in_whatever_window_it_is() -> None:
    image = make(blocks=5)
    predictor = image.predictor(compiled=True)
    whole = predictor.predict(image.patches(0, 0, SIZE, SIZE))
    for y, x, h, w in WINDOWS[1:]:
        part = predictor.predict(image.patches(y, x, h, w))
        for got, wanted in zip(part, whole, strict=True):
            np.testing.assert_array_equal(got, wanted[y : y + h, x : x + w])


def test_a_predictor_takes_other_scales_of_the_same_layers() -> None:
    image = make(blocks=2)
    predictor = image.predictor(compiled=True)
    for enlarged in (1, 2, 1):
        patches = {n: cut(v, scale=s * enlarged, y=5, x=9, h=20, w=30) for n, (v, s) in image.maps.items()}
        assert_equal(predictor.predict(patches), by_definition(image.ensemble, upsampled(patches)))


def test_without_numba_or_in_another_precision_prediction_goes_by_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    image, window = make(), (8, 8, 40, 40)
    patches, wanted = image.patches(*window), by_definition(image.ensemble, image.upsampled(*window))
    monkeypatch.setitem(sys.modules, "hdgan.pixels.fused", None)  # it cannot be imported
    labels, uncertainty = image.ensemble.predictor(dtype=torch.bfloat16).predict(patches)
    assert np.mean(labels == wanted[0]) > 0.95
    np.testing.assert_allclose(uncertainty, wanted[1], atol=0.1)
    monkeypatch.setattr(hdgan.pixels.folded, "find_spec", lambda name: None)
    assert_equal(image.ensemble.predict(patches), wanted)


def test_where_nothing_can_be_kept_the_kernel_is_compiled_all_the_same() -> None:
    of_no_file = eval("lambda x: x + 1")  # numba finds no place for what it makes of this
    assert kernels._compiled(of_no_file)(1) == 2


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("compiled", [True, False])
def test_features_that_may_only_be_read_are_no_trouble(compiled: bool) -> None:
    image = make()
    patches = image.patches(16, 8, 40, 56)
    wanted = image.predictor(compiled=compiled).predict(patches)
    for patch in patches.values():
        patch.values.flags.writeable = False
    assert_equal(image.predictor(compiled=compiled).predict(patches), wanted)


def test_what_does_not_fit_is_refused() -> None:
    image = make()
    patches = image.patches(0, 0, 8, 8)
    with pytest.raises(InputError, match="label must be vote, mean, not 'median'"):
        image.ensemble.predict(patches, label="median")
    narrow = patches | {"b160.conv1": Patch(np.zeros((1, 8, 8), np.float32), 0, 0, 1)}
    with pytest.raises(InputError, match=r"the patch of b160\.conv1 must be \(8, h, w\), not \(1, 8, 8\)"):
        image.ensemble.predict(narrow)
    apart = patches | {"b160.conv1": Patch(np.zeros((8, 8, 8), np.float32), 50, 50, 1)}
    with pytest.raises(InputError, match="no image pixel in common"):
        image.ensemble.predict(apart)
    with pytest.raises(InputError, match=r"a window must be \(33, h, w\)"):
        image.ensemble.predict(np.zeros((3, 4, 4), np.float32))


def interpreted() -> Callable[..., None]:
    """`label_block` as Python runs it: what it reads and writes has to be there, and what was never set is NaN."""

    def part(array, index):
        assert 0 <= index <= array.size - kernels.LANES
        return array[index : index + kernels.LANES]

    def store(array, index, lanes):
        part(array, index)[:] = lanes

    numpy = SimpleNamespace(**vars(np) | {"empty": lambda shape, kind: np.full(shape, np.nan).astype(kind)})
    names = vars(kernels) | {
        "np": numpy,
        "load": lambda array, index: part(array, index).copy(),
        "store": store,
        "add_scaled": lambda total, array, index, lanes: total + array[index] * lanes,
        "at_least": np.maximum,
    }
    for name in ("_dense", "_blend", "_tally", "_verdict", "label_block"):
        names[name] = FunctionType(getattr(kernels, name).py_func.__code__, names)
    return names["label_block"]


@pytest.mark.filterwarnings("ignore:invalid value encountered in cast")
@pytest.mark.parametrize(("y", "x", "h", "w"), [(0, 0, 1, 36), (157, 127, 3, 33), (61, 3, 7, 9)])
@pytest.mark.parametrize("finest", [0, 1])
def test_the_compiled_pass_stays_within_its_arrays(
    y: int, x: int, h: int, w: int, finest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = make(blocks=2, members=2, hidden=(5, 3), finest=finest)
    patches = image.patches(y, x, h, w)
    compiled = image.predictor(compiled=True).predict(patches)
    monkeypatch.setattr(fused, "label_block", interpreted())
    assert_equal(image.predictor(compiled=True).predict(patches), compiled)
