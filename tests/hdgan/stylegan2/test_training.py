import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from hdgan.stylegan2 import load_generator, train, train_config
from hdgan.stylegan2.checkpoint import load_discriminator_into, save_generator
from hdgan.stylegan2.data import TileBatches
from hdgan.stylegan2.execution import Execution
from hdgan.stylegan2.run import shape_of
from hdgan.stylegan2.trainer import StyleGAN2Trainer
from tiling.errors import InputError
from tiling.files import write_json
from tiling.stage import RECORD, read_record
from training.checkpoint import load_state, save_state
from training.metrics import read_metrics

TINY = train_config("tiny", resolution=16, kimg=0.032, z_dim=16, w_dim=16, channel_max=16, path_length_interval=3,
                    r1_interval=4)  # fmt: skip


class Gradients:
    """Tiles of a pink to violet gradient, each of its own slope: as anything that `tiling.TileSet` is to a training."""

    def __init__(self, count=12, size=16):
        slopes = np.random.default_rng(0).uniform(0.5, 1.5, count)
        ramp = np.linspace(0, 100, size)[:, None, None] * np.array([0.5, 1.0, 0.2])
        self.tiles = [np.broadcast_to(230 - s * ramp, (size, size, 3)).astype(np.uint8) for s in slopes]

    def __len__(self):
        return len(self.tiles)

    def read(self, index):
        return self.tiles[index]


@pytest.fixture(scope="module")
def tiles():
    return Gradients()


@pytest.fixture
def folder(tiles, tmp_path):
    """The same tiles as a folder, for the record of a training."""
    (tmp_path / "tiles").mkdir()
    np.save(tmp_path / "tiles" / "tiles.npy", np.stack(tiles.tiles))
    return tmp_path / "tiles"


def trainer_of(tiles, **changed):
    return StyleGAN2Trainer(replace(TINY, **changed), tiles, range(len(tiles)))


def flat(module):
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_every_loss_is_finite_and_each_regularisation_comes_at_its_interval(tiles):
    trainer = trainer_of(tiles)
    metrics = [trainer.step(index) for index in range(8)]
    assert [index for index, m in enumerate(metrics) if "path_length" in m] == [0, 3, 6]
    assert [index for index, m in enumerate(metrics) if "r1" in m] == [0, 4]
    assert all({"loss_g", "loss_d", "p", "kimg"} <= m.keys() for m in metrics)
    assert all(np.isfinite(float(value)) for m in metrics for value in m.values())
    assert [m["kimg"] for m in metrics] == [4 * (index + 1) / 1000 for index in range(8)]
    without = trainer_of(tiles, gamma=0.0, path_length_weight=0.0)
    assert without.step(0).keys() == {"loss_g", "loss_d", "p", "kimg"}


def test_the_images_take_on_the_colours_of_the_tiles(tiles):
    trainer = trainer_of(tiles, kimg=0.4, turn=False, ada_target=1.0, ema_kimg=0.05, learning_rate=0.01)
    wanted = torch.from_numpy(np.stack(tiles.tiles).mean(axis=(0, 1, 2))) / 127.5 - 1

    @torch.no_grad()
    def error():
        w = trainer.average.mapping(torch.randn(16, 16, generator=torch.Generator().manual_seed(1)))
        return float((trainer.average.synthesis(w, noise="none").mean(dim=(0, 2, 3)) - wanted).abs().max())

    before = error()
    for index in range(60):
        trainer.step(index)
    assert error() < 0.5 * before


def test_the_average_starts_fast_and_slows_down_to_its_half_life(tiles):
    trainer = trainer_of(tiles, ema_kimg=0.1, ema_rampup=0.5)

    def share_kept(seen):
        """How much of an average of noughts is left after one update with a generator of ones."""
        for network, value in ((trainer.generator, 1.0), (trainer.average, 0.0)):
            for parameter in network.parameters():
                parameter.data.fill_(value)
        trainer._update_average(seen)
        return 1 - float(next(trainer.average.parameters()).flatten()[0])

    assert share_kept(4) == pytest.approx(0.5 ** (4 / 2))
    assert share_kept(40) == pytest.approx(0.5 ** (4 / 20))
    for seen in (200, 100_000):
        assert share_kept(seen) == pytest.approx(0.5 ** (4 / 100), abs=1e-6)
    trainer.config = replace(trainer.config, ema_rampup=None)
    assert share_kept(4) == pytest.approx(0.5 ** (4 / 100), abs=1e-6)


