"""The labelled images that `hdgan augment` is given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hdgan.augmenters import LabelledImages
    from hdgan.augmenters.base import Shape


def open_parts(
    images: Path,
    size: int | None,
    classes: str | None,
    condition: str | None,
    labels: Path | None,
    *,
    held_out: bool = True,
) -> dict[str, LabelledImages]:
    """Images by part, as the options of a command tell them; of "train" alone where none are to be held out."""
    from hdgan.augmenters import open_images

    named = None if classes is None else [name.strip() for name in classes.split(",")]
    return open_images(images, size=size, column=condition, table=labels, classes=named, held_out=held_out)


def open_as(
    shape: Shape,
    images: Path,
    condition: str | None,
    labels: Path | None,
    *,
    held_out: bool = True,
    by_fold: bool = True,
) -> dict[str, LabelledImages]:
    """Images as those that something of a shape was made of: of its size, and a file's classes have its names."""
    from hdgan.augmenters import open_images

    classes = shape.classes if images.is_file() else None
    return open_images(
        images, size=shape.size, column=condition, table=labels, classes=classes, held_out=held_out, by_fold=by_fold
    )
