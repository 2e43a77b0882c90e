"""Tables in CSV files with a row per slide, and what they may call a slide."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tiling.errors import InputError
from tiling.progress import note
from tiling.wording import counted, first_few

SLIDE = "slide"  # the column that names the slide
_KNOWN = ("patient", "mpp")  # columns that mean something to us: meant also where they are written `Patient`
_DELIMITERS = (",", ";", "\t")  # a comma, or what spreadsheets write where the comma is a decimal point


@dataclass(frozen=True)
class SlideTable:
    """A table with a row per slide; made by :func:`read_slide_table`.

    Attributes
    ----------
    path
        The file.
    columns
        Names of the columns but for `slide`.
    rows
        (number of its line, what it calls the slide, values by column), without spaces around anything.
    of
        What the rows are of, which is the name of the column that says it: "slide", or "image".
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[int, str, dict[str, str]], ...]
    of: str = SLIDE

    def by_slide(self, slides: Sequence[str]) -> dict[str, dict[str, str]]:
        """What the table says of slides: their values that are not empty, by column; slides without a row left out.

        Rows of no slide are told in a note, by the numbers of their lines: what they call slides may be nobody else's
        business.

        Raises
        ------
        InputError
            If a row may mean several slides, or rows of the same slide say different things.
        """
        slide_of = meant_slides([name for _, name, _ in self.rows], slides, where=str(self.path))
        found: dict[str, dict[str, str]] = {}
        told_in: dict[tuple[str, str], int] = {}
        for line, name, values in self.rows:
            if name not in slide_of:
                continue
            slide = slide_of[name]
            known = found.setdefault(slide, {})
            for column, value in values.items():
                if not value:
                    continue
                if known.setdefault(column, value) != value:
                    raise InputError(
                        f"{self.path} says two things of {slide}: {column} is {known[column]!r} in line "
                        f"{told_in[slide, column]} and {value!r} in line {line}; keep one of the rows"
                    )
                told_in.setdefault((slide, column), line)
        if strays := [str(line) for line, name, _ in self.rows if name not in slide_of]:
            rows, where = counted(len(strays), "row"), first_few(strays)
            told = f"{self.path}: {rows} of no {self.of} here, in {'line' if len(strays) == 1 else 'lines'} {where}"
            none = f"; none fits: {self.of}s are called by path below the folder, file name, or that without its suffix"
            note(told + none * (not found))
        return found


def read_slide_table(path: Path, *, of: str = SLIDE) -> SlideTable:
    """Read a table: comma, semicolon or tab between columns, whichever makes a column `slide` of the first line; UTF-8.

    `of` is the name of that column where the rows are of something else than slides.

    Raises
    ------
    InputError
        If the file cannot be read, has no column `slide` or two columns of a name, or a row has more cells than that.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            text = file.read()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no CSV file in UTF-8: {error}; save it as CSV UTF-8") from error
    headers = {delimiter: _header(text, delimiter, of) for delimiter in _DELIMITERS}
    delimiter = next((each for each, header in headers.items() if of in header), None)
    if delimiter is None:
        names = [name for name in max(headers.values(), key=len) if name]
        raise InputError(f"{path} has no column `{of}`; its columns are: {', '.join(names) or 'none'}")
    columns = headers[delimiter]
    if twice := [name for name in columns if name and columns.count(name) > 1]:
        raise InputError(f"{path} has two columns `{twice[0]}`; rename or remove one of them")
    rows = _rows(path, text, delimiter)
    for line, cells in rows:
        if any(cells[len(columns) :]) or any(cell for cell, name in zip(cells, columns, strict=False) if not name):
            raise InputError(
                f"line {line} of {path} has a value in a column without a name: {len(list(filter(None, columns)))} "
                "columns are named; name it, or put quotes around values that hold the delimiter"
            )
    others = [name for name in columns if name and name != of]
    padded = [(line, dict(zip(columns, cells + [""] * len(columns), strict=False))) for line, cells in rows]
    return SlideTable(
        path,
        tuple(others),
        tuple((line, row[of], {name: row[name] for name in others}) for line, row in padded if any(row.values())),
        of,
    )


def names_of(slide: str) -> tuple[str, str, str]:
    """What a table may call a slide: its path below the archive, else its file name, else that without the suffix."""
    path = PurePosixPath(slide)
    return slide, path.name, path.stem


def meant_slides(names: Iterable[str], slides: Sequence[str], *, where: str) -> dict[str, str]:
    """The slide that each of some names means; names that mean none are left out.

    Letters with accents may be written either way that Unicode has for them, and paths with backslashes.

    Raises
    ------
    InputError
        If a name means several slides; `where` says in which option or table it stands.
    """
    meanings: tuple[dict[str, list[str]], ...] = ({}, {}, {})
    for slide in slides:
        for name, meant in zip(names_of(slide), meanings, strict=True):
            meant.setdefault(_plain(name), []).append(slide)
    found = {}
    for name in names:
        meant_by = next((meant[_plain(name)] for meant in meanings if _plain(name) in meant), [])
        if len(meant_by) > 1:
            raise InputError(
                f"{where}: {name!r} means both {meant_by[0]} and {meant_by[1]}; call slides by their paths there"
            )
        if meant_by:
            found[name] = meant_by[0]
    return found


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("\\", "/").removeprefix("./")


def _header(text: str, delimiter: str, of: str) -> list[str]:
    """Names of the columns, if this is what separates them."""
    try:
        cells = next((cells for _, cells in _cells_by_line(text, delimiter)), [])
    except csv.Error:
        return []
    return [name.lower() if name.lower() in (of, *_KNOWN) else name for name in cells]


def _rows(path: Path, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """(number of its line, cells) of every row below the header that is not empty."""
    rows: list[tuple[int, list[str]]] = []
    try:
        rows.extend(_cells_by_line(text, delimiter))
    except csv.Error as error:
        raise InputError(f"{path} is no CSV file after its line {rows[-1][0]}: {error}") from error
    return rows[1:]


def _cells_by_line(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not empty, but for the line `sep=;` that spreadsheets put first."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    for row in reader:
        cells = [cell.strip() for cell in row]
        if any(cells) and not (reader.line_num == 1 and cells[0].startswith("sep=")):
            yield reader.line_num, cells
