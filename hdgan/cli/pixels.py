"""`hdgan features` and `hdgan fit`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from hdgan.cli.options import (
    DEFAULT_STUDY,
    DeviceOption,
    QuietOption,
    RedoOption,
    SeedOption,
    StudyOption,
    say,
)
from hdgan.study import Study
from tiling.errors import InputError
from tiling.progress import note
from tiling.wording import counted, quoted


def features(
    study: StudyOption = DEFAULT_STUDY,
    blocks: Annotated[
        int | None,
        typer.Option(help="Blocks, counted from the image's resolution down. Default: 5, or all there are.", min=1),
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help="float16 (default), float32, or int8 with a scale per channel.")
    ] = None,
    store: Annotated[
        str, typer.Option(help="zarr, zarr-zstd, memmap, or none: features are made again when they are read.")
    ] = "zarr",
    all_: Annotated[
        bool, typer.Option("--all/--no-all", help="Of every sample, not only of the annotated ones.")
    ] = False,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Store the generator's features of the annotated samples; called again, it adds those annotated since.

    Example: hdgan features --study kidney --blocks 5
    """
    from hdgan.annotated import extract_annotated
    from hdgan.state import again
    from training.devices import choose_device

    place = Study(study)
    made = extract_annotated(
        place, blocks=blocks, dtype=dtype, store=store, all_samples=all_, device=choose_device(device), redo=redo
    )
    stored = f"{made.channels} channels of {counted(len(made), 'image')}"
    say(f"{place.features}: {stored}. Next: {again(place, 'fit')}", quiet)


def fit(
    study: StudyOption = DEFAULT_STUDY,
    members: Annotated[int, typer.Option(help="Networks in the ensemble.", min=1)] = 10,
    preset: Annotated[str, typer.Option(help="default, balanced, paper or datasetgan.")] = "default",
    split: Annotated[
        str | None, typer.Option(help="Images for training/validation/test, like 16/4/16; default: in that ratio.")
    ] = None,
    seed: SeedOption = 0,
    device: DeviceOption = "auto",
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Fit the ensemble of pixel classifiers on the annotated samples.

    Example: hdgan fit --study kidney --members 10 --split 16/4/16
    """
    from hdgan.annotated import annotated_samples
    from hdgan.pixels import fit as fit_ensemble
    from hdgan.pixels import split_images
    from hdgan.state import again
    from training.host import Host

    place, computing = Study(study), Host(device).device
    samples = annotated_samples(place, device=computing)
    shares = split_images(sorted(samples.masks), counts=parse_split(split), seed=seed)
    _warn_of_empty(shares, len(samples.masks))
    ensemble = fit_ensemble(
        samples.store,
        samples.masks,
        place.classifiers,
        split=shares,
        members=members,
        preset=preset,
        seed=seed,
        classes=samples.classes,
        images=samples.images,
        inputs={"masks": place.annotations / "masks"},
        device=computing,
        redo=redo,
    )
    say(
        f"{place.classifiers}: {counted(ensemble.members, 'member')}. "
        f"See: hdgan evaluate --study {quoted(study)}. Next: {again(place, 'synthesize')}",
        quiet,
    )


def _warn_of_empty(shares: Mapping[str, Sequence[int]], annotated: int) -> None:
    """Tell what cannot be done without images for validation or the test."""
    lacking = [
        f"none for {part} ({without})"
        for part, without in (("validation", "no early stopping: the last epoch is kept"), ("test", "no scores"))
        if not shares[part]
    ]
    if not lacking:
        return
    if annotated < 3:
        advice = "annotate at least 3 images"
    else:
        advice = f"share them out with --split {annotated - 2}/1/1, or annotate more"
    note(
        f"{counted(annotated, 'annotated image')}: {len(shares['train'])} for training, {', '.join(lacking)}; "
        f"{advice} (the paper: 36)"
    )


def parse_split(text: str | None) -> tuple[int, int, int] | None:
    """Three counts: "16/4/16"."""
    if text is None:
        return None
    parts = text.split("/")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise InputError(f"--split takes three numbers like 16/4/16, not {text!r}")
    return int(parts[0]), int(parts[1]), int(parts[2])
