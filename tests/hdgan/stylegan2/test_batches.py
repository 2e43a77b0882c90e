from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from hdgan.image_folder import ImageFolder
from hdgan.pictures import write_png
from hdgan.stylegan2 import data as data_module
from hdgan.stylegan2 import train_config
from hdgan.stylegan2.data import PreparedTiles, TileBatches, fitting_workers
from hdgan.stylegan2.trainer import StyleGAN2Trainer
from tiling import TileSet, tile_archive
from tiling.errors import InputError


class Noise:
    """Tiles of 40 x 40 px, of another red each."""

    def __len__(self):
        return 10

    def read(self, index):
        pixels = np.random.default_rng(index).integers(0, 256, (40, 40, 3), np.uint8)
        pixels[..., 0] = index
        return pixels


@pytest.fixture(scope="module")
def tiles(data, tmp_path_factory):
    return tile_archive(
        data / "slides" / "cmu-1-small-region.svs", tmp_path_factory.mktemp("tiles"), size=256, tissue=0.5
    )


def batches(tiles=None, **changed):
    settings = {"resolution": 16, "batch": 6, "turn": True, "seed": 0, "crop": 32, "c_dim": 2}
    source = Noise() if tiles is None else tiles
    classes = np.arange(len(source)) % 2
    return TileBatches(source, range(len(source)), classes=classes, **(settings | changed))


def test_a_process_that_has_a_share_reads_those_rows_of_the_batch_that_one_alone_would_read():
    for step in (0, 3):
        images, classes = batches().read(step)
        for rows in ([0, 1], [2, 4, 3], [5]):
            of_share, its_classes = batches().read(step, rows=rows)
            np.testing.assert_array_equal(of_share, images[rows])
            np.testing.assert_array_equal(its_classes, classes[rows])
        drawn = batches().draw_c("generator", step)
        assert torch.equal(batches().draw_c("generator", step, rows=[4, 2]), drawn[[4, 2]])
        assert not torch.equal(drawn, batches().draw_c("discriminator", step))


def test_a_share_reads_no_tile_of_the_others(monkeypatch):
    made, read = batches(), []
    monkeypatch.setattr(Noise, "read", lambda self, index: read.append(index) or np.zeros((40, 40, 3), np.uint8))
    made.read(0, rows=[4, 5])
    assert len(read) == 2


def test_crops_lie_at_random_places_and_are_averaged_down(monkeypatch):
    made = batches(turn=False)
    images, classes = made.read(0)
    again = batches(turn=False, resolution=32).read(0)[0]
    means = again.reshape(6, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    np.testing.assert_array_equal(images, np.rint(means))
    np.testing.assert_array_equal(classes, images[:, 0, 0, 0] % 2)  # red is the number of the tile
    places = set()
    for image in again:
        tile = Noise().read(int(image[0, 0, 0]))
        places |= {(y, x) for y in range(9) for x in range(9) if np.array_equal(tile[y : y + 32, x : x + 32], image)}
    assert len(places) > 3


def test_every_place_of_a_crop_is_as_likely_as_another():
    corners = np.zeros((2, 9), int)

    class Places(Noise):
        def read(self, index):
            y, x = np.mgrid[:40, :40]
            return np.stack([x, y, x], axis=2).astype(np.uint8)

    made = batches(Places(), resolution=32, turn=False, batch=50)
    for step in range(40):
        for image in made.read(step)[0]:
            corners[0, image[0, 0, 0]] += 1
            corners[1, image[0, 0, 1]] += 1
    assert corners.sum() == 4000
    assert (abs(corners - 2000 / 9) < 60).all()  # four standard deviations


def test_windows_of_tiles_give_the_same_batches_as_whole_tiles_that_are_cut(tiles):
    class Whole:
        def __len__(self):
            return len(tiles)

        def read(self, index):
            return tiles.read(index)

    for step in range(2):
        windowed, cut = (batches(source, crop=96, resolution=64).read(step)[0] for source in (tiles, Whole()))
        np.testing.assert_array_equal(windowed, cut)


def test_only_the_crop_of_a_tile_is_read(tiles, monkeypatch):
    monkeypatch.setattr(TileSet, "read", lambda *_: pytest.fail("a whole tile was read"))
    assert batches(tiles, crop=64).read(0)[0].shape == (6, 16, 16, 3)


def test_workers_give_the_batches_of_a_thread_from_any_step_on(tiles):
    made = batches(tiles, crop=64)
    expected = list(made.stream(2, 6))
    streamed = list(made.stream(2, 6, workers=2))
    assert len(streamed) == 4
    for batch, other in zip(streamed, expected, strict=True):
        assert torch.equal(batch.pixels, other.pixels)
        assert torch.equal(batch.c, other.c)
    share = next(iter(made.stream(4, 6, rows=[1, 2])))
    assert torch.equal(share.pixels, expected[2].pixels[1:3])
    images, c = share.part([1])
    torch.testing.assert_close((images + 1) * 127.5, expected[2].pixels[2:3].float())
    assert (images.shape, c.shape, float(c.sum())) == ((1, 3, 16, 16), (1, share.c.shape[1]), 1)


def test_images_of_a_folder_are_cropped_whatever_their_sizes(tmp_path):
    for index, (height, width) in enumerate([(33, 50), (64, 32), (40, 40)]):
        write_png(tmp_path / f"{index}.png", np.full((height, width, 3), 60 * index + 20, np.uint8))
    images = batches(ImageFolder(tmp_path)).read(0)[0]
    assert sorted(set(images.ravel())) == [20, 80, 140]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"crop": 48}, "tile 0 is 40 px, smaller than the crop of 48 px: take --crop 40"),
        ({"crop": None, "resolution": 64}, "tile 0 is 40 px, smaller than the 64 px that the generator makes"),
    ],
)
def test_tiles_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        batches(**settings)