@pytest.mark.parametrize(("sign", "start", "expected"), [(1, 0.0, 0.16), (-1, 0.5, 0.34), (-1, 0.0, 0.0), (1, 0.95, 1)])
def test_p_moves_by_the_images_seen_over_those_it_takes_and_stays_a_probability(tiles, sign, start, expected):
    trainer = trainer_of(tiles, ada_kimg=0.1, ada_target=0.6)
    trainer.augment_p = start
    trainer._real_signs = [torch.tensor(0.6 + 0.2 * sign)] * 4
    trainer._adapt_augmentation()
    assert trainer.augment_p == pytest.approx(expected)
    assert trainer._real_signs == []


def test_p_is_adapted_every_fourth_step_by_the_signs_of_the_real_images(tiles):
    trainer = trainer_of(tiles, ada_kimg=0.1, ada_target=0.0)
    with torch.no_grad():
        trainer.discriminator.b4.out.bias.fill_(50.0)  # D is sure that everything is real
    p = [trainer.step(index)["p"] for index in range(8)]
    assert p == pytest.approx([0, 0, 0, 0.16, 0.16, 0.16, 0.16, 0.32])


def test_a_resumed_training_is_bitwise_the_undisturbed_one(tiles, tmp_path):
    undisturbed = trainer_of(tiles)
    expected = [undisturbed.step(index) for index in range(8)]
    metrics = []
    for part in (range(3), range(3, 5), range(5, 8)):
        resumed = trainer_of(tiles)
        if part.start:
            resumed.restore(load_state(tmp_path / "state"))
        metrics += [resumed.step(index) for index in part]
        save_state(tmp_path / "state", resumed.state())
    assert metrics == expected
    save_state(tmp_path / "undisturbed", undisturbed.state())
    assert (tmp_path / "state").read_bytes() == (tmp_path / "undisturbed").read_bytes()


def test_another_seed_is_another_training(tiles):
    first, second = trainer_of(tiles), trainer_of(tiles, seed=1)
    assert not torch.equal(flat(first.generator), flat(second.generator))
    assert torch.equal(flat(first.generator), flat(trainer_of(tiles).generator))


def test_batches_hold_every_tile_once_an_epoch_in_an_order_that_only_the_seed_decides(tiles):
    def batches(seed, turn=False):
        made = TileBatches(tiles, range(2, 12), resolution=16, batch=4, turn=turn, seed=seed)
        return np.concatenate([made.read(step)[0] for step in range(5)])

    first = batches(0)
    for epoch in (first[:10], first[10:20]):
        assert sorted(t.tobytes() for t in epoch) == sorted(t.tobytes() for t in tiles.tiles[2:])
    assert not np.array_equal(first[:10], first[10:])
    np.testing.assert_array_equal(first, batches(0))
    assert not np.array_equal(first, batches(1))
    sums = [t.astype(int).sum() for t in first]
    assert [t.astype(int).sum() for t in batches(0, turn=True)] == sums
    assert not np.array_equal(first, batches(0, turn=True))
    streamed = TileBatches(tiles, range(2, 12), resolution=16, batch=4, turn=False, seed=0).stream(1, 3)
    pixels = torch.cat([batch.pixels for batch in streamed])
    np.testing.assert_array_equal(pixels.permute(0, 2, 3, 1), first[4:12])


def test_tiles_that_do_not_fit_are_refused(tiles):
    with pytest.raises(InputError, match="tile 0 is 16 px, smaller than the 32 px that the generator makes"):
        StyleGAN2Trainer(replace(TINY, resolution=32), tiles, [0])
    with pytest.raises(InputError, match="no tile to train on"):
        StyleGAN2Trainer(TINY, tiles, [])


