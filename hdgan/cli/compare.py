"""`hdgan compare`."""

from __future__ import annotations

from typing import Annotated

import typer

from hdgan.cli.options import (
    DEFAULT_SPACE,
    DEFAULT_STUDY,
    DeviceOption,
    ImagesNowOption,
    JsonOption,
    LabelsNowOption,
    NoiseOption,
    QuietOption,
    RootOption,
    SeedOption,
    SpaceOption,
    StudyOption,
    say,
)
from hdgan.cli.sources import open_trained_on
from hdgan.study import FEATURES, Study


def compare(
    study: StudyOption = DEFAULT_STUDY,
    n: Annotated[int, typer.Option("-n", help="How many images are drawn.", min=6)] = 1000,
    psi: Annotated[float, typer.Option(help="Truncation; 1 shows all that the generator can draw.")] = 1.0,
    noise: NoiseOption = "random",
    first_seed: Annotated[int, typer.Option(help="Seeds count up from here.", min=0)] = 0,
    space: SpaceOption = DEFAULT_SPACE,
    hold_out: Annotated[
        int | None, typer.Option(help="Fold that training left out; default: as the generator's file says.")
    ] = None,
    most: Annotated[
        int | None, typer.Option(help="Read so many held-out and training tiles at most; default: all.", min=6)
    ] = None,
    images_now: ImagesNowOption = None,
    labels_now: LabelsNowOption = None,
    root: RootOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Tell how far the generator's images are from real tiles, and whether it learnt training tiles by heart.

    Example: hdgan compare --study kidney -n 5000
    """
    from hdgan.cli.tables import print_table
    from hdgan.embedding import open_space
    from hdgan.metrics import comparison_rows
    from hdgan.quality import compare_generator
    from hdgan.stylegan2.run import GENERATOR
    from training.devices import choose_device

    place = Study(study)
    where = choose_device(device)
    generator = place.require("train") / GENERATOR
    tiles = open_trained_on(place, images=images_now, labels=labels_now, root=root)
    features = open_space(space, where)
    out = place.evaluation / f"generator-{features.name}.json"
    report = compare_generator(
        generator,
        tiles,
        out,
        space=features,
        n=n,
        psi=psi,
        noise=noise,
        first_seed=first_seed,
        hold_out=hold_out,
        most=most,
        seed=seed,
        kept=place.evaluation / FEATURES,
        device=where,
    )
    if as_json:
        typer.echo(out.read_text(encoding="utf-8"), nl=False)
    elif not quiet:
        title = f"{features.name} ({features.note})"
        print_table(title, comparison_rows(report), words=("measure",))
        say(f"{out}: images against {'all' if report.memorisation is None else 'held-out'} tiles", quiet)
