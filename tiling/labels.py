"""What is known about whole slides (stain, diagnosis, ...), from their names or from a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tiling.errors import InputError
from tiling.folds import PATIENT, compile_pattern, matched
from tiling.progress import note
from tiling.slide_table import called, read_slide_table
from tiling.wording import counted, first_few

Labels = Mapping[str, str] | str | Path
_MOST_STRATA = 10
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
        file names without suffix, and whose other columns are labels. The label `patient` tells whose slide it is.
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
    columns, rows = read_slide_table(table)
    names = called(slides, rows, where=str(table))
    if unused := sorted(set(rows) - set(names.values())):
        note(f"{table}: {counted(len(unused), 'row')} of no slide here: {first_few(unused)}")
    about = {slide: rows[names[slide]] if slide in names else {} for slide in slides}
    return {column: {slide: row.get(column) or None for slide, row in about.items()} for column in columns}


def strata_of(labels: LabelsOfSlides, slides: Sequence[str], stratify: Sequence[str] | None) -> dict[str, str]:
    """The stratum of every slide: the values of some labels, of which every fold is to have about the same mix.

    Parameters
    ----------
    labels
        As :func:`labels_of` gives them.
    slides
        Paths relative to the archive.
    stratify
        Which labels; by default all but the patient that have at most 10 values. An empty list stratifies by none.

    Raises
    ------
    InputError
        If there is no label of a name.
    """
    there = [name for name in labels if name != PATIENT]
    if stratify is None:
        stratify = [name for name in there if len(set(labels[name].values())) <= _MOST_STRATA]
    for name in stratify:
        if name not in there:
            raise InputError(f"there is no label {name!r} to stratify by; there are: {', '.join(there) or 'none'}")
    return {slide: " / ".join(labels[name][slide] or "unknown" for name in stratify) for slide in slides}
