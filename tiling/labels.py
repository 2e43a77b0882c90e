"""What is known about whole slides (stain, diagnosis, ...), from their names or from a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tiling.errors import InputError
from tiling.folds import compile_pattern, matched
from tiling.slide_table import names_of, read_slide_table

Labels = Mapping[str, str] | str | Path
LabelsOfSlides = dict[str, dict[str, str | None]]


def labels_of(slides: Sequence[str], labels: Labels | None, *, reserved: Collection[str] = ()) -> LabelsOfSlides:
    """The labels of every slide.

    Parameters
    ----------
    slides
        Paths relative to the archive.
    labels
        Either regular expressions by label name, found in the path (the first group, if there is one, is the
        label): `{"stain": "-(PASM|PAS|Masson)"}`; or a CSV file whose column `slide` holds paths, file names or
        file names without suffix, and whose other columns are labels.
    reserved
        Names that a label cannot have.

    Returns
    -------
    dict
        For every label name, each slide's label; None where nothing is known.

    Raises
    ------
    InputError
        If a name is reserved, a pattern is none, the table cannot be read, or a label is known of no slide at all.
    """
    if labels is None:
        return {}
    found = _from_names(slides, labels) if isinstance(labels, Mapping) else _from_table(slides, Path(labels))
    for name, values in found.items():
        if name in reserved:
            raise InputError(f"a label cannot be called {name!r}: every tile set has a column of that name")
        if not any(values.values()):
            raise InputError(f"no slide has the label {name!r}: its pattern or table fits no slide of {len(slides)}")
    return found


def _from_names(slides: Sequence[str], patterns: Mapping[str, str]) -> LabelsOfSlides:
    found: LabelsOfSlides = {}
    for name, text in patterns.items():
        pattern = compile_pattern(text, option=f"label {name}")
        found[name] = {slide: matched(pattern, slide) for slide in slides}
    return found


def _from_table(slides: Sequence[str], table: Path) -> LabelsOfSlides:
    names, rows = read_slide_table(table)
    row_of = {slide: next((rows[name] for name in names_of(slide) if name in rows), {}) for slide in slides}
    return {name: {slide: row.get(name) or None for slide, row in row_of.items()} for name in names}
