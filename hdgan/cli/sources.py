"""Where `hdgan train` takes its tiles from, and which of them; and where they are found again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hdgan.cli.memory import last_options
from hdgan.cli.options import trainable_size
from tiling.errors import InputError
from tiling.wording import quoted

if TYPE_CHECKING:
    from hdgan.image_folder import ImageFolder
    from hdgan.study import Study
    from tiling import TileSet


def open_source(place: Study, *, images: Path | None, labels: Path | None, root: Path | None) -> TileSet | ImageFolder:
    """The images of a folder where one is given, else the study's tiles."""
    if images is not None:
        from hdgan.image_folder import ImageFolder

        return ImageFolder(images, labels=labels)
    if labels is not None:
        raise InputError("--labels are those of --images; tiles have theirs from `hdgan tile --labels`")
    from tiling import TileSet

    return TileSet.open(place.require("tile"), root=root)


def open_trained_on(
    place: Study, *, images: Path | None, labels: Path | None, root: Path | None
) -> TileSet | ImageFolder:
    """What the study's generator was trained on: images, where they were then or are said to be now; or tiles.

    An :class:`InputError` if nobody knows where the images are.
    """
    from hdgan.quality import training_of
    from hdgan.stylegan2.run import GENERATOR

    if "images" in training_of(place.require("train") / GENERATOR):
        written = place.settings().get("train", {})
        told = {**written, **last_options(place.root, "train", written)}
        images = images or _path(told.get("images"))
        labels = labels or _path(told.get("labels"))
        if images is None:
            raise InputError(
                f"{place.generator} was trained on a folder of images, and it is not known where that is: say so by "
                "--images (and --labels, if it had a table of labels)"
            )
    return open_source(place, images=images, labels=labels, root=root)


def _path(told: object) -> Path | None:
    return Path(str(told)) if told else None


def inputs_of(source: TileSet | ImageFolder, place: Study) -> dict[str, Path]:
    """The stages that a source comes from."""
    from tiling import TileSet

    return {"tiles": place.tiles} if isinstance(source, TileSet) else {}


def edge_of(source: TileSet | ImageFolder) -> int:
    """The shorter edge of the first tile, px."""
    from hdgan.image_folder import ImageFolder

    if not isinstance(source, ImageFolder):
        return source.size(0)
    header = source.header(0)
    if header.problem:
        raise InputError(f"cannot train on {source.path / source.names[0]}: {header.problem}; {header.repair}")
    return min(header.width, header.height)


def trainable_edge(edge: int, resolution: int | None, place: Study, *, tiled: bool) -> int:
    """The resolution to train at: as asked for, else that of what goes in; refused where no generator makes it.

    `edge` is that of the crop, or of the whole tile where nothing is cropped.
    """
    wanted = edge if resolution is None else resolution
    if wanted == trainable_size(wanted):
        return wanted
    nearest = trainable_size(wanted)
    if resolution is not None:
        raise InputError(f"--resolution must be a power of two of at least 8, such as {nearest}, not {resolution}")
    again = f", or tile the slides again with `hdgan tile SLIDES --redo --size {nearest} --study {quoted(place.root)}`"
    raise InputError(
        f"tiles of {edge} px cannot be trained on as they are, only those of a power of two: average them down with "
        f"--resolution {nearest}{again if tiled else ''}"
    )


def without_fold(source: TileSet | ImageFolder, fold: int) -> list[int]:
    """The tiles to train on; an :class:`InputError` if there is no such fold, or no other."""
    folds = source.folds()
    if not 0 < folds.count(fold) < len(folds):
        there = ", ".join(map(str, sorted(set(folds))))
        raise InputError(f"fold {fold} cannot be held out: the tiles are in folds {there}")
    return [i for i, of in enumerate(folds) if of != fold]
