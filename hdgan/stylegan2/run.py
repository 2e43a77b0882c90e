"""A whole training run in a folder: from tiles to a generator file."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.conditions import classes_of
from hdgan.provenance import told_tiles
from hdgan.stylegan2.checkpoint import load_discriminator_into, load_generator, save_discriminator, save_generator
from hdgan.stylegan2.data import Classes, ScaledTiles, Tiles
from hdgan.stylegan2.evaluation import GeneratorEvaluation, steps_of
from hdgan.stylegan2.execution import Execution
from hdgan.stylegan2.presets import TrainConfig
from hdgan.stylegan2.tile_check import PictureFolder, check_tiles
from hdgan.stylegan2.trainer import StyleGAN2Trainer
from tiling.errors import InputError
from tiling.files import read_json, write_json
from tiling.progress import note
from tiling.stage import RECORD, Stage, read_record
from tiling.wording import counted, quoted
from training.checkpoint import Checkpoints, Score, read_about
from training.host import Host
from training.loop import CHECKPOINTS, Evaluation, LoopConfig, run_loop
from training.metrics import require_tensorboard

GENERATOR = "generator.safetensors"
BEST_GENERATOR = "generator-best.safetensors"
DISCRIMINATOR = "discriminator.safetensors"
CONFIG = "config.json"
_WIDEST_FOR_CPUS = 4096  # channel_base
_BY_RULE = ("batch", "mbstd_group", "gamma", "ema_kimg")
_OF_SHAPE = ("z_dim", "w_dim", "channel_base", "channel_max", "mapping_layers", "conv_clamp")
_ORIGINS = {
    "tiles": "other tiles (their number has changed since, or another fold was held out)",
    "images": "other images (files were added, removed, renamed or written to)",
    "classes": "tiles of other classes (their labels changed)",
}


def train(
    tiles: Tiles,
    out: Path | str,
    config: TrainConfig,
    *,
    indices: Sequence[int] | None = None,
    condition: Sequence[str] = (),
    workers: int = 0,
    start_from: Path | None = None,
    grow: bool = False,
    evaluation: GeneratorEvaluation | None = None,
    sheet_kimg: float | None = None,
    keep: int = 2,
    tensorboard: bool = False,
    inputs: Mapping[str, Path] | None = None,
    execution: Execution | None = None,
    checkpoint_seconds: float = 120.0,
    before_replacing: Callable[[], None] = lambda: None,
    redo: bool = False,
) -> Path:
    """Train a generator on tiles, or go on with a training that was stopped or is to be longer.

    Parameters
    ----------
    tiles
        A :class:`tiling.TileSet`, an :class:`hdgan.image_folder.ImageFolder`, or anything with their `len()` and
        `read(i)`. Tiles are cropped to `config.crop` px at random places, where that is given, and averaged down to
        `config.resolution` px.
    out
        Run folder: `config.json`, `metrics.jsonl`, `checkpoints/`, and in the end `generator.safetensors` (the
        moving average of the generator) and `discriminator.safetensors`; `generator-best.safetensors` where the
        training is evaluated.
    indices
        Tiles to train on; None: all.
    condition
        Names of labels of the tiles: the generator is then told, and can be asked for, their values or combinations.
        `config.c_dim` follows from them.
    workers
        Processes that read tiles ahead; 0: a thread. :func:`hdgan.stylegan2.data.fitting_workers` tells how
        many are sensible. What is trained does not depend on it.
    start_from
        Folder with the networks of an earlier run, of the same shape, to begin with. The average then has its full
        half-life from the start, since what it begins with is worth keeping.
    grow
        The networks to start from are of half the resolution; what is above is fresh.
    evaluation
        Measures the average generator again and again, as :func:`hdgan.stylegan2.held_out_evaluation` does. The best
        generator so far is kept, and in the end written as `generator-best.safetensors`.
    sheet_kimg
        Write a contact sheet of the average generator into `sheets/` so often, in thousands of images, and at the end;
        it takes Pillow. None: never.
    keep
        How many of the last checkpoints stay, besides the best.
    tensorboard
        Log for TensorBoard, too.
    inputs
        Folders of the stages that the tiles come from; their fingerprints and licences are recorded.
    execution
        Where and how to compute it; by default on a GPU if there is one. Under `torchrun` or `accelerate launch` all
        processes call this; the first writes.
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
    if not isinstance(tiles, Tiles):
        raise InputError(f"tiles must have a length and read(i), as a tile set or image folder has, not {tiles!r:.80}")
    out = Path(out)
    chosen = np.arange(len(tiles)) if indices is None else np.asarray(indices, np.int64)
    training = _Training.of(
        tiles, chosen, config, condition, workers=workers, start_from=start_from, grow=grow,
        execution=execution or Execution(),
    )  # fmt: skip
    settings, sources = training.settings, dict(inputs or {})
    if start_from is not None:
        sources["start_from"] = start_from
    host = training.execution.host()
    loop = LoopConfig(
        steps=training.config.steps,
        checkpoint_seconds=checkpoint_seconds,
        evaluate_every=None if evaluation is None else steps_of(evaluation.kimg, config.batch),
        picture_every=steps_of(sheet_kimg, config.batch),
        keep=keep,
        images=config.batch,
    )
    if tensorboard:
        require_tensorboard()
    read = [*chosen.tolist(), *(evaluation.indices if evaluation is not None else ())]

    def begin() -> tuple[Stage, StyleGAN2Trainer | None]:
        """The stage, and what there is to train; what cannot be trained is refused before the folder is touched."""
        trainer = None
        if not redo:
            _refuse_imported(out)
            _refuse_less(out, config)
        if redo or not _is_made(out, settings):
            check_tiles(tiles, read, crop=config.crop, resolution=config.resolution)
            trainer = training.trainer(host)
            if _replaces(out, settings, redo=redo):
                before_replacing()
        stage = Stage.begin(
            out, name="train", config=settings, inputs=sources, origins=_ORIGINS, grows={"kimg"}, redo=redo
        )
        return stage, None if stage.complete else trainer

    begun = host.led(begin)
    if begun is None:  # one of several processes: the first one has the stage, and says whether there is anything to do
        if host.told():
            run_loop(training.trainer(host), out, loop, "train", host=host)
        host.told()  # the generator is written
        return out / GENERATOR
    stage, trainer = begun
    with stage:
        host.told(trainer is not None)
        if trainer is not None:
            write_json(out / CONFIG, settings)
            note(training.in_words(trainer))
            measure = None if evaluation is None else _evaluation(trainer, evaluation)
            picture = None if sheet_kimg is None else _picture(trainer, out)
            run_loop(
                trainer, out, loop, "train", evaluation=measure, picture=picture, host=host, tensorboard=tensorboard
            )
            _finish(stage, trainer, settings)
    host.told()
    return out / GENERATOR