def test_an_image_that_is_not_square_is_refused_unless_it_is_cropped(tmp_path):
    write_png(tmp_path / "a.png", np.zeros((40, 48, 3), np.uint8))
    assert batches(ImageFolder(tmp_path)).read(0)[0].shape == (6, 16, 16, 3)
    with pytest.raises(InputError, match="tile 0 is 48 x 40 px, not square: cut squares out with --crop 40"):
        batches(ImageFolder(tmp_path), crop=None)


def test_reading_takes_processes_where_a_gpu_would_wait_for_it(monkeypatch):
    config = train_config("auto", resolution=256, kimg=1, batch=32)
    gpu = torch.device("cuda")
    for cores, workers in ((2, 0), (6, 3), (64, 8)):
        monkeypatch.setattr(data_module.os, "sched_getaffinity", lambda _, cores=cores: range(cores), raising=False)
        assert fitting_workers(config, 1024, gpu) == workers
        assert fitting_workers(config, 256, gpu) == 0
        assert fitting_workers(config, 1024, torch.device("cpu")) == 0


def test_processes_that_share_a_training_share_the_cores_and_the_batch(monkeypatch):
    config, gpu = train_config("auto", resolution=256, kimg=1, batch=32), torch.device("cuda")
    monkeypatch.setattr(data_module.os, "sched_getaffinity", lambda _: range(48), raising=False)
    found = {
        (processes, edge): fitting_workers(config, edge, gpu, processes=processes)
        for processes in (1, 4, 16)
        for edge in (512, 1024)
    }
    assert found == {(1, 512): 8, (1, 1024): 8, (4, 512): 0, (4, 1024): 6, (16, 512): 0, (16, 1024): 0}


def test_a_conditional_training_learns_the_colour_of_each_class_and_goes_on_as_if_undisturbed():
    class Coloured:
        def __len__(self):
            return 8

        def read(self, index):
            return np.full((16, 16, 3), [[230, 40, 40], [40, 40, 230]][index % 2], np.uint8)

    config = train_config("tiny", resolution=16, kimg=0.4, z_dim=16, w_dim=16, channel_max=16, learning_rate=0.01,
                          path_length_weight=0.0, ada_target=1.0, ema_kimg=0.05, c_dim=2, seed=2)  # fmt: skip
    classes = np.arange(8) % 2
    trainer = StyleGAN2Trainer(config, Coloured(), range(8), classes=classes)
    for index in range(2):
        trainer.step(index)
    resumed = StyleGAN2Trainer(config, Coloured(), range(8), classes=classes)
    resumed.restore(copy.deepcopy(trainer.state()))
    metrics = [trainer.step(index) for index in range(2, 80)]
    assert [resumed.step(2), resumed.step(3)] == metrics[:2]
    with torch.no_grad():
        z = torch.randn(16, 16, generator=torch.Generator().manual_seed(1))
        red, blue = (
            trainer.average.synthesis(trainer.average.mapping(z, torch.eye(2)[[of] * 16]), noise="none").mean((0, 2, 3))
            for of in (0, 1)
        )
    assert red[0] - red[2] > 0.2 > -0.2 > blue[0] - blue[2], (red, blue)


def test_prepared_tiles_are_crops_of_the_tiles_at_places_of_their_own_averaged_down_and_not_turned():
    prepared = PreparedTiles(Noise(), resolution=16, crop=32)
    assert len(prepared) == 10
    np.testing.assert_array_equal(prepared.read(3), prepared.read(3))
    places = set()
    for index in range(10):
        crops = {(y, x): Noise().read(index)[y : y + 32, x : x + 32] for y in range(9) for x in range(9)}
        means = {place: np.rint(crop.reshape(16, 2, 16, 2, 3).mean(axis=(1, 3))) for place, crop in crops.items()}
        places |= {place for place, mean in means.items() if np.array_equal(mean, prepared.read(index))}
    assert len(places) > 3
    assert not np.array_equal(prepared.read(3), PreparedTiles(Noise(), resolution=16, crop=32, seed=1).read(3))
    with pytest.raises(InputError, match="tile 2 is 40 px, smaller than the crop of 48 px"):
        PreparedTiles(Noise(), resolution=16, crop=48).read(2)
