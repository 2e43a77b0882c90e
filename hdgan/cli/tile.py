"""`hdgan tile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hdgan.cli.options import DEFAULT_STUDY, QuietOption, RedoOption, SeedOption, StudyOption, say, trainable_size
from hdgan.study import Study
from tiling.choices import Corrupt, Icc, Materialise, Missing
from tiling.grid import Edge
from tiling.wording import counted, quoted

if TYPE_CHECKING:
    from tiling import TileSet

_WHICH, _PIXELS, _WHO, _WORK = "Which tiles", "Their pixels", "Whose they are", "Who does the work"
_SAME = 0.02  # resolutions that a level may be from what is asked for, either way
_FEW = 300  # tiles: with fewer, even an augmented discriminator knows them by heart before the generator is any good


def tile(
    slides: Annotated[list[Path], typer.Argument(help="Slides, images, or folders of them.")],
    study: StudyOption = DEFAULT_STUDY,
    size: Annotated[int, typer.Option(help="Edge of a tile, px.", min=1, rich_help_panel=_WHICH)] = 4096,
    mpp: Annotated[
        float | None, typer.Option(help="Micrometres per pixel of the tiles.", rich_help_panel=_WHICH)
    ] = None,
    power: Annotated[
        float | None, typer.Option(help="Or their magnification, as of an objective: 20.", rich_help_panel=_WHICH)
    ] = None,
    level: Annotated[
        int, typer.Option(help="Or the level of the slide's pyramid, 0 the finest.", min=0, rich_help_panel=_WHICH)
    ] = 0,
    mpp_of: Annotated[
        str | None,
        typer.Option(
            help="Micrometres per pixel of level 0, for slides that do not say; or a CSV file: columns slide, mpp.",
            metavar="NUMBER|FILE",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    overlap: Annotated[
        int, typer.Option(help="Pixels that neighbouring tiles share.", min=0, rich_help_panel=_WHICH)
    ] = 0,
    edge: Annotated[
        Edge, typer.Option(help="What to do with tiles that stick out of the slide.", rich_help_panel=_WHICH)
    ] = Edge.WITHIN,
    tissue: Annotated[
        float | None,
        typer.Option(help="Least fraction of tissue; default by tile size.", rich_help_panel=_WHICH),
    ] = None,
    tissue_from: Annotated[
        Path | None,
        typer.Option(
            help="Masks or annotations that say where the tissue is: a folder of files named after the slides.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    annotations: Annotated[
        Path | None,
        typer.Option(help="Annotations of the slides: a folder of files named after them.", rich_help_panel=_WHICH),
    ] = None,
    keep_classes: Annotated[
        str | None,
        typer.Option(
            help="Only tiles that touch an annotation of one of these classes: glomerulus,artery.",
            rich_help_panel=_WHICH,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help="At most so many tiles per slide, drawn at random.", rich_help_panel=_WHICH),
    ] = None,
    icc: Annotated[
        Icc, typer.Option(help="Apply the slides' colour profiles (srgb), or not (none).", rich_help_panel=_PIXELS)
    ] = Icc.NONE,
    inspect: Annotated[
        bool,
        typer.Option(help="Read every tile once: how blurred it is, and what is corrupt.", rich_help_panel=_PIXELS),
    ] = True,
    corrupt: Annotated[
        Corrupt,
        typer.Option(help="Keep tiles with corrupt cells, these masked, or drop them.", rich_help_panel=_PIXELS),
    ] = Corrupt.MASK,
    materialise: Annotated[
        Materialise | None,
        typer.Option(
            help="Copy tiles into the study: the slides' own compressed cells, or decoded pixels.",
            rich_help_panel=_PIXELS,
        ),
    ] = None,
    pictures: Annotated[
        bool, typer.Option(help="Draw a picture of every slide with its tiles.", rich_help_panel=_PIXELS)
    ] = True,
    folds: Annotated[
        int, typer.Option(help="Folds for cross-validation, by patient.", min=1, rich_help_panel=_WHO)
    ] = 5,
    patient: Annotated[
        str | None,
        typer.Option(help="Regular expression that finds the patient in a file name.", rich_help_panel=_WHO),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV file of patient, stain, diagnosis, ...: a column `slide`, and one per label.",
            rich_help_panel=_WHO,
        ),
    ] = None,
    stratify: Annotated[
        str | None,
        typer.Option(
            help="Labels that every fold has in the same mix: stain,diagnosis; a comma alone: none.",
            rich_help_panel=_WHO,
        ),
    ] = None,
    anonymise: Annotated[
        bool,
        typer.Option(
            help="Call slides and patients by hashes in all that is written; errors may name them on your terminal.",
            rich_help_panel=_WHO,
        ),
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Processes on this machine; default one per core, none for little work.",
            min=0,
            rich_help_panel=_WORK,
        ),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="What each of them may take; default 1GiB.", rich_help_panel=_WORK)
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Address of a dask scheduler that does the work: tcp://HOST:8786.", rich_help_panel=_WORK),
    ] = None,
    retries: Annotated[
        int, typer.Option(help="How often what fails is tried again.", min=0, rich_help_panel=_WORK)
    ] = 2,
    missing: Annotated[
        Missing,
        typer.Option(help="Tiles whose slides are not given any more: refuse to go on, keep or drop them."),
    ] = Missing.REFUSE,
    seed: SeedOption = 0,
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find the tiles with tissue on slides.

    Example: hdgan tile archive/ --size 4096 --mpp 0.5 --study kidney
    """
    from tiling import tile_archive
    from tiling.ledger import told
    from tiling.progress import note

    trainable = size == trainable_size(size)
    if not trainable:
        note(f"tiles of {size} px cannot be trained on, only powers of two can: --size 64, 128, 256, ...")
    folder = Study(study).tiles
    tiles = tile_archive(
        list(slides),
        folder,
        size=size,
        mpp=mpp,
        power=power,
        level=level,
        overlap=overlap,
        edge=edge,
        tissue=tissue,
        tissue_from=tissue_from,
        annotations=annotations,
        keep_classes=_names(keep_classes) or (),
        limit=limit,
        icc=icc,
        inspect=inspect,
        corrupt=corrupt,
        materialise=materialise,
        pictures=pictures,
        folds=folds,
        patient=patient,
        labels=labels,
        stratify=_names(stratify),
        mpp_of=_number_or_table(mpp_of),
        anonymise=anonymise,
        scheduler=scheduler,
        workers=workers,
        memory=memory,
        retries=retries,
        seed=seed,
        missing=missing,
        redo=redo,
    )
    for line in (*told(folder), *_mixed(tiles)):
        note(line)
    if len(tiles) < _FEW:
        note(
            f"{counted(len(tiles), 'tile')} are few to learn a tissue from; more slides, an --overlap, "
            "a smaller --size or a coarser --mpp give more, and some thousands are a good start"
        )
    following = f" Next: hdgan train --study {quoted(study)}" if trainable else ""
    say(f"{folder}: {counted(len(tiles), 'tile')} of {size} px.{following}", quiet)


def _mixed(tiles: TileSet) -> list[str]:
    """A line if the tiles are of more than one resolution."""
    known = sorted({round(mpp, 4) for mpp in tiles.table()["mpp"].to_pylist() if mpp is not None})
    unknown = tiles.table()["mpp"].null_count > 0
    if not known or (known[-1] <= known[0] * (1 + _SAME) and not unknown):
        return []
    said = " to ".join(f"{mpp:g}" for mpp in dict.fromkeys((known[0], known[-1])))
    others = " and of unknown resolution" if unknown else ""
    return [f"the tiles are of {said} micrometres per pixel{others}; --mpp makes them alike"]


def _number_or_table(text: str | None) -> float | str | None:
    """The value of --mpp-of: a number, or else the name of a table."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text


def _names(text: str | None) -> list[str] | None:
    """Names that are separated by commas."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]