def _evaluation(trainer: StyleGAN2Trainer, of: GeneratorEvaluation) -> Evaluation:
    def evaluation(done: int) -> tuple[Mapping[str, float], Score]:
        metrics = of.measure(trainer.average)
        name, value = next(iter(metrics.items()))
        score = Score(f"{name}, {of.about}" if of.about else name, value)
        return {"kimg": done * trainer.config.batch / 1000, **metrics}, score

    return evaluation


def _picture(trainer: StyleGAN2Trainer, out: Path) -> Callable[[int], object]:
    from hdgan.stylegan2.sheets import SHEETS, write_sheet  # takes Pillow, which a bare GPU host may not have

    return lambda done: write_sheet(out / SHEETS, trainer.average, done * trainer.config.batch / 1000)


@dataclass(frozen=True)
class _Training:
    """What is to be trained, on what, and how."""

    tiles: Tiles
    chosen: npt.NDArray[np.int64]
    config: TrainConfig
    classes: Classes | None
    labelled: Mapping[str, Any]
    workers: int
    start_from: Path | None
    grow: bool
    execution: Execution

    @classmethod
    def of(
        cls,
        tiles: Tiles,
        chosen: npt.NDArray[np.int64],
        config: TrainConfig,
        condition: Sequence[str],
        *,
        workers: int,
        start_from: Path | None,
        grow: bool,
        execution: Execution,
    ) -> _Training:
        classes: Classes | None = None
        labelled: dict[str, Any] = {}
        if condition:
            conditions, classes = classes_of(tiles, condition, chosen.tolist())
            config = replace(config, c_dim=len(conditions))
            labelled = {"condition": ",".join(condition), "classes": dict(conditions.counts)}
        if start_from is not None:
            config = replace(config, ema_rampup=None)
        return cls(tiles, chosen, config, classes, labelled, workers, start_from, grow, execution)

    @property
    def settings(self) -> dict[str, Any]:
        """What the record of the training compares: all that determines it."""
        tiles = {"tiles": told_tiles(self.chosen)}
        images = {"images": self.tiles.fingerprint} if isinstance(self.tiles, PictureFolder) else {}
        return {**asdict(self.config), **tiles, **self.labelled, **images}

    @property
    def mpp(self) -> float | None:
        """Micrometres per pixel of the images, as far as the tiles tell."""
        if not isinstance(self.tiles, ScaledTiles) or self.tiles.mpp is None:
            return None
        return self.tiles.mpp * (self.config.crop or self.tiles.size(0)) / self.config.resolution

    def trainer(self, host: Host) -> StyleGAN2Trainer:
        """A trainer at its beginning."""
        trainer = StyleGAN2Trainer(
            self.config, self.tiles, self.chosen.tolist(), classes=self.classes, workers=self.workers,
            execution=self.execution, host=host,
        )  # fmt: skip
        trainer.average.classes, trainer.average.mpp = self.labelled.get("classes", {}), self.mpp
        if self.start_from is not None:
            _start_from(trainer, self.start_from, self.labelled.get("classes", {}), grow=self.grow)
        return trainer

    def in_words(self, trainer: StyleGAN2Trainer) -> str:
        """What is trained on what, from what, for how long, and what to know of it."""
        config = self.config
        classes = [f"{name} ({count})" for name, count in self.labelled.get("classes", {}).items()]
        of = f" of the classes {', '.join(classes)}" if classes else ""
        crop = "" if config.crop is None else f", crops of {config.crop} px"
        said = (
            f"training on {counted(len(self.chosen), 'tile')}{of}{crop}, {config.resolution} px: "
            f"{counted(config.steps, 'step')} of {config.batch}, {config.kimg:g} kimg in all"
        )
        if self.start_from is not None:
            networks = "both networks" if (self.start_from / DISCRIMINATOR).exists() else "the generator alone"
            said += f"; it begins with {networks} of {self.start_from}"
        if trainer.cut.group < 2:
            said += "; the minibatch deviation tells nothing, as it compares images and there is one"
        if trainer.device.type == "cpu" and config.channel_base > _WIDEST_FOR_CPUS:
            said += "; on a CPU networks as wide as these take a minute or more for a step: --preset small is for CPUs"
        return said


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
    checkpoints = Checkpoints(stage.folder / CHECKPOINTS)
    if best := checkpoints.best():
        step, score = best
        average.load_state_dict(checkpoints.load(step)["trainer"]["average"])
        told = about | {"kimg": step * config.batch / 1000, "score": {score.of: score.value}}
        save_generator(average, stage.folder / BEST_GENERATOR, about=told)
    save_discriminator(trainer.discriminator.cpu(), stage.folder / DISCRIMINATOR, about=about)
    summary = {"kimg": about["kimg"], "augment_p": trainer.augment_p}
    stage.finish(principal=[stage.folder / GENERATOR], summary=summary, licence=average.licence)


