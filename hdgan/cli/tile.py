"""`hdgan tile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hdgan.cli.options import DEFAULT_STUDY, QuietOption, RedoOption, SeedOption, StudyOption, say, trainable_size
from hdgan.study import Study
from tiling.grid import Edge
from tiling.wording import counted, quoted

_FEW = 300  # tiles: with fewer, even an augmented discriminator knows them by heart before the generator is any good


def tile(
    slides: Annotated[list[Path], typer.Argument(help="Slides, images, or folders of them.")],
    study: StudyOption = DEFAULT_STUDY,
    size: Annotated[int, typer.Option(help="Edge of a tile, px.", min=1)] = 4096,
    mpp: Annotated[float | None, typer.Option(help="Micrometres per pixel of the tiles; else --level.")] = None,
    level: Annotated[int, typer.Option(help="Level of the slide's pyramid, 0 the finest.", min=0)] = 0,
    overlap: Annotated[int, typer.Option(help="Pixels that neighbouring tiles share.", min=0)] = 0,
    edge: Annotated[Edge, typer.Option(help="What to do with tiles that stick out of the slide.")] = Edge.WITHIN,
    tissue: Annotated[float | None, typer.Option(help="Least fraction of tissue; default by tile size.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many tiles per slide, drawn at random.")] = None,
    folds: Annotated[int, typer.Option(help="Folds for cross-validation, by patient.", min=1)] = 5,
    patient: Annotated[
        str | None, typer.Option(help="Regular expression that finds the patient in a file name.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="CSV file of stain, diagnosis, ...: a column `slide`, and one per label.")
    ] = None,
    mpp_of: Annotated[
        str | None,
        typer.Option(
            help="Micrometres per pixel of level 0, for slides that do not say; or a CSV file: columns slide, mpp.",
            metavar="NUMBER|FILE",
        ),
    ] = None,
    seed: SeedOption = 0,
    redo: RedoOption = False,
    quiet: QuietOption = False,
) -> None:
    """Find the tiles with tissue on slides.

    Example: hdgan tile archive/ --size 4096 --mpp 0.5 --study kidney
    """
    from tiling import tile_archive
    from tiling.ledger import without_tiles
    from tiling.progress import note

    if size != trainable_size(size):
        note(f"tiles of {size} px cannot be trained on, only powers of two can: --size 64, 128, 256, ...")
    tiles = tile_archive(
        list(slides),
        Study(study).tiles,
        size=size,
        mpp=mpp,
        level=level,
        overlap=overlap,
        edge=edge,
        tissue=tissue,
        limit=limit,
        folds=folds,
        patient=patient,
        labels=labels,
        mpp_of=_number_or_table(mpp_of),
        seed=seed,
        redo=redo,
    )
    if told := without_tiles(Study(study).tiles):
        note(told)
    if len(tiles) < _FEW:
        note(
            f"{counted(len(tiles), 'tile')} are few to learn a tissue from; more slides, an --overlap, "
            "a smaller --size or a coarser --mpp give more, and some thousands are a good start"
        )
    say(
        f"{Study(study).tiles}: {counted(len(tiles), 'tile')} of {size} px. Next: hdgan train --study {quoted(study)}",
        quiet,
    )


def _number_or_table(text: str | None) -> float | str | None:
    """The value of --mpp-of: a number, or else the name of a table."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
