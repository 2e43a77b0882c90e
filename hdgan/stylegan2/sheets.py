"""Contact sheets of what a generator draws while it is trained: the same latents on each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hdgan.conditions import Conditions
from hdgan.labels import Image
from hdgan.pictures import contact_sheet, write_png
from hdgan.stylegan2.evaluation import draw_latents
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.rendering import Rendered

SHEETS = "sheets"
_COLUMNS = 6
_ROWS = 4  # of a generator without classes
_MOST_ROWS = 10
_LARGE = 2048  # px: one row of these takes as long as all of smaller ones
_THUMBNAIL = (64, 256)  # px: smaller images are enlarged, so that captions fit below them, larger ones averaged down


def write_sheet(folder: Path, generator: Generator, kimg: float) -> Path:
    """Write `kimg-NUMBER.png`: images of a generator in evaluation mode, at truncation psi 1, by seeds from 0 on.

    With classes, a row shows one of them, of the first ten, and a column one z; without, there are four rows of six.
    Of 2048 px and more, which take long, it is two columns, or one row. Larger images than 256 px are averaged down,
    and pixels of smaller ones than 64 px drawn as squares.
    """
    conditions = Conditions.of(generator)
    named = list(conditions.counts)[:_MOST_ROWS]
    rows = 1 if generator.resolution >= _LARGE and not named else len(named) or _ROWS
    columns = 2 if generator.resolution >= _LARGE and named else _COLUMNS
    count = rows * columns
    seeds = [place % columns for place in range(count)] if named else list(range(count))
    c = conditions.one_hot(np.arange(count) // columns) if named else None
    least, most = _THUMBNAIL
    size = min(generator.resolution, most)
    images = [_thumbnail(image, size) for image in Rendered(generator, draw_latents(generator, seeds, c=c))]
    captions = [named[place // columns] if named else f"seed {place}" for place in range(count)]
    path = folder / f"kimg-{kimg:010.3f}.png"
    folder.mkdir(exist_ok=True)
    write_png(path, contact_sheet(images, columns=columns, captions=captions, size=max(size, least)))
    return path


def _thumbnail(image: Image, size: int) -> Image:
    """(size, size, 3) uint8, averaged down by a whole factor."""
    factor = len(image) // size
    parts = image.reshape(size, factor, size, factor, 3)
    return image if factor == 1 else parts.mean(axis=(1, 3), dtype=np.float32).round().astype(np.uint8)
