"""A whole training run in a folder: from tiles to a generator file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from hdgan.stylegan2.checkpoint import load_discriminator_into, load_generator, save_discriminator, save_generator
from hdgan.stylegan2.data import Tiles
from hdgan.stylegan2.presets import TrainConfig
from hdgan.stylegan2.trainer import StyleGAN2Trainer
from tiling.errors import InputError
from tiling.files import read_json, write_json
from tiling.stage import Stage
from training.checkpoint import Checkpoints
from training.devices import choose_device
from training.loop import CHECKPOINTS, LoopConfig, run_loop

GENERATOR = "generator.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
_CONFIG = "config.json"


def train(
    tiles: Tiles,
    tiles_folder: Path,
    out: Path,
    config: TrainConfig,
    *,
    indices: list[int] | None = None,
    start_from: Path | None = None,
    device: str = "auto",
    checkpoint_seconds: float = 120.0,
    redo: bool = False,
) -> Path:
    """Train a generator on tiles, or go on with a training that was stopped or is to be longer.

    Parameters
    ----------
    tiles
        The tile set, and `tiles_folder` where it is; its tiles must be `config.resolution` px.
    out
        Run folder: `config.json`, `metrics.jsonl`, `checkpoints/`, and in the end `generator.safetensors` (the
        moving average of the generator) and `discriminator.safetensors`.
    indices
        Tiles to train on; None: all.
    start_from
        Folder with the networks of an earlier run, of the same shape, to begin with.
    device
        "auto", "cpu" or "cuda".
    checkpoint_seconds
        Time between checkpoints.
    redo
        Discard what is in `out`.

    Returns
    -------
    Path
        The generator file.

    Raises
    ------
    InputError
        For tiles or networks that do not fit, and for less kimg than are trained already; `out` is as it was.
    """
    inputs = {"tiles": tiles_folder} | ({"start_from": start_from} if start_from else {})
    chosen = list(range(len(tiles))) if indices is None else indices
    settings = asdict(config) | {"tile_count": len(chosen)}
    if not redo:
        _refuse_less(out, config)
    trainer = StyleGAN2Trainer(config, tiles, chosen, device=choose_device(device))
    if start_from is not None:
        _start_from(trainer, start_from)
    stage = Stage.begin(out, name="train", config=settings, inputs=inputs, grows={"kimg"}, redo=redo)
    if stage.complete:
        return out / GENERATOR
    write_json(out / _CONFIG, settings)
    loop = LoopConfig(steps=config.steps, checkpoint_seconds=checkpoint_seconds)
    run_loop(trainer, out, loop, "train")
    about = {"kimg": config.steps * config.batch / 1000, "training": settings}
    save_generator(trainer.average.cpu(), out / GENERATOR, about=about)
    save_discriminator(trainer.discriminator.cpu(), out / DISCRIMINATOR, about=about)
    stage.finish(principal=[out / GENERATOR], summary={"kimg": about["kimg"], "augment_p": trainer.augment_p})
    return out / GENERATOR


def _refuse_less(out: Path, config: TrainConfig) -> None:
    """Refuse to go on with a training that is longer than asked for, before anything in its folder changes."""
    trained = Checkpoints(out / CHECKPOINTS).steps()
    if not trained:
        return
    images = trained[-1] * int(read_json(out / _CONFIG)["batch"])
    if images > config.steps * config.batch:
        raise InputError(
            f"{out} is already trained for {images / 1000:g} kimg, more than the {config.kimg:g} asked for; "
            "ask for as many or more, add --redo to begin again, or use another study"
        )


def _start_from(trainer: StyleGAN2Trainer, folder: Path) -> None:
    """Begin with the networks of another run; one that left no discriminator gives its generator only."""
    trainer.start_from(load_generator(folder / GENERATOR))
    if (folder / DISCRIMINATOR).exists():
        load_discriminator_into(trainer.discriminator, folder / DISCRIMINATOR)
