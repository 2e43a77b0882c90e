"""A whole training run in a folder: from tiles to a generator file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.provenance import digest
from hdgan.stylegan2.checkpoint import load_discriminator_into, load_generator, save_discriminator, save_generator
from hdgan.stylegan2.data import Tiles
from hdgan.stylegan2.presets import TrainConfig
from hdgan.stylegan2.trainer import StyleGAN2Trainer
from tiling.errors import InputError
from tiling.files import read_json, write_json
from tiling.progress import note
from tiling.stage import RECORD, Stage, read_record
from tiling.wording import counted
from training.checkpoint import Checkpoints
from training.devices import choose_device
from training.loop import CHECKPOINTS, LoopConfig, run_loop

GENERATOR = "generator.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
_CONFIG = "config.json"
_ORIGINS = {"tiles": "other tiles (their number has changed since, or another fold was held out)"}


def train(
    tiles: Tiles,
    out: Path,
    config: TrainConfig,
    *,
    indices: Sequence[int] | None = None,
    start_from: Path | None = None,
    inputs: Mapping[str, Path] | None = None,
    device: str = "auto",
    checkpoint_seconds: float = 120.0,
    before_replacing: Callable[[], None] = lambda: None,
    redo: bool = False,
) -> Path:
    """Train a generator on tiles, or go on with a training that was stopped or is to be longer.

    Parameters
    ----------
    tiles
        A :class:`tiling.TileSet`, or anything with its `len()` and `read(i)`; tiles of `config.resolution` px.
    out
        Run folder: `config.json`, `metrics.jsonl`, `checkpoints/`, and in the end `generator.safetensors` (the
        moving average of the generator) and `discriminator.safetensors`.
    indices
        Tiles to train on; None: all.
    start_from
        Folder with the networks of an earlier run, of the same shape, to begin with. The average then has its full
        half-life from the start, since what it begins with is worth keeping.
    inputs
        Folders of the stages that the tiles come from; their fingerprints and licences are recorded.
    device
        "auto", "cpu" or "cuda".
    checkpoint_seconds
        Time between checkpoints.
    before_replacing
        Called when the request is checked and `out` is about to lose its generator; what it raises leaves it there.
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
    chosen = np.arange(len(tiles)) if indices is None else np.asarray(indices, np.int64)
    sources = dict(inputs or {})
    if start_from is not None:
        config = replace(config, ema_rampup=None)
        sources["start_from"] = start_from
    settings = asdict(config) | {"tiles": told_tiles(chosen)}
    if not redo:
        _refuse_less(out, config)
    trainer = None
    if redo or not _is_made(out, settings):  # what cannot be trained is refused before the folder is touched
        trainer = StyleGAN2Trainer(config, tiles, chosen.tolist(), device=choose_device(device))
        if start_from is not None:
            _start_from(trainer, start_from)
        if _replaces(out, settings, redo=redo):
            before_replacing()
    with Stage.begin(
        out, name="train", config=settings, inputs=sources, origins=_ORIGINS, grows={"kimg"}, redo=redo
    ) as stage:
        if trainer is not None:
            write_json(out / _CONFIG, settings)
            note(
                f"training on {counted(len(chosen), 'tile')} of {config.resolution} px: "
                f"{counted(config.steps, 'step')} of {config.batch}, {config.kimg:g} kimg in all"
            )
            run_loop(trainer, out, LoopConfig(steps=config.steps, checkpoint_seconds=checkpoint_seconds), "train")
            _finish(stage, trainer, settings)
    return out / GENERATOR


def told_tiles(indices: Sequence[int] | npt.NDArray[np.int64]) -> str:
    """Which tiles a training is on, as its record and the generator's file tell it: their number and a fingerprint."""
    chosen = np.asarray(indices, np.int64)
    return f"{len(chosen)}, {digest({'indices': chosen})[:16]}"


def _is_made(out: Path, settings: Mapping[str, Any]) -> bool:
    """Whether a training of these settings is complete there: then neither slides nor networks are needed."""
    record = read_record(out) if (out / RECORD).exists() else {}
    return record.get("status") == "complete" and record.get("config") == json.loads(json.dumps(settings))


def _replaces(out: Path, settings: Mapping[str, Any], *, redo: bool) -> bool:
    """Whether training with these settings takes a finished generator away: anew, or longer than it was trained."""
    record = read_record(out) if (out / RECORD).exists() else {}
    if record.get("status") != "complete":
        return False
    before, now = record["config"], json.loads(json.dumps(dict(settings)))
    return redo or {**before, "kimg": None} == {**now, "kimg": None}


def _finish(stage: Stage, trainer: StyleGAN2Trainer, settings: Mapping[str, Any]) -> None:
    """Write the networks, with the licence of everything that they were made from."""
    average, config = trainer.average.cpu(), trainer.config
    average.licence = tuple(sorted({*stage.record["licence"], *average.licence}))
    about = {"kimg": config.steps * config.batch / 1000, "training": dict(settings)}
    save_generator(average, stage.folder / GENERATOR, about=about)
    save_discriminator(trainer.discriminator.cpu(), stage.folder / DISCRIMINATOR, about=about)
    summary = {"kimg": about["kimg"], "augment_p": trainer.augment_p}
    stage.finish(principal=[stage.folder / GENERATOR], summary=summary, licence=average.licence)


def _refuse_less(out: Path, config: TrainConfig) -> None:
    """Refuse to go on with a training that is longer than asked for, before anything in its folder changes."""
    trained = Checkpoints(out / CHECKPOINTS).steps()
    if not trained:
        return
    images = trained[-1] * int(read_json(out / _CONFIG)["batch"])
    if images > config.steps * config.batch:
        raise InputError(
            f"{out} is already trained for {images / 1000:g} kimg, more than the {config.kimg:g} asked for; "
            f"ask for {images / 1000:g} to end it there, or for more, add --redo to begin again, or use another study"
        )


def _start_from(trainer: StyleGAN2Trainer, folder: Path) -> None:
    """Begin with the networks of another run; one that left no discriminator gives its generator only."""
    trainer.start_from(load_generator(folder / GENERATOR))
    if (folder / DISCRIMINATOR).exists():
        load_discriminator_into(trainer.discriminator, folder / DISCRIMINATOR)
