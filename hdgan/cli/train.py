"""`hdgan train` and `hdgan sample`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdgan.cli.options import (
    DEFAULT_SPACE,
    DEFAULT_STUDY,
    DeviceOption,
    NoiseOption,
    QuietOption,
    RedoOption,
    SeedOption,
    SpaceOption,
    StudyOption,
    say,
    trainable_size,
)
from hdgan.study import Study
from tiling.errors import InputError
from tiling.wording import counted, quoted

if TYPE_CHECKING:
    import torch

    from tiling import TileSet


def train(
    study: StudyOption = DEFAULT_STUDY,
    kimg: Annotated[float, typer.Option(help="Length, in thousands of images shown.")] = 25000,
    preset: Annotated[str, typer.Option(help="auto, small (CPUs) or tiny (tests).")] = "auto",
    batch: Annotated[int | None, typer.Option(help="Images per step; default by preset.")] = None,
    gamma: Annotated[float | None, typer.Option(help="Weight of the R1 penalty; default by resolution.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam; default by resolution.")] = None,
    ema_kimg: Annotated[
        float | None, typer.Option(help="Half-life of the averaged generator, in thousands of images.")
    ] = None,
    ada_kimg: Annotated[
        float | None, typer.Option(help="Thousands of images that bring augmentation from none to full.")
    ] = None,
    augment: Annotated[str | None, typer.Option(help="Augmentation set: histology, bgc, ...")] = None,
    turn: Annotated[bool, typer.Option(help="Show each tile in its eight orientations.")] = True,
    hold_out: Annotated[int | None, typer.Option(help="Fold to leave out of the training.")] = None,
    root: Annotated[Path | None, typer.Option(help="Where the slides are now, if they were moved.")] = None,
    start_from: Annotated[
        Path | None, typer.Option("--from", help="Folder of an earlier run, to begin with its networks.")
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option(help="Time between checkpoints, which is what kill -9 may cost.", min=0)
    ] = 120,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the generator on the tiles; stopped, or asked for more kimg, it goes on where it was.

    Example: hdgan train --study kidney --kimg 2600
    """
    from hdgan.stylegan2 import train as train_generator
    from hdgan.stylegan2 import train_config
    from tiling import TileSet

    place = Study(study)
    tiles = TileSet.open(place.require("tile"), root=root)
    size = _trainable_edge(tiles, study)
    config = train_config(
        preset,
        resolution=size,
        kimg=kimg,
        batch=batch,
        gamma=gamma,
        learning_rate=learning_rate,
        ema_kimg=ema_kimg,
        ada_kimg=ada_kimg,
        augment=augment,
        turn=turn,
        seed=seed,
    )
    made = train_generator(
        tiles,
        place.generator,
        config,
        indices=None if hold_out is None else _without_fold(tiles, hold_out),
        inputs={"tiles": place.tiles},
        start_from=start_from,
        device=device,
        checkpoint_seconds=checkpoint_seconds,
        before_replacing=place.refuse_to_replace_generator,
        redo=redo,
    )
    say(f"{made}: {config.resolution} px, {kimg:g} kimg. Next: hdgan sample --study {quoted(study)}", quiet)


def sample(
    study: StudyOption = DEFAULT_STUDY,
    n: Annotated[int, typer.Option("-n", help="How many; asked for more later, it adds them.", min=1)] = 500,
    psi: Annotated[float, typer.Option(help="Truncation.")] = 0.7,
    first_seed: Annotated[int, typer.Option(help="Seeds count up from here.", min=0)] = 0,
    noise: NoiseOption = "random",
    mean: Annotated[bool, typer.Option(help="Put the image of the mean w first, as HDGAN does.")] = False,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Find the training tile nearest to each: nearest.csv, nearest.png.")
    ] = False,
    space: SpaceOption = DEFAULT_SPACE,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw images and keep their latents.

    Example: hdgan sample --study kidney -n 500 --psi 0.7
    """
    from hdgan.latents import MEAN_SEED
    from hdgan.sampling import sample as draw
    from hdgan.stylegan2.run import GENERATOR
    from tiling.progress import note
    from training.devices import choose_device

    place = Study(study)
    seeds = [MEAN_SEED] * mean + list(range(first_seed, first_seed + n - mean))
    generator = place.require("train") / GENERATOR
    draw(generator, place.latents, seeds=seeds, psi=psi, noise=noise, device=choose_device(device), redo=redo)
    if why := place.void_annotations():
        note(why)
    if nearest:
        say(f"{_find_nearest(place, space, choose_device(device))}: the training tile nearest to each image", quiet)
    say(f"{place.latents}: {counted(n, 'image')}. Next: hdgan annotate pick --study {quoted(study)}", quiet)


def _find_nearest(place: Study, space: str, device: torch.device) -> Path:
    from hdgan.embedding import open_space
    from hdgan.nearest import nearest_training_tiles
    from hdgan.quality import training_split
    from hdgan.stylegan2.run import GENERATOR
    from tiling import TileSet

    tiles = TileSet.open(place.require("tile"))
    split = training_split(place.generator / GENERATOR, tiles)
    return nearest_training_tiles(place.latents, tiles, split, space=open_space(space, device))


def _trainable_edge(tiles: TileSet, study: Path) -> int:
    """The tiles' edge in px; an :class:`InputError` if no generator makes images of this size."""
    size = tiles[0].size
    if size != trainable_size(size):
        raise InputError(
            f"tiles of {size} px cannot be trained on, only those of a power of two: tile the slides again with "
            f"`hdgan tile SLIDES --redo --size {trainable_size(size)} --study {quoted(study)}`"
        )
    return size


def _without_fold(tiles: TileSet, fold: int) -> list[int]:
    """The tiles to train on; an :class:`InputError` if there is no such fold, or no other."""
    folds = tiles.table()["fold"].to_pylist()
    if not 0 < folds.count(fold) < len(folds):
        there = ", ".join(map(str, sorted(set(folds))))
        raise InputError(f"fold {fold} cannot be held out: the tiles are in folds {there}")
    return [i for i, of in enumerate(folds) if of != fold]