def _refuse_imported(out: Path) -> None:
    """Refuse to train where an imported generator is, which has no training to go on with."""
    if (out / RECORD).exists() and "source" in read_record(out)["config"]:
        raise InputError(
            f"{out} holds a generator that was imported: train in another study with `--from {quoted(out)}`, "
            "or add --redo to replace it"
        )


def _refuse_less(out: Path, config: TrainConfig) -> None:
    """Refuse to go on with a training that is longer than asked for, before anything in its folder changes."""
    trained = Checkpoints(out / CHECKPOINTS).steps()
    if not trained:
        return
    images = trained[-1] * int(read_json(out / CONFIG)["batch"])
    if images > config.steps * config.batch:
        there = f"{images / 1000:.12g}"
        raise InputError(
            f"{out} is already trained for {there} kimg, more than the {config.kimg:.12g} asked for; "
            f"ask for {there} to end it there, or for more, add --redo to begin again, or use another study"
        )


def begun_with(out: Path) -> dict[str, Any]:
    """What the automatic rule made of the number of processes that the training in a run folder began with.

    With these a training goes on as it began, by however many.
    """
    config = read_json(out / CONFIG) if (out / CONFIG).exists() else {}
    return {name: config[name] for name in _BY_RULE if name in config}


def shape_of(folder: Path) -> dict[str, Any]:
    """The settings of a :class:`TrainConfig` that networks which begin with those in a run folder must have."""
    config = asdict(load_generator(folder / GENERATOR).config)
    shape = {name: config[name] for name in _OF_SHAPE} | {"generator_architecture": config["architecture"]}
    if (folder / DISCRIMINATOR).exists():
        shape["discriminator_architecture"] = read_about(folder / DISCRIMINATOR)["config"]["architecture"]
    return shape


def _start_from(trainer: StyleGAN2Trainer, folder: Path, classes: Mapping[str, int], *, grow: bool) -> None:
    """Begin with the networks of another run; one that left no discriminator gives its generator only."""
    generator = load_generator(folder / GENERATOR)
    if generator.classes and list(generator.classes) != list(classes):
        before, now = (", ".join(names) or "none" for names in (generator.classes, classes))
        raise InputError(f"the classes of {folder} are {before}; those of these tiles are {now}")
    if grow:
        trainer.grow_from(generator)
    else:
        trainer.start_from(generator)
    if (folder / DISCRIMINATOR).exists():
        load_discriminator_into(trainer.discriminator, folder / DISCRIMINATOR, grow=grow)
