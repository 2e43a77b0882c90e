"""The slides of a folder: all that can be one, and nothing that was made of them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from tiling.backends import SUFFIXES
from tiling.companions import DICOM, HAMAMATSU, MIRAX, MIRAX_INDEX, companions_of
from tiling.dicom import finest_levels
from tiling.errors import InputError
from tiling.ngff import is_image, is_zarr
from tiling.stage import NOT_SLIDES, RECORD

_LABEL = re.compile(r"(.+)[_. -](?:label|macro|overview|thumbnail)", re.IGNORECASE)
_MARKS_OF_OURS = (RECORD, NOT_SLIDES, "study.toml", f"tiles/{RECORD}")


def slides_in(place: Path, out: Path | None = None) -> Iterator[Path]:
    """Find slides.

    Parameters
    ----------
    place
        A slide, or a folder that is searched with all its subfolders.
    out
        The folder that will be written, absolute as `place` is; None if none will.

    Yields
    ------
    Path
        The slide itself; of a folder, all that have a slide's suffix, in no order. What is hidden, belongs to another
        slide, or lies in the output, a study, a stage or a marked folder is passed over. A folder that ends in
        `.zarr` is a slide if it is an OME-Zarr image, and is never searched. Links to folders are followed, after
        all else; a folder that several ways lead to is searched on the first of them only.
    """
    if not place.is_dir() or (is_zarr(place) and is_image(place)):
        yield place
        return
    searched: set[str] = set()
    links = [place]
    while links:
        links.sort()
        yield from _slides_below(links.pop(0), out, searched, links)


def _slides_below(top: Path, out: Path | None, searched: set[str], links: list[Path]) -> Iterator[Path]:
    """The slides below a folder, without those behind links to folders: these are added to `links`.

    `searched` are the folders that need not be searched again, by their real paths; they are added to it.
    """
    output = None if out is None else os.path.realpath(out)
    for folder, below, names in os.walk(top, onerror=_refuse):
        here, real = Path(folder), os.path.realpath(folder)
        is_output = output is not None and Path(real).is_relative_to(output)
        if is_zarr(here) or real in searched or is_output:
            below.clear()
            continue
        searched.add(real)
        seen = [name for name in below if not name.startswith(".")]
        yield from (here / name for name in seen if is_zarr(here / name) and is_image(here / name))
        indices = {Path(name).stem for name in names if Path(name).suffix.lower() == MIRAX}
        indices = {name for name in indices if (here / name / MIRAX_INDEX).is_file()}
        below[:] = [
            name for name in seen if name not in indices and not is_zarr(here / name) and not _is_ours(here / name, out)
        ]
        links.extend(here / name for name in below if (here / name).is_symlink())  # os.walk does not follow them
        yield from (here / name for name in _slides_among(here, names))


def _slides_among(folder: Path, names: list[str]) -> Iterator[str]:
    """The names of files that can be slides, but for those that belong to another."""
    seen = [name for name in names if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES]
    parts: set[str] = set()
    for index in (folder / name for name in seen if Path(name).suffix.lower() in HAMAMATSU):
        try:
            parts.update(companion.name for companion in companions_of(index))
        except OSError:  # told by the ledger, since opening it fails as well
            continue
    dicom = {folder / name for name in seen if Path(name).suffix.lower() == DICOM}
    parts |= {path.name for path in dicom.difference(finest_levels(dicom))}
    parts |= {name for name in seen if _is_label_of_another(name, seen)}
    # A link to nothing is told by the ledger, since opening it fails.
    return (name for name in seen if name not in parts and ((folder / name).is_file() or (folder / name).is_symlink()))


def _is_label_of_another(name: str, names: list[str]) -> bool:
    """Whether a picture is what a scanner saved of the label beside a slide, which may show a patient's name."""
    match = _LABEL.fullmatch(Path(name).stem)
    return match is not None and any(Path(other).stem == match[1] for other in names)


def _refuse(error: OSError) -> None:
    raise InputError(f"cannot look into {error.filename}: {error.strerror}; make it readable, or name other folders")


def _is_ours(folder: Path, out: Path | None) -> bool:
    """Whether a folder is the output, a study (this one from the first call on), a stage, or marked."""
    return out in (folder, folder / "tiles") or any((folder / mark).exists() for mark in _MARKS_OF_OURS)
