"""Which annotation files are a slide's: those that are named after it."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from tiling.errors import InputError
from tiling.regions.object_masks import ObjectMaskName
from tiling.regions.registry import format_of
from tiling.slide_table import names_of


def regions_file(slide: str, folder_or_file: Path) -> list[Path]:
    """The annotation files of a slide.

    Parameters
    ----------
    slide
        Its path below the archive, POSIX: `a/b.svs`.
    folder_or_file
        A folder of annotation files; or one such file, which is the slide's whatever its name: the caller answers for
        that. In a folder, files that are named after the path are asked for first: `a/b.svs.geojson`, `a/b.geojson`;
        then those after the slide's own name: `b.svs.geojson`, `b.geojson`. So for every known suffix, in any case,
        and QuPath's masks of objects: `b.svs_Glomerulus_(1.00,8,16,300,260)-mask.png`.

    Returns
    -------
    list of Path
        One file, or all the masks of the slide's objects, in the order of their names; none if none is the slide's.

    Raises
    ------
    InputError
        When there is nothing at the path given, or two files in one folder are both named after the slide.
    """
    if not folder_or_file.is_dir():
        if not folder_or_file.exists():
            raise InputError(f"no such file or folder: {folder_or_file}")
        return [folder_or_file]
    for folder in dict.fromkeys((folder_or_file / PurePosixPath(slide).parent, folder_or_file)):
        if found := _in_folder(folder, slide):
            return found
    return []


def _in_folder(folder: Path, slide: str) -> list[Path]:
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        beginning = PurePosixPath(slide).stem  # every name of the slide's begins with it
        names = sorted(entry.name for entry in entries if entry.name.startswith(beginning))
    found = [folder / name for name in names if _is_of(folder / name, slide)]
    others = [path for path in found if ObjectMaskName.parse(path.name) is None]
    if others and len(found) > 1:
        both = others[0], next(path for path in found if path != others[0])
        raise InputError(
            f"both {both[0]} and {both[1]} are named after the slide {slide}; keep one of them in this folder"
        )
    return found


def _is_of(path: Path, slide: str) -> bool:
    """Whether the name of an annotation file, without its folder, says that it is a slide's."""
    if format_of(path) is None:
        return False
    mask = ObjectMaskName.parse(path.name)
    _, name, stem = names_of(slide)
    return (mask.image if mask else path.stem) in (name, stem)
