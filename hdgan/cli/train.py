"""`hdgan train` and `hdgan import`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from hdgan.cli.options import (
    DEFAULT_SPACE,
    DEFAULT_STUDY,
    DeviceOption,
    QuietOption,
    RedoOption,
    SeedOption,
    StudyOption,
    say,
)
from hdgan.cli.sources import edge_of, inputs_of, open_source, trainable_edge, without_fold
from hdgan.study import Study
from tiling.errors import InputError
from tiling.wording import quoted

_DATA, _TRAINED = "What goes in", "What is trained"
_BEGINNING, _COMPUTED = "What it begins with", "How it is computed"
_SHOWN = "What it shows and keeps"
SHEET_KIMG = 200.0
"""How often a contact sheet is written where nothing else is asked for, as the published code does it."""


def train(
    study: StudyOption = DEFAULT_STUDY,
    images: Annotated[
        Path | None,
        typer.Option(
            help="Folder of images to train on, instead of the study's tiles.", file_okay=False, rich_help_panel=_DATA
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV file with labels of these images: a column `image`, and the labels.", rich_help_panel=_DATA
        ),
    ] = None,
    resolution: Annotated[
        int | None,
        typer.Option(
            help="Edge of the images to make, px, a power of two; default: what goes in.", rich_help_panel=_DATA
        ),
    ] = None,
    crop: Annotated[
        int | None,
        typer.Option(
            help="Edge of the squares cut out of tiles at random, px of the tile.", min=1, rich_help_panel=_DATA
        ),
    ] = None,
    condition: Annotated[
        str | None,
        typer.Option(
            help="Label, or several with commas, whose values the generator can be asked for.", rich_help_panel=_DATA
        ),
    ] = None,
    kimg: Annotated[
        float | None,
        typer.Option(
            help="Length, in thousands of images shown; default by preset, 25000 mostly.", rich_help_panel=_TRAINED
        ),
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="auto, small (CPUs), tiny (tests), stylegan2, paper256, paper512, paper1024 or hdgan4096.",
            rich_help_panel=_TRAINED,
        ),
    ] = "auto",
    batch: Annotated[
        int | None, typer.Option(help="Images per step; default by preset.", rich_help_panel=_TRAINED)
    ] = None,
    mbstd_group: Annotated[
        int | None,
        typer.Option(
            help="Images that the minibatch deviation compares; default by preset.", min=1, rich_help_panel=_TRAINED
        ),
    ] = None,
    gamma: Annotated[
        float | None, typer.Option(help="Weight of the R1 penalty; default by resolution.", rich_help_panel=_TRAINED)
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of Adam; default by resolution.", rich_help_panel=_TRAINED)
    ] = None,
    ema_kimg: Annotated[
        float | None,
        typer.Option(help="Half-life of the averaged generator, in thousands of images.", rich_help_panel=_TRAINED),
    ] = None,
    ada_kimg: Annotated[
        float | None,
        typer.Option(help="Thousands of images that bring augmentation from none to full.", rich_help_panel=_TRAINED),
    ] = None,
    architecture: Annotated[
        str | None,
        typer.Option(
            help="Of the generator: skip, resnet or orig; default by preset, skip mostly.", rich_help_panel=_TRAINED
        ),
    ] = None,
    discriminator_architecture: Annotated[
        str | None,
        typer.Option(
            help="Of the discriminator: resnet, skip or orig; default by preset, resnet mostly.",
            rich_help_panel=_TRAINED,
        ),
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="Augmentation set: histology, bgc, ...", rich_help_panel=_TRAINED)
    ] = None,
    turn: Annotated[
        bool | None,
        typer.Option(
            help="Show each tile in its eight orientations; default by preset, mostly so.", rich_help_panel=_DATA
        ),
    ] = None,
    mirror: Annotated[
        bool | None, typer.Option(help="With --no-turn: show it mirrored, too.", rich_help_panel=_DATA)
    ] = None,
    hold_out: Annotated[
        int | None, typer.Option(help="Fold to leave out of the training.", rich_help_panel=_DATA)
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes that read tiles ahead; 0: a thread. Default: as needed.", min=0, rich_help_panel=_COMPUTED
        ),
    ] = None,
    precision: Annotated[
        str,
        typer.Option(
            help="Of the four highest resolutions: fp32, bf16, fp16, or auto (bf16 on a GPU).",
            rich_help_panel=_COMPUTED,
        ),
    ] = "auto",
    micro_batch: Annotated[
        int | None,
        typer.Option(
            help="Images at a time in each process; their gradients are added up.", min=1, rich_help_panel=_COMPUTED
        ),
    ] = None,
    recompute: Annotated[
        str,
        typer.Option(
            help="Save memory by computing blocks again: always, never, or auto (penalties; from 1024 px all).",
            rich_help_panel=_COMPUTED,
        ),
    ] = "auto",
    root: Annotated[
        Path | None, typer.Option(help="Where the slides are now, if they were moved.", rich_help_panel=_DATA)
    ] = None,
    start_from: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Folder of an earlier run, or of an import, to begin with its networks.",
            rich_help_panel=_BEGINNING,
        ),
    ] = None,
    grow_from: Annotated[
        Path | None,
        typer.Option(
            help="Folder of an earlier run at half the resolution, to grow its networks.", rich_help_panel=_BEGINNING
        ),
    ] = None,
    evaluate_kimg: Annotated[
        float | None,
        typer.Option(
            help="Measure the distance to the held-out fold so often, kimg, and keep the best generator.",
            rich_help_panel=_SHOWN,
        ),
    ] = None,
    evaluate_images: Annotated[int, typer.Option(help="Images to draw for it.", min=2, rich_help_panel=_SHOWN)] = 1000,
    evaluate_space: Annotated[
        str,
        typer.Option(
            "--space",
            help="Feature space for it: random-conv-v1, or a file of Inception's weights.",
            rich_help_panel=_SHOWN,
        ),
    ] = DEFAULT_SPACE,
    sheet_kimg: Annotated[
        float | None,
        typer.Option(
            help="Write a contact sheet so often, kimg; 0: never. Default: as often as it is measured, else 200.",
            rich_help_panel=_SHOWN,
        ),
    ] = None,
    keep: Annotated[
        int, typer.Option(help="Last checkpoints that stay, besides the best.", min=1, rich_help_panel=_SHOWN)
    ] = 2,
    tensorboard: Annotated[bool, typer.Option(help="Log for TensorBoard, too.", rich_help_panel=_SHOWN)] = False,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Refuse to begin a training where there is none to go on with.", rich_help_panel=_BEGINNING
        ),
    ] = False,
    checkpoint_seconds: Annotated[
        float,
        typer.Option(help="Time between checkpoints, which is what kill -9 may cost.", min=0, rich_help_panel=_SHOWN),
    ] = 120,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Train the generator on the tiles; stopped, or asked for more kimg, it goes on where it was.

    Example: hdgan train --study kidney --kimg 2600

    Example: hdgan train --study nuclei --images patches/ --crop 512 --resolution 256 --condition folder
    """
    from hdgan.embedding import open_space
    from hdgan.stylegan2 import held_out_evaluation, train_config
    from hdgan.stylegan2 import train as train_generator
    from hdgan.stylegan2.data import fitting_workers
    from hdgan.stylegan2.execution import Execution
    from hdgan.stylegan2.run import begun_with, shape_of
    from training.checkpoint import Checkpoints
    from training.devices import choose_device
    from training.host import processes
    from training.loop import CHECKPOINTS

    execution = Execution(device, precision, micro_batch, recompute)
    place = Study(study)
    if resume and not Checkpoints(place.generator / CHECKPOINTS).steps():
        raise InputError(f"{place.generator} has no training to go on with; leave --resume out to begin one")
    tiles = open_source(place, images=images, labels=labels, root=root)
    edge = edge_of(tiles) if crop is None else crop
    by_rule = {} if redo else begun_with(place.generator)
    given = {"batch": batch, "mbstd_group": mbstd_group, "gamma": gamma, "ema_kimg": ema_kimg}
    by_rule |= {name: value for name, value in given.items() if value is not None}
    config = train_config(
        preset,
        resolution=trainable_edge(edge, resolution, place, tiled=images is None),
        crop=crop,
        kimg=kimg,
        learning_rate=learning_rate,
        ada_kimg=ada_kimg,
        generator_architecture=architecture,
        discriminator_architecture=discriminator_architecture,
        augment=augment,
        turn=turn,
        mirror=mirror,
        seed=seed,
        processes=processes(),
        **by_rule,
    )
    if start_from is not None and grow_from is not None:
        raise InputError("a training begins with the networks of one run: give --from or --grow-from, not both")
    if (beginning := start_from or grow_from) is not None:
        shape = shape_of(beginning)
        for option, asked, name in (
            ("--architecture", architecture, "generator_architecture"),
            ("--discriminator-architecture", discriminator_architecture, "discriminator_architecture"),
        ):
            if asked not in (None, shape.get(name, asked)):
                raise InputError(f"the networks of {beginning} are {shape[name]}, not {option} {asked}; leave it out")
        config = replace(config, **shape)
    indices = None if hold_out is None else without_fold(tiles, hold_out)
    condition_labels = [] if condition is None else [name.strip() for name in condition.split(",")]
    evaluation = None
    if evaluate_kimg is not None:
        if indices is None:
            raise InputError("--evaluate-kimg measures the distance to tiles that are held out: give --hold-out, too")
        evaluation = held_out_evaluation(
            tiles,
            sorted(set(range(len(tiles))) - set(indices)),
            config,
            space=open_space(evaluate_space, execution.host().device),
            condition=condition_labels,
            images=evaluate_images,
            kimg=evaluate_kimg,
        )
    made = train_generator(
        tiles,
        place.generator,
        config,
        indices=indices,
        condition=condition_labels,
        workers=fitting_workers(config, edge, choose_device(device), processes=processes())
        if workers is None
        else workers,
        inputs=inputs_of(tiles, place),
        start_from=beginning,
        grow=grow_from is not None,
        evaluation=evaluation,
        sheet_kimg=(evaluate_kimg or SHEET_KIMG) if sheet_kimg is None else sheet_kimg or None,
        keep=keep,
        tensorboard=tensorboard,
        execution=execution,
        checkpoint_seconds=checkpoint_seconds,
        before_replacing=place.refuse_to_replace_generator,
        redo=redo,
    )
    say(f"{made}: {config.resolution} px, {config.kimg:g} kimg. Next: hdgan sample --study {quoted(study)}", quiet)


def import_(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A generator's .safetensors, or a .pkl file of StyleGAN2-ADA for PyTorch."),
    ],
    study: StudyOption = DEFAULT_STUDY,
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take over a generator that was trained elsewhere, with hdgan or the StyleGAN2-ADA reference, instead of training.

    Nothing in the file is executed. Its licence passes to all that is made with the generator; that of the reference is
    non-commercial.

    Example: hdgan import kidney/generator/generator-best.safetensors --study best

    Example: hdgan import network-snapshot-025000.pkl --study kidney
    """
    from hdgan.stylegan2 import convert_reference, import_generator
    from tiling.stage import read_record

    place = Study(study)
    take_over = import_generator if file.suffix.lower() == ".safetensors" else convert_reference
    made = take_over(file, place.generator, before_replacing=place.refuse_to_replace_generator, redo=redo)
    record = read_record(place.generator)
    said = [f"{made}: {record['summary']['resolution']} px", *record["licence"]]
    say(f"{'. '.join(said)}. Next: hdgan sample --study {quoted(study)}", quiet)
