import numpy as np
import pytest
import torch

from hdgan.demo.expert import kmeans_expert, score_expert, train_expert
from hdgan.labels import ClassList, LabelClass
from tiling.errors import InputError

CLASSES = ClassList(
    (LabelClass("glass", (240, 240, 240)), LabelClass("pink", (220, 140, 180)), LabelClass("blue", (90, 70, 160)))
)
COLOURS = np.array([[243, 241, 244], [214, 140, 178], [96, 70, 150]], float)


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def stained(n, seed):
    """Tiles of three colours in waves (N, 40, 40, 3), and which colour is where (N, 40, 40)."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:40, :40]
    phases = generator.uniform(0, 6, (n, 2, 1, 1))
    waves = np.sin(x / 7 + phases[:, 0]) + np.cos(y / 6 + phases[:, 1])
    truths = np.digitize(waves, [-0.6, 0.6]).astype(np.uint8)
    tiles = COLOURS[truths] + generator.normal(0, 8, (n, 40, 40, 3))
    return np.clip(tiles, 0, 255).astype(np.uint8), truths


def test_an_expert_trained_on_true_tiles_labels_others(tmp_path):
    expert = train_expert(*stained(8, seed=0), tmp_path / "expert", classes=CLASSES, steps=20, seed=1)
    report = score_expert(expert, *stained(4, seed=5))
    assert report.accuracy is not None
    assert report.accuracy > 0.9
    assert (tmp_path / "expert" / "stage.json").exists()


def test_every_tile_needs_its_truth(tmp_path):
    tiles, truths = stained(3, seed=0)
    with pytest.raises(InputError, match="3 tiles and 2 truths"):
        train_expert(tiles, truths[:2], tmp_path / "expert", classes=CLASSES)


def test_colours_are_found_brightest_first_and_the_same_again():
    tiles, truths = stained(4, seed=2)
    expert = kmeans_expert(tiles, classes=3, seed=0)
    assert (np.diff(expert.centres[:, 0]) < 0).all()
    np.testing.assert_allclose([c.colour for c in expert.classes], COLOURS, atol=25)
    assert np.mean([expert.predict(tile) == truth for tile, truth in zip(tiles, truths, strict=True)]) > 0.85
    np.testing.assert_array_equal(kmeans_expert(list(tiles), classes=3, seed=0).centres, expert.centres)


def test_a_real_slide_is_told_apart_from_its_glass(data):
    tifffile = pytest.importorskip("tifffile")
    slide = tifffile.imread(data / "slides" / "cmu-1-small-region.svs")[::4, ::4]
    expert = kmeans_expert([np.ascontiguousarray(slide)], classes=3, seed=0)
    labels = expert.predict(slide)
    means = [slide[labels == index].mean() for index in range(3)]
    assert means == sorted(means, reverse=True)
    assert min(np.bincount(labels.ravel(), minlength=3)) > 0


def test_colours_that_are_not_there_are_not_invented():
    with pytest.raises(InputError, match="fewer than 3 colours"):
        kmeans_expert(np.full((2, 16, 16, 3), 200, np.uint8), classes=3, seed=0)
    with pytest.raises(InputError, match="2 to 16 classes apart, not 1"):
        kmeans_expert(np.full((2, 16, 16, 3), 200, np.uint8), classes=1, seed=0)
    with pytest.raises(InputError, match="at least one image"):
        kmeans_expert([], classes=3, seed=0)
