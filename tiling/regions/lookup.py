"""Which annotation files are a slide's: those that are named after it."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path, PurePosixPath

from tiling.errors import InputError
from tiling.regions.object_masks import ObjectMaskName
from tiling.regions.registry import format_of
from tiling.slide_table import names_of


class RegionsFolder:
    """A folder of annotation files that are named after slides. Each of its folders is listed once.

    Parameters
    ----------
    place
        The folder; or one annotation file, which is any slide's whatever its name: the caller answers for that.

    Raises
    ------
    InputError
        When there is nothing at the place given.
    """

    def __init__(self, place: Path) -> None:
        if not place.exists():
            raise InputError(f"no such file or folder: {place}")
        self._place = place
        self._file = None if place.is_dir() else place
        self._listed: dict[Path, dict[str, list[Path]]] = {}

    def of(self, slide: str) -> list[Path]:
        """The annotation files of a slide.

        Parameters
        ----------
        slide
            Its path below the archive, POSIX: `a/b.svs`. Files that are named after the path are asked for first:
            `a/b.svs.geojson`, `a/b.geojson`; then those after the slide's own name: `b.svs.geojson`, `b.geojson`. So
            for every known suffix, in any case, and QuPath's masks of objects:
            `b.svs_Glomerulus_(1.00,8,16,300,260)-mask.png`.

        Returns
        -------
        list of Path
            One file, or all the masks of the slide's objects, in the order of their names; none if none is the slide's.

        Raises
        ------
        InputError
            When two files in one folder are both named after the slide.
        """
        if self._file is not None:
            return [self._file]
        for folder in dict.fromkeys((self._place / PurePosixPath(slide).parent, self._place)):
            if found := self._in_folder(folder, slide):
                return found
        return []

    def _in_folder(self, folder: Path, slide: str) -> list[Path]:
        if folder not in self._listed:
            self._listed[folder] = _by_slide(folder)
        _, name, stem = names_of(slide)
        found = sorted(path for called in {name, stem} for path in self._listed[folder].get(called, ()))
        others = [path for path in found if ObjectMaskName.parse(path.name) is None]
        if others and len(found) > 1:
            both = others[0], next(path for path in found if path != others[0])
            raise InputError(
                f"both {both[0]} and {both[1]} are named after the slide {slide}; keep one of them in this folder"
            )
        return found


def _by_slide(folder: Path) -> dict[str, list[Path]]:
    """The annotation files directly in a folder, by what they call their slide."""
    files: dict[str, list[Path]] = defaultdict(list)
    if folder.is_dir():
        with os.scandir(folder) as entries:
            paths = [folder / entry.name for entry in entries]
        for path in paths:
            if format_of(path) is not None:
                mask = ObjectMaskName.parse(path.name)
                files[mask.image if mask else path.stem].append(path)
    return files
