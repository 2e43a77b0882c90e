"""Contact sheets of what a generator draws while it is trained: the same latents on each."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hdgan.conditions import Conditions
from hdgan.pictures import contact_sheet, write_png
from hdgan.stylegan2.evaluation import draw_latents
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.rendering import Rendered

SHEETS = "sheets"
_COLUMNS = 6
_ROWS = 4  # of a generator without classes
_MOST_ROWS = 10
_LARGE = 2048  # px: one row of these takes as long as all of smaller ones
_THUMBNAIL = 256  # px at most


def write_sheet(folder: Path, generator: Generator, kimg: float) -> Path:
    """Write `kimg-NUMBER.png`: images of a generator in evaluation mode, at truncation psi 1, by seeds from 0 on.

    With classes, a row shows one of them, of the first ten, and a column one z. Images of 2048 px and more are as many
    as the rows have place; larger ones than 256 px are averaged down.
    """
    conditions = Conditions.of(generator)
    named = list(conditions.counts)[:_MOST_ROWS]
    rows = 1 if generator.resolution >= _LARGE and not named else len(named) or _ROWS
    columns = 2 if generator.resolution >= _LARGE and named else _COLUMNS
    count = rows * columns
    seeds = [place % columns for place in range(count)] if named else list(range(count))
    c = conditions.one_hot(np.arange(count) // columns) if named else None
    images = list(Rendered(generator, draw_latents(generator, seeds, c=c)))
    captions = [named[place // columns] if named else f"seed {place}" for place in range(count)]
    size = min(generator.resolution, _THUMBNAIL)
    path = folder / f"kimg-{kimg:010.3f}.png"
    folder.mkdir(exist_ok=True)
    write_png(path, contact_sheet(images, columns=columns, captions=captions, size=max(size, 8)))
    return path
