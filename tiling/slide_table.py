"""Tables in CSV files with a row per slide, and what they may call a slide."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from pathlib import Path, PurePosixPath

from tiling.errors import InputError

SLIDE = "slide"  # the column that names the slide
_DELIMITERS = (",", ";", "\t")  # a comma, or what spreadsheets write where the comma is a decimal point


def read_slide_table(path: Path) -> tuple[list[str], dict[str, dict[str, str]]]:
    """The names of the other columns, and the rows by what they call their slide; without spaces around anything.

    Columns are separated by commas, semicolons or tabs: by what makes a column `slide` of the first line.

    Raises
    ------
    InputError
        If the file cannot be read, has no column `slide`, or says two things of one slide.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines(keepends=True)
        header = lines[0] if lines else ""
        separators = [delimiter for delimiter in _DELIMITERS if delimiter in header] or [","]
        tables = [list(csv.reader(lines, delimiter=each, skipinitialspace=True)) for each in separators]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {error}") from error
    tables = [[[cell.strip() for cell in row] for row in table] for table in tables]
    columns, *rows = next((table for table in tables if table and SLIDE in table[0]), tables[0] or [[]])
    if SLIDE not in columns:
        raise InputError(f"{path} has no column `slide`; its columns are: {', '.join(filter(None, columns)) or 'none'}")
    others = [name for name in columns if name not in (SLIDE, "")]
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        values = dict(zip(columns, [*row, *[""] * (len(columns) - len(row))], strict=False))
        slide, about = values[SLIDE], {name: values[name] for name in others}
        if slide and found.setdefault(slide, about) != about:
            raise InputError(f"{path} says two things of {slide}: {found[slide]} and {about}; keep one of the rows")
    return others, found


def names_of(slide: str) -> tuple[str, str, str]:
    """What a table may call a slide: its path below the archive, else its file name, else that without the suffix."""
    path = PurePosixPath(slide)
    return slide, path.name, path.stem


def called(slides: Sequence[str], names: Collection[str], *, where: str) -> dict[str, str]:
    """Which of some names each slide is meant by; slides that none of them means are left out.

    Raises
    ------
    InputError
        If a name means several slides; `where` says in which option or table it stands.
    """
    meant: dict[str, str] = {}
    for slide in slides:
        name = next((name for name in names_of(slide) if name in names), None)
        if name is not None and name in meant:
            raise InputError(f"{where}: {name!r} means both {meant[name]} and {slide}; name slides by their paths")
        if name is not None:
            meant[name] = slide
    return {slide: name for name, slide in meant.items()}
