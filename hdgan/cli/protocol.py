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
from tiling.progress import note
from tiling.wording import counted

_FEWER = (8, 4, 2)


def protocol(
    study: StudyOption = DEFAULT_STUDY,
    split: Annotated[
        str | None,
        typer.Option(help="Images for training/validation/test. Default: 16/4/16, or of fewer images in that ratio."),
    ] = None,
    training: Annotated[
        str | None,
        typer.Option(
            help="Smaller numbers of training images to fit, too, with commas, or none. "
            "Default: 8,4,2, those that the split has."
        ),
    ] = None,
    splits: Annotated[int, typer.Option(help="How many splits, each by a seed of its own.", min=1)] = 5,
    members: Annotated[int, typer.Option(help="Networks in each ensemble.", min=1)] = 10,
    preset: Annotated[str, typer.Option(help="default, balanced, paper or datasetgan.")] = "default",
    figure: Annotated[
        bool, typer.Option(help="Draw label-efficiency.png and confusion.png, too; it takes matplotlib.")
    ] = False,
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
    asked = parse_split(split)
    samples = annotated_samples(place, device=host.device)
    counts = asked or _default_split(len(samples.masks))
    report = run_protocol(
        samples.store,
        samples.masks,
        place.protocol,
        counts=counts,
        training=_fewer(counts[0]) if training is None else _parse_counts(training),
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
        from hdgan.explore import confusion_figure, efficiency_figure

        efficiency, confusion = place.protocol / "label-efficiency.png", place.protocol / "confusion.png"
        efficiency_figure(report).savefig(efficiency)
        say(f"{efficiency}: macro Dice and recall by the number of training images", quiet or as_json)
        confusion_figure(report["training"][str(counts[0])]).savefig(confusion)
        say(f"{confusion}: what pixels of each class are taken for, in all splits", quiet or as_json)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    elif not quiet:
        sizes = f"{counted(counts[0], 'training image')}, {counted(splits, 'split')}"
        title = f"{sizes}: mean ± deviation (n - 1) on the test images"
        rows = protocol_rows(report, counts[0])
        print_table(title, rows, words=("class",))
        if "splits" in rows[0]:
            typer.echo("splits: those with the class among their test images; its means are over these.")
        if len(report["training"]) > 1:
            print_table("label efficiency", efficiency_rows(report), words=())


def _default_split(annotated: int) -> tuple[int, int, int]:
    """The paper's, or of fewer images in its ratio."""
    from hdgan.pixels.split import PAPER_COUNTS, counts_of

    if annotated >= sum(PAPER_COUNTS):
        return PAPER_COUNTS
    counts = counts_of(annotated)
    paper, ours = ("/".join(map(str, each)) for each in (PAPER_COUNTS, counts))
    note(f"{counted(annotated, 'annotated image')}, too few for the paper's {paper}: split {ours} (see --split)")
    return counts


def _fewer(most: int) -> list[int]:
    """The default numbers of training images, without those that the split does not have."""
    fewer = [n for n in _FEWER if n <= most]
    dropped = [n for n in _FEWER if n > most]
    if fewer and dropped:
        note(f"not fitted with {', '.join(map(str, dropped))} training images: the split has {most} (see --training)")
    return fewer


def _parse_counts(text: str) -> list[int]:
    """ "8,4,2", or "none"."""
    if text.strip() == "none":
        return []
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--training takes numbers with commas like 8,4,2, or none, not {text!r}")
    return [int(part) for part in parts]
