"""`hdgan sample`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdgan.cli.options import (
    DEFAULT_SPACE,
    DEFAULT_STUDY,
    DeviceOption,
    ImagesNowOption,
    LabelsNowOption,
    NoiseOption,
    QuietOption,
    RedoOption,
    RootOption,
    SpaceOption,
    StudyOption,
    say,
)
from hdgan.cli.sources import open_trained_on
from hdgan.study import FEATURES, Study
from tiling.wording import counted, quoted

if TYPE_CHECKING:
    import torch

    from hdgan.image_folder import ImageFolder
    from tiling import TileSet


def sample(
    study: StudyOption = DEFAULT_STUDY,
    n: Annotated[int, typer.Option("-n", help="How many; asked for more later, it adds them.", min=1)] = 500,
    psi: Annotated[float, typer.Option(help="Truncation.")] = 0.7,
    first_seed: Annotated[int, typer.Option(help="Seeds count up from here.", min=0)] = 0,
    noise: NoiseOption = "random",
    of_class: Annotated[
        str | None, typer.Option("--class", help="Class of all images, by name or number; default: a draw for each.")
    ] = None,
    mean: Annotated[bool, typer.Option(help="Put the image of the mean w first, as HDGAN does.")] = False,
    nearest: Annotated[
        bool, typer.Option("--nearest", help="Find the training tile nearest to each: nearest.csv, nearest.png.")
    ] = False,
    space: SpaceOption = DEFAULT_SPACE,
    images_now: ImagesNowOption = None,
    labels_now: LabelsNowOption = None,
    root: RootOption = None,
    walk: Annotated[
        Path | None,
        typer.Option(
            help="Write a film from sample to sample: a .webp, .png or .gif, by its name in the latents' folder."
        ),
    ] = None,
    walk_through: Annotated[int, typer.Option(help="How many samples, from the first, it goes through.", min=2)] = 8,
    walk_frames: Annotated[int, typer.Option(help="Its frames from one to the next; 25 are a second.", min=1)] = 30,
    walk_size: Annotated[int, typer.Option(help="Its largest edge, px.", min=8)] = 512,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Draw images and keep their latents.

    With --walk, a film that turns the first samples into each other, and the last into the first. A relative path is
    one in the latents' folder.

    Example: hdgan sample --study kidney -n 500 --psi 0.7
    """
    from hdgan.latents import MEAN_SEED
    from hdgan.sampling import sample as draw
    from hdgan.stylegan2 import load_generator
    from hdgan.stylegan2.run import GENERATOR
    from hdgan.walk import latent_walk, walk_format
    from tiling.progress import note
    from training.devices import choose_device

    if walk is not None:
        walk_format(walk)
    where, place = choose_device(device), Study(study)
    seeds = [MEAN_SEED] * mean + list(range(first_seed, first_seed + n - mean))
    generator = place.require("train") / GENERATOR
    real = open_trained_on(place, images=images_now, labels=labels_now, root=root) if nearest else None
    draw(
        generator,
        place.latents,
        seeds=seeds,
        psi=psi,
        noise=noise,
        of_class=of_class,
        device=where,
        redo=redo,
    )
    if why := place.void_annotations():
        note(why)
    if real is not None:
        say(f"{_find_nearest(place, real, space, where)}: the training tile nearest to each image", quiet)
    if walk is not None:
        film, through = place.latents / walk, seeds[:walk_through]
        latent_walk(
            load_generator(generator).to(where), film, through, frames=walk_frames, psi=psi, of_class=of_class,
            size=walk_size,
        )  # fmt: skip
        say(f"{film}: {counted(len(through) * walk_frames, 'frame')} of a walk", quiet)
    say(f"{place.latents}: {counted(n, 'image')}. Next: hdgan annotate pick --study {quoted(study)}", quiet)


def _find_nearest(place: Study, tiles: TileSet | ImageFolder, space: str, device: torch.device) -> Path:
    from hdgan.embedding import open_space
    from hdgan.nearest import nearest_training_tiles
    from hdgan.quality import training_split
    from hdgan.stylegan2.run import GENERATOR

    split = training_split(place.generator / GENERATOR, tiles)
    kept = place.evaluation / FEATURES
    return nearest_training_tiles(place.latents, tiles, split, space=open_space(space, device), kept=kept)
