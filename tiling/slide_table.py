"""A table in a CSV file with a row per slide."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from tiling.errors import InputError

SLIDE = "slide"  # the column that names the slide


def read_slide_table(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The names of the other columns, and the rows by what they call their slide.

    Raises
    ------
    InputError
        If the file cannot be read, or has no column `slide`.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restval="")
            columns = list(reader.fieldnames or ())
            rows = {row.get(SLIDE, ""): row for row in reader}
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {error}") from error
    if SLIDE not in columns:
        raise InputError(f"{path} has no column `slide`; its columns are: {', '.join(columns) or 'none'}")
    return [name for name in columns if name != SLIDE], rows


def names_of(slide: str) -> tuple[str, str, str]:
    """What a table may call a slide: its path below the archive, else its file name, else that without the suffix."""
    path = PurePosixPath(slide)
    return slide, path.name, path.stem
