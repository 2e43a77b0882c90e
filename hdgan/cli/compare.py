"""`hdgan compare`."""

from __future__ import annotations

import inspect
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

    Settings other than the defaults are in the name of the file that keeps the numbers: each has a file of its own.

    Example: hdgan compare --study kidney -n 5000
    """
    from hdgan.cli.tables import print_table
    from hdgan.embedding import open_space
    from hdgan.metrics import comparison_notes, comparison_rows
    from hdgan.quality import compare_generator
    from hdgan.stylegan2.run import GENERATOR
    from training.devices import choose_device

    place = Study(study)
    where = choose_device(device)
    generator = place.require("train") / GENERATOR
    tiles = open_trained_on(place, images=images_now, labels=labels_now, root=root)
    features = open_space(space, where)
    out = place.evaluation / _file_name(
        features.name, n=n, psi=psi, noise=noise, first_seed=first_seed, hold_out=hold_out, most=most, seed=seed
    )
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
        for line in comparison_notes(report):
            say(line, quiet)
        say(f"{out}: images against {'all' if report.memorisation is None else 'held-out'} tiles", quiet)


def _file_name(space: str, **settings: float | str | None) -> str:
    """What the numbers of a comparison are kept under: the feature space, and the settings that are not the default."""
    defaults = {name: parameter.default for name, parameter in inspect.signature(compare).parameters.items()}
    told = [
        f"-{name.replace('_', '-')}-{f'{value:g}' if isinstance(value, float) else value}"
        for name, value in settings.items()
        if value != defaults[name]
    ]
    return f"generator-{space}{''.join(told)}.json"