def test_a_run_folder_holds_the_averaged_generator_and_all_that_made_it(tiles, folder, tmp_path):
    out = tmp_path / "generator"
    made = train(
        tiles,
        out,
        TINY,
        indices=[0, 1, 2, 3, 4],
        inputs={"tiles": folder},
        execution=Execution(device="cpu"),
    )
    assert made == out / "generator.safetensors"
    assert {path.name for path in out.iterdir()} == {
        "checkpoints", "config.json", "discriminator.safetensors", "generator.safetensors", "metrics.jsonl",
        "stage.json",
    }  # fmt: skip
    config = json.loads((out / "config.json").read_text())
    assert (config["kimg"], config["tiles"].split(",")[0], config["seed"]) == (0.032, "5", 0)
    assert [line["step"] for line in read_metrics(out)] == [8]
    final = load_state(out / "checkpoints" / "step-00000008.safetensors")["trainer"]
    for name, tensor in load_generator(made).state_dict().items():
        assert torch.equal(tensor, final["average"][name])
    record = json.loads((out / "stage.json").read_text())
    assert record["status"] == "complete"
    assert record["summary"]["kimg"] == 0.032
    with pytest.raises(InputError, match=r"was made from other tiles .*add --redo"):
        train(
            tiles,
            out,
            TINY,
            indices=[0, 1, 2, 3, 5],
            inputs={"tiles": folder},
            execution=Execution(device="cpu"),
        )
    written = made.stat().st_mtime_ns
    train(
        tiles,
        out,
        TINY,
        indices=[0, 1, 2, 3, 4],
        inputs={"tiles": folder},
        execution=Execution(device="cpu"),
    )
    assert made.stat().st_mtime_ns == written


def test_asked_for_more_kimg_a_training_goes_on_and_ends_as_if_asked_at_once(tiles, tmp_path):
    longer = replace(TINY, kimg=0.048)
    train(tiles, tmp_path / "grown", TINY, execution=Execution(device="cpu"))
    train(tiles, tmp_path / "grown", longer, execution=Execution(device="cpu"))
    train(tiles, tmp_path / "at once", longer, execution=Execution(device="cpu"))
    for name in ("generator.safetensors", "discriminator.safetensors"):
        assert (tmp_path / "grown" / name).read_bytes() == (tmp_path / "at once" / name).read_bytes()
    with pytest.raises(InputError, match=r"already trained for 0\.048 kimg, more than the 0\.032 asked for"):
        train(tiles, tmp_path / "grown", TINY, execution=Execution(device="cpu"))
    with pytest.raises(InputError, match=r"was made with gamma"):
        train(
            tiles,
            tmp_path / "grown",
            replace(longer, gamma=3.0),
            execution=Execution(device="cpu"),
        )


def test_a_training_begins_with_the_networks_of_another(tiles, folder, tmp_path):
    first = tmp_path / "first"
    train(tiles, first, TINY, execution=Execution(device="cpu"))
    short = replace(TINY, kimg=0.004, learning_rate=1e-9, path_length_weight=0.0, gamma=0.0)
    train(tiles, tmp_path / "second", short, start_from=first, execution=Execution(device="cpu"))
    assert json.loads((first / "config.json").read_text())["ema_rampup"] == TINY.ema_rampup
    assert json.loads((tmp_path / "second" / "config.json").read_text())["ema_rampup"] is None
    assert [row["kimg"] for row in read_metrics(first)] == [TINY.kimg]  # as it stands, not a mean over steps
    begun, fresh = flat(load_generator(first / "generator.safetensors")), flat(trainer_of(tiles).average)
    ended = flat(load_generator(tmp_path / "second" / "generator.safetensors"))
    assert (ended - begun).abs().max() < 1e-3 < (ended - fresh).abs().max()
    discriminators = [trainer_of(tiles).discriminator for _ in range(2)]
    for discriminator, name in zip(discriminators, ("first", "second"), strict=True):
        load_discriminator_into(discriminator, tmp_path / name / "discriminator.safetensors")
    torch.testing.assert_close(*map(flat, discriminators), atol=1e-4, rtol=0)
    with pytest.raises(InputError, match="the training asks for"):
        train(
            tiles,
            tmp_path / "third",
            replace(short, w_dim=8),
            start_from=first,
            execution=Execution(device="cpu"),
        )
    with pytest.raises(InputError, match="no such file"):
        train(tiles, tmp_path / "fourth", short, start_from=folder, execution=Execution(device="cpu"))


