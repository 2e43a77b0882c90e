"""`hdgan synthesize` and `hdgan export`."""

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
    StudyOption,
    say,
)
from hdgan.cli.sources import open_trained_on
from hdgan.study import FEATURES, Study
from tiling.errors import InputError
from tiling.progress import note
from tiling.wording import counted

if TYPE_CHECKING:
    import torch

    from hdgan.image_folder import ImageFolder
    from hdgan.pairs import TrainingTiles
    from tiling import TileSet

_WORK = "Who does the work"
_NEAREST = "The training tile nearest to each image"
_Workers = Annotated[
    int, typer.Option(help="Processes on this machine, a core each; 0: this one.", min=0, rich_help_panel=_WORK)
]
_Memory = Annotated[str | None, typer.Option(help="What each of them may take; default 4GiB.", rich_help_panel=_WORK)]
_Scheduler = Annotated[
    str | None,
    typer.Option(help="Address of a dask scheduler that does the work: tcp://HOST:8786.", rich_help_panel=_WORK),
]
_Retries = Annotated[int, typer.Option(help="How often workers try again what fails.", min=0, rich_help_panel=_WORK)]


def synthesize(
    study: StudyOption = DEFAULT_STUDY,
    n: Annotated[int, typer.Option("-n", help="How many pairs; asked for more later, it adds them.", min=1)] = 100,
    format_: Annotated[str, typer.Option("--format", help="zarr, ome-tiff or png.")] = "zarr",
    psi: Annotated[float, typer.Option(help="Truncation.")] = 0.7,
    noise: NoiseOption = "random",
    of_class: Annotated[
        str | None, typer.Option("--class", help="Class of all images, by name or number; default: a draw for each.")
    ] = None,
    first_seed: Annotated[int, typer.Option(help="Seeds count up from here.", min=0)] = 1_000_000,
    out: Annotated[Path | None, typer.Option(help="Folder to write, for a second set; default: the study's.")] = None,
    label: Annotated[
        str, typer.Option(help="Class of a pixel: vote (of most members) or mean (of the highest mean probability).")
    ] = "vote",
    window: Annotated[int, typer.Option(help="Edge of the windows made at a time, 8 to 4096 px.")] = 512,
    nearest_tile: Annotated[
        bool,
        typer.Option("--nearest/--no-nearest", help="Note it and its distance.", rich_help_panel=_NEAREST),
    ] = False,
    tile_space: Annotated[
        str,
        typer.Option(
            "--space",
            help="Feature space: random-conv-v1 (no weights), or a file of Inception's weights.",
            rich_help_panel=_NEAREST,
        ),
    ] = DEFAULT_SPACE,
    images_now: ImagesNowOption = None,
    labels_now: LabelsNowOption = None,
    root: RootOption = None,
    workers: _Workers = 0,
    memory: _Memory = None,
    scheduler: _Scheduler = None,
    retries: _Retries = 2,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make image-mask pairs.

    Example: hdgan synthesize --study kidney -n 1000 --format ome-tiff
    """
    from hdgan.latents import SeededLatents
    from hdgan.pairs import synthesize as make_pairs
    from hdgan.pairs.manifest import FAILED
    from hdgan.pixels import PixelEnsemble
    from hdgan.pixels.fitting import ENSEMBLE
    from hdgan.state import warn_if_outdated
    from hdgan.stylegan2 import load_generator
    from hdgan.stylegan2.run import GENERATOR
    from training.devices import choose_device

    place = Study(study)
    inputs = {"generator": place.require("train"), "classifiers": place.require("fit")}
    warn_if_outdated(place, "fit")
    generator = load_generator(inputs["generator"] / GENERATOR)
    latents = SeededLatents(generator, range(first_seed, first_seed + n), psi=psi, noise=noise, of_class=of_class)
    chosen = choose_device(device)
    ensemble = PixelEnsemble.load(inputs["classifiers"] / ENSEMBLE, device=chosen)
    folder, tiles = out or place.pairs, None
    if nearest_tile:
        real = open_trained_on(place, images=images_now, labels=labels_now, root=root)
        tiles = _training_tiles(place, real, tile_space, generator.resolution, chosen)
    pairs = make_pairs(
        generator.to(chosen),
        ensemble,
        latents,
        folder,
        format=format_,
        window=window,
        label=label,
        tiles=tiles,
        inputs=inputs,
        scheduler=scheduler,
        workers=workers,
        memory=memory,
        retries=retries,
        redo=redo,
    )
    say(f"{folder}: {counted(len(pairs), 'image-mask pair')} of {generator.resolution} px", quiet)
    if len(pairs) < n:
        note(
            f"{counted(n - len(pairs), 'pair')} could not be made, see {folder / FAILED}; the same command tries again"
        )


def export(
    study: StudyOption = DEFAULT_STUDY,
    format_: Annotated[
        str | None, typer.Option("--format", help="zarr, ome-tiff, png, or geojson: masks for QuPath.")
    ] = None,
    drop_uncertain: Annotated[
        float, typer.Option(help="Leave out this share of the pairs, the most uncertain ones.")
    ] = 0.1,
    least_region: Annotated[
        int, typer.Option(help="For geojson: leave out regions that enclose fewer px; 0 keeps the mask exactly.", min=0)
    ] = 0,
    pairs: Annotated[Path | None, typer.Option(help="Folder of the pairs; default: the study's.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write; default: export in the study.")] = None,
    workers: _Workers = 0,
    memory: _Memory = None,
    scheduler: _Scheduler = None,
    retries: _Retries = 2,
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write pairs anew: without the uncertain ones, in another format, or with masks as QuPath's GeoJSON.

    Example: hdgan export --study kidney --format ome-tiff --drop-uncertain 0.1
    """
    from hdgan.pairs import PairSet, export_pairs
    from hdgan.state import warn_if_outdated

    if format_ is None:
        raise InputError(
            "say in which format: --format zarr, ome-tiff or png for training on, or geojson for QuPath, which takes "
            "the most time and room"
        )
    place = Study(study)
    folder = out or place.export
    selected = PairSet.open(pairs or place.require("synthesize")).select(drop_uncertain=drop_uncertain)
    if pairs is None:
        warn_if_outdated(place, "synthesize")
    export_pairs(
        selected,
        folder,
        format=format_,
        least_region=least_region,
        scheduler=scheduler,
        workers=workers,
        memory=memory,
        retries=retries,
        redo=redo,
    )
    say(f"{folder}: {counted(len(selected), 'image-mask pair')}", quiet)


def _training_tiles(
    place: Study, real: TileSet | ImageFolder, space: str, resolution: int, device: torch.device
) -> TrainingTiles:
    from hdgan.embedding import open_space
    from hdgan.pairs import training_tiles
    from hdgan.quality import training_split
    from hdgan.stylegan2.run import GENERATOR

    split = training_split(place.generator / GENERATOR, real)
    kept = place.evaluation / f"{FEATURES}-of-pairs"
    return training_tiles(real, split, space=open_space(space, device), resolution=resolution, kept=kept)
