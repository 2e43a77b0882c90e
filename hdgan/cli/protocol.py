"""`hdgan protocol`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from hdgan.cli.options import (
    DEFAULT_STUDY,
    DeviceOption,
    JsonOption,
    QuietOption,
    RedoOption,
    SeedOption,
    StudyOption,
    say,
)
from hdgan.cli.pixels import parse_split
from hdgan.study import Study
from tiling.errors import InputError


def protocol(
    study: StudyOption = DEFAULT_STUDY,
    split: Annotated[str, typer.Option(help="Images for training/validation/test.")] = "16/4/16",
    training: Annotated[
        str, typer.Option(help="Smaller numbers of training images to fit, too, with commas; none: leave it empty.")
    ] = "8,4,2",
    splits: Annotated[int, typer.Option(help="How many splits, each by a seed of its own.", min=1)] = 5,
    members: Annotated[int, typer.Option(help="Networks in each ensemble.", min=1)] = 10,
    preset: Annotated[str, typer.Option(help="default, balanced, paper or datasetgan.")] = "default",
    figure: Annotated[bool, typer.Option(help="Draw label-efficiency.png, too; it takes matplotlib.")] = False,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit and test ensembles on several splits of the annotated samples, and tell how many samples it takes.

    Example: hdgan protocol --study kidney --split 16/4/16 --training 8,4,2
    """
    from hdgan.annotated import annotated_samples
    from hdgan.cli.tables import print_table
    from hdgan.pixels import efficiency_rows, protocol_rows, run_protocol
    from training.host import Host

    place, host = Study(study), Host(device)
    counts = parse_split(split)
    assert counts is not None
    samples = annotated_samples(place, device=host.device)
    report = run_protocol(
        samples.store,
        samples.masks,
        place.protocol,
        counts=counts,
        training=_parse_counts(training),
        splits=splits,
        members=members,
        preset=preset,
        seed=seed,
        classes=samples.classes,
        device=host.device,
        inputs={"masks": place.annotations / "masks"},
        redo=redo,
    )
    if not host.is_main:
        return
    if figure:
        from hdgan.explore import efficiency_figure

        path = place.protocol / "label-efficiency.png"
        efficiency_figure(report).savefig(path)
        say(f"{path}: macro Dice and recall by the number of training images", quiet or as_json)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    elif not quiet:
        title = f"{counts[0]} training images, {splits} splits: mean ± deviation on the test images"
        print_table(title, protocol_rows(report, counts[0]), words=("class",))
        if len(report["training"]) > 1:
            print_table("label efficiency", efficiency_rows(report), words=())


def _parse_counts(text: str) -> list[int]:
    """ "8,4,2"."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--training takes numbers with commas like 8,4,2, not {text!r}")
    return [int(part) for part in parts]
