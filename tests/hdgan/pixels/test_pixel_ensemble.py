import numpy as np
import pytest
import torch
from small_study import make_ensemble

from hdgan.features.patch import Patch
from hdgan.labels import KIDNEY
from hdgan.pixels import PixelEnsemble, predict_stored, predict_windows
from tiling.errors import InputError
from training.checkpoint import load_weights, save_weights


def by_definition(ensemble: PixelEnsemble, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Logits, softmax, majority vote and Jensen-Shannon divergence in plain NumPy, double precision."""
    logits = ensemble.logits(window.reshape(len(window), -1).T).numpy().astype(np.float64)
    p = np.exp(logits - logits.max(axis=2, keepdims=True))
    p /= p.sum(axis=2, keepdims=True)
    mean = p.mean(axis=0)
    votes = np.stack([(logits.argmax(axis=2) == k).sum(axis=0) for k in range(logits.shape[2])], axis=1)
    labels = (votes + mean / 2).argmax(axis=1)
    divergence = -(mean * np.log(mean)).sum(axis=1) + (p * np.log(p)).sum(axis=2).mean(axis=0)
    return labels.reshape(window.shape[1:]), divergence.reshape(window.shape[1:])


@pytest.mark.parametrize(("y", "x", "h", "w"), [(0, 0, 32, 32), (5, 9, 13, 7), (31, 0, 1, 32), (16, 16, 16, 16)])
def test_patches_windows_and_the_definition_give_the_same_labels_and_uncertainty(
    small_store, random_ensemble, y, x, h, w
):
    window = small_store.window(1, y=y, x=x, h=h, w=w)
    labels, uncertainty = by_definition(random_ensemble, window)
    for features in (window, torch.from_numpy(window), small_store.patch(1, y=y, x=x, h=h, w=w)):
        got_labels, got_uncertainty = random_ensemble.predict(features)
        assert got_labels.dtype == np.uint8
        assert got_uncertainty.dtype == np.float32
        np.testing.assert_array_equal(got_labels, labels)
        np.testing.assert_allclose(got_uncertainty, uncertainty, atol=2e-5)
    assert len(np.unique(by_definition(random_ensemble, small_store.window(1, y=0, x=0, h=32, w=32))[0])) > 1


def test_a_whole_image_window_by_window_is_the_image_at_once(small_store, random_ensemble):
    labels, uncertainty = predict_stored(random_ensemble, small_store, 2, window=12)
    at_once = random_ensemble.predict(small_store.window(2, y=0, x=0, h=32, w=32))
    np.testing.assert_array_equal(labels, at_once[0])
    np.testing.assert_allclose(uncertainty, at_once[1], atol=2e-5)
    for (rows, columns), *found in predict_windows(random_ensemble, small_store, 2, window=12):
        np.testing.assert_array_equal(found, [labels[rows, columns], uncertainty[rows, columns]])


def test_stored_images_are_labelled_by_the_rule_asked_for(small_store):
    ensemble, patches = make_ensemble(small_store, members=4), small_store.patch(1, y=0, x=0, h=32, w=32)
    voted, averaged = (ensemble.predict(patches, label=label)[0] for label in ("vote", "mean"))
    assert (voted != averaged).any()
    np.testing.assert_array_equal(predict_stored(ensemble, small_store, 1)[0], voted)
    np.testing.assert_array_equal(predict_stored(ensemble, small_store, 1, label="mean")[0], averaged)
    with pytest.raises(InputError, match="label must be vote, mean, not 'median'"):
        predict_stored(ensemble, small_store, 1, label="median")
    for window in (0, 7, 4097, 64.0):
        with pytest.raises(InputError, match=f"window must be a whole number from 8 to 4096, not {window}"):
            predict_stored(ensemble, small_store, 1, window=window)


def test_images_wider_than_a_cell_are_labelled_without_seams(small_store, random_ensemble):
    window = np.tile(small_store.window(0, y=0, x=0, h=32, w=32), (1, 2, 3))[:, :50, :70]
    labels, uncertainty = by_definition(random_ensemble, window)
    got = random_ensemble.predict(window)
    np.testing.assert_array_equal(got[0], labels)
    np.testing.assert_allclose(got[1], uncertainty, atol=2e-5)


def test_members_differ_and_are_those_their_generator_draws():
    def make(seed: int) -> PixelEnsemble:
        return PixelEnsemble(layers={"b4.conv1": 7}, classes=["a", "b"], generator=torch.Generator().manual_seed(seed))

    features = np.random.default_rng(0).standard_normal((11, 7)).astype(np.float32)
    logits = make(0).logits(features)
    assert logits.shape == (10, 11, 2)
    assert torch.equal(logits, make(0).logits(features))
    assert not torch.equal(logits, make(1).logits(features))
    assert not torch.equal(logits[0], logits[1])


def test_a_saved_ensemble_is_loaded_as_it_was(small_store, tmp_path):
    draw = torch.Generator().manual_seed(0)
    ensemble = PixelEnsemble(layers=small_store.layers, classes=KIDNEY, members=3, hidden=(16, 8, 4), generator=draw)
    ensemble.save(tmp_path / "ensemble.safetensors")
    loaded = PixelEnsemble.load(tmp_path / "ensemble.safetensors")
    assert loaded.class_list == KIDNEY
    assert loaded.classes[2] == "glomerulus"
    assert loaded.layers == small_store.layers
    features = small_store.pixels(0, [1, 2], [3, 4])
    assert torch.equal(loaded.logits(features), ensemble.logits(features))


def test_other_files_and_other_shapes_are_refused(small_store, random_ensemble, tmp_path):
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(InputError, match="not a safetensors file"):
        PixelEnsemble.load(tmp_path / "text")
    with pytest.raises(InputError, match="no such file"):
        PixelEnsemble.load(tmp_path / "absent")
    save_weights(tmp_path / "other", random_ensemble.state_dict(), kind="segmenter", about={"width": 4})
    with pytest.raises(InputError, match="not a pixel ensemble file but: segmenter"):
        PixelEnsemble.load(tmp_path / "other")
    save_weights(tmp_path / "bare", random_ensemble.state_dict(), kind="pixel ensemble", about={"members": 5})
    with pytest.raises(InputError, match="does not tell its classes, dropout, fitted_on, hidden, layers"):
        PixelEnsemble.load(tmp_path / "bare")
    with pytest.raises(InputError, match=r"must be \(160, h, w\)"):
        random_ensemble.predict(np.zeros((3, 4, 4), np.float32))
    with pytest.raises(InputError, match=r"must be \(n, 160\)"):
        random_ensemble.logits(np.zeros((4, 3), np.float32))
    with pytest.raises(InputError, match="patches must be of the layers"):
        random_ensemble.predict({"b8.conv0": Patch(np.zeros((1, 4, 4), np.float32), 0, 0, 1)})
    with pytest.raises(InputError, match="members must be a whole number from 1 to 1000, not 0"):
        PixelEnsemble(layers={"a": 1}, classes=["a"], members=0, generator=torch.Generator())


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"members": 2**40}, "file: members must be a whole number from 1 to 1000, not 1099511627776"),
        ({"members": 1000}, "file has other shapes of"),
        ({"members": "ten"}, "members must be a whole number"),
        ({"hidden": [2**16]}, "file has other shapes of|file has unknown"),
        ({"hidden": [0]}, "hidden width must be a whole number"),
        ({"hidden": [1] * 17}, "number of hidden layers must be a whole number from 1 to 16, not 17"),
        ({"hidden": 128}, "file: no layers, classes and hidden widths"),
        ({"layers": ["b4.conv1"]}, "file: no layers, classes and hidden widths"),
        ({"layers": {"b4.conv1": "many"}}, r"channels of layer b4\.conv1 must be a whole number"),
        ({"layers": {f"b{i}.conv1": 2**16 for i in range(17)}}, "channels of all layers must be"),
        ({"classes": [{"name": "a"}]}, "file: a class has a name and a colour"),
        ({"classes": []}, "file: a study has 1 to 254 classes, not 0"),
        ({"dropout": None}, "dropout must be a number from 0 to 1, not None"),
        ({"licence": "CC BY"}, "licence must be a list of texts"),
    ],
)
def test_an_ensembles_header_that_does_not_fit_its_tensors_is_refused_before_anything_is_built(
    random_ensemble, tmp_path, header, message
):
    random_ensemble.save(tmp_path / "file")
    tensors, about = load_weights(tmp_path / "file", kind="pixel ensemble")
    save_weights(tmp_path / "file", tensors, kind="pixel ensemble", about=about | header)
    with pytest.raises(InputError, match=message):
        PixelEnsemble.load(tmp_path / "file")
