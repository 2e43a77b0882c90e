"""What is known about whole slides (stain, diagnosis, ...), from their names or from a table."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from tiling.errors import InputError
from tiling.folds import PATIENT, Stratum, compile_pattern, matched
from tiling.slide_table import read_slide_table

MOST_VALUES = 10
"""A label with more values than this is not stratified by unless it is asked for: too few slides have each."""

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
        file names without suffix, and whose other columns are labels, see :mod:`tiling.slide_table`. The label
        `patient` tells whose slide it is, see :func:`tiling.folds.patients_of`.
    reserved
        Names that a label cannot have.

    Returns
    -------
    dict
        For every label name, each slide's label; None where nothing is known.

    Raises
    ------
    InputError
        If a name is reserved, a pattern is none, the table cannot be read or contradicts itself, or a label is known
        of no slide at all.
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


def strata_of(labels: LabelsOfSlides, slides: Sequence[str], stratify: Sequence[str] | None) -> dict[str, Stratum]:
    """The stratum of every slide: its values of those labels of which every fold is to have about the same mix.

    Parameters
    ----------
    labels
        As :func:`labels_of` gives them.
    slides
        Paths relative to the archive.
    stratify
        Names of labels. By default all, but for the patient, with at least 2 and at most :data:`MOST_VALUES` values;
        an empty list stratifies by none.

    Raises
    ------
    InputError
        If there is no label of a name; the line lists those there are.
    """
    there = [name for name in labels if name != PATIENT]
    if stratify is None:
        values = {name: {value for value in labels[name].values() if value} for name in there}
        stratify = [name for name in there if 2 <= len(values[name]) <= MOST_VALUES]
    if unknown := [name for name in stratify if name not in there]:
        raise InputError(f"no label {unknown[0]!r} to stratify by; there are: {', '.join(there) or 'none'}")
    return {slide: tuple(labels[name][slide] or None for name in stratify) for slide in slides}


def _from_names(slides: Sequence[str], patterns: Mapping[str, str]) -> LabelsOfSlides:
    found: LabelsOfSlides = {}
    for name, text in patterns.items():
        pattern = compile_pattern(text, option=f"label {name}")
        found[name] = {slide: matched(pattern, slide) for slide in slides}
    return found


def _from_table(slides: Sequence[str], path: Path) -> LabelsOfSlides:
    table = read_slide_table(path)
    rows = table.by_slide(slides)
    return {name: {slide: rows.get(slide, {}).get(name) for slide in slides} for name in table.columns}
