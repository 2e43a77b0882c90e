"""A whole training run in a folder: from tiles to a generator file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from hdgan.stylegan2.checkpoint import load_discriminator_into, load_generator, save_discriminator, save_generator
from hdgan.stylegan2.data import Tiles
from hdgan.stylegan2.presets import TrainConfig
from hdgan.stylegan2.trainer import StyleGAN2Trainer
from tiling.errors import InputError
from tiling.files import write_json
from tiling.stage import Stage
from training.checkpoint import Checkpoints
from training.devices import choose_device
from training.loop import CHECKPOINTS, LoopConfig, run_loop

GENERATOR = "generator.safetensors"
DISCRIMINATOR = "discriminator.safetensors"


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

    Returns
    -------
    Path
        The generator file.
    """
    inputs = {"tiles": tiles_folder} | ({"start_from": start_from} if start_from else {})
    chosen = list(range(len(tiles))) if indices is None else indices
    settings = asdict(config) | {"tile_count": len(chosen)}
    stage = Stage.begin(out, name="train", config=settings, inputs=inputs, grows={"kimg"}, redo=redo)
    if stage.complete:
        return out / GENERATOR
    trained = Checkpoints(out / CHECKPOINTS).steps()
    if trained and trained[-1] > config.steps:
        kimg = trained[-1] * config.batch / 1000
        raise InputError(f"{out} is already trained for {kimg:g} kimg, more than the {config.kimg:g} asked for")
    write_json(out / "config.json", settings)
    trainer = StyleGAN2Trainer(config, tiles, chosen, device=choose_device(device))
    if start_from is not None:
        trainer.start_from(load_generator(start_from / GENERATOR))
        if (start_from / DISCRIMINATOR).exists():
            load_discriminator_into(trainer.discriminator, start_from / DISCRIMINATOR)
    loop = LoopConfig(steps=config.steps, checkpoint_seconds=checkpoint_seconds)
    run_loop(trainer, out, loop, "train")
    about = {"kimg": config.steps * config.batch / 1000, "training": settings}
    save_generator(trainer.average.cpu(), out / GENERATOR, about=about)
    save_discriminator(trainer.discriminator.cpu(), out / DISCRIMINATOR, about=about)
    stage.finish(principal=[out / GENERATOR], summary={"kimg": about["kimg"], "augment_p": trainer.augment_p})
    return out / GENERATOR