def test_the_terms_of_the_tiles_and_of_the_first_networks_travel_with_the_weights(tiles, folder, tmp_path):
    settled = {"status": "complete", "fingerprint": "1", "config": {}, "inputs": {}, "seconds": 0, "peak_rss_bytes": 0}
    write_json(folder / RECORD, {"stage": "tile", "licence": ["slides: CC BY-NC"], **settled})
    first = train(
        tiles,
        tmp_path / "first",
        TINY,
        inputs={"tiles": folder},
        execution=Execution(device="cpu"),
    )
    assert load_generator(first).licence == ("slides: CC BY-NC",)
    networks = tmp_path / "downloaded"
    networks.mkdir()
    generator = load_generator(first)
    generator.licence = ("weights: NVIDIA",)
    save_generator(generator, networks / "generator.safetensors", about={})
    second = train(
        tiles,
        tmp_path / "second",
        TINY,
        start_from=networks,
        inputs={"tiles": folder},
        execution=Execution(device="cpu"),
    )
    assert load_generator(second).licence == ("slides: CC BY-NC", "weights: NVIDIA")
    assert read_record(tmp_path / "second")["licence"] == ["slides: CC BY-NC", "weights: NVIDIA"]


FLOATS = [
    "kimg", "learning_rate", "gamma", "ema_kimg", "conv_clamp", "ema_rampup", "path_length_weight", "style_mixing",
    "ada_target", "ada_kimg",
]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kimg": 0}, "kimg must be above 0, not 0"),
        ({"gamma": -1}, "gamma must not be negative: -1"),
        ({"style_mixing": 1.5}, r"style_mixing must be between 0 and 1, not 1\.5"),
        ({"batch": 6}, "batch 6 is not a multiple of mbstd_group 4"),
        ({"batch": 8, "mbstd_group": 3}, "batch 8 is not a multiple of mbstd_group 3"),
        ({"kimg": float("inf")}, r"kimg must be a finite number of at most 1e\+12, not inf"),
        ({"kimg": 1e308}, r"kimg must be a finite number of at most 1e\+12, not 1e\+308"),
        *(({name: float("nan")}, f"{name} must be a finite number") for name in FLOATS),
        *(({name: float("-inf")}, f"{name} must be a finite number") for name in FLOATS),
    ],
)
def test_settings_out_of_range_are_refused_with_the_value(settings, message):
    with pytest.raises(InputError, match=message):
        replace(TINY, **settings)


def test_the_automatic_rule_is_that_of_the_published_configuration():
    config = train_config("auto", resolution=512, kimg=25000)
    assert (config.batch, config.mbstd_group, config.channel_base, config.learning_rate) == (8, 4, 32768, 0.0025)
    assert config.gamma == pytest.approx(0.0002 * 512**2 / 8)
    assert config.ema_kimg == pytest.approx(2.5)
    with pytest.raises(InputError, match="unknown preset 'huge'; there are: auto, stylegan2, "):
        train_config("huge", resolution=64, kimg=1)
    with pytest.raises(InputError, match="batch must be above 0, not 0"):
        train_config("auto", resolution=64, kimg=1, batch=0)


@pytest.mark.parametrize(
    ("batch", "group"), [(2, 2), (3, 3), (4, 4), (5, 1), (6, 3), (8, 4), (10, 2), (12, 4), (32, 4)]
)
def test_the_group_of_the_minibatch_deviation_divides_the_batch(batch, group):
    assert train_config("tiny", resolution=16, kimg=1, batch=batch).mbstd_group == group


def test_a_batch_that_four_does_not_divide_can_be_trained(tiles):
    config = train_config("tiny", resolution=16, kimg=0.006, batch=6, channel_max=16)
    metrics = StyleGAN2Trainer(config, tiles, range(len(tiles))).step(0)
    assert all(np.isfinite(float(value)) for value in metrics.values())


def test_the_architectures_of_networks_to_begin_with_are_those_of_their_files(tiles, tmp_path):
    config = replace(TINY, generator_architecture="resnet", discriminator_architecture="skip", kimg=0.004)
    first = train(tiles, tmp_path / "first", config, execution=Execution(device="cpu")).parent
    shape = shape_of(first)
    assert (shape["generator_architecture"], shape["discriminator_architecture"]) == ("resnet", "skip")
    train(tiles, tmp_path / "second", replace(TINY, kimg=0.004, **shape), start_from=first,
          execution=Execution(device="cpu"))  # fmt: skip


def test_what_is_no_set_of_tiles_is_refused(tmp_path):
    for other in ([np.zeros((16, 16, 3), np.uint8)], "patches/"):
        with pytest.raises(InputError, match="tiles must have a length and read"):
            train(other, str(tmp_path / "run"), TINY, execution=Execution("cpu"))
    assert not (tmp_path / "run").exists()
