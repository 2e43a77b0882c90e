"""What is wrong with the tiles of a training, all of it told before it begins."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hdgan.stylegan2.data import Misfit, Tiles, misfit, size_in_words
from tiling.errors import InputError
from tiling.progress import note, track
from tiling.wording import counted, first_few

if TYPE_CHECKING:
    from hdgan.image_folder import Header

FEW = 100
"""With fewer tiles than this a note tells that they may be learnt by heart."""

_NAMED = 10
_THREADS = 4  # of which most wait for the disk
_GREY = ("L", "LA")


@runtime_checkable
class PictureFolder(Tiles, Protocol):
    """What an :class:`hdgan.image_folder.ImageFolder` is to a training, which may run where Pillow is not installed."""

    names: list[str]

    @property
    def fingerprint(self) -> str:
        """Of the names and sizes of the files."""

    def header(self, index: int) -> Header:
        """What a file says of its image."""


@runtime_checkable
class TilesOfSlides(Tiles, Protocol):
    """What a :class:`tiling.TileSet` is to a training."""

    def size(self, index: int) -> int:
        """Edge of a tile, px."""

    def problems(self, indices: Sequence[int]) -> list[str]:
        """What keeps tiles from being read, a slide each."""


def check_tiles(tiles: Tiles, indices: Sequence[int], *, crop: int | None, resolution: int) -> None:
    """Look for all that would stop a training later: at the header of every image, and at every slide.

    Parameters
    ----------
    tiles
        A :class:`tiling.TileSet`, whose slides are opened, or an :class:`hdgan.image_folder.ImageFolder`, of which no
        pixels are decoded but those of alpha channels. Of anything else it is known what it gives when it gives it.
    indices
        The tiles to train on.
    crop, resolution
        As in :class:`hdgan.stylegan2.TrainConfig`.

    Raises
    ------
    InputError
        With every reason why images cannot be trained on, how many have it, the first few of these, and what to do; or
        with the first ten slides that are gone, and their number.
    """
    if isinstance(tiles, PictureFolder):
        _check_images(tiles, indices, crop=crop, resolution=resolution)
    elif isinstance(tiles, TilesOfSlides) and len(indices):
        size = tiles.size(indices[0])
        if fault := misfit(size, size, crop=crop, resolution=resolution):
            raise InputError(
                f"each of {counted(len(tiles), 'tile')} is {size_in_words(size, size)}, {fault.why}: {fault.repair}"
            )
        if problems := tiles.problems(indices):
            slides = counted(len(problems), "slide")
            told = first_few(problems, "; ", named=_NAMED)
            raise InputError(f"cannot train on {slides}: {told}; bring them back or tile again")
    if 0 < len(indices) < FEW:
        note(
            f"{counted(len(indices), 'tile')} to train on: from fewer than {FEW} a generator learns little but these, "
            "by heart; hundreds do, and thousands are better"
        )


def _check_images(images: PictureFolder, indices: Sequence[int], *, crop: int | None, resolution: int) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        looked_at = track(pool.map(images.header, indices), "looking at images", total=len(indices))
        headers = dict(zip(indices, looked_at, strict=True))
    alike = defaultdict[str, list[tuple[int, Misfit]]](list)  # images with the same fault
    for index, header in headers.items():
        if fault := _fault_of(header, crop=crop, resolution=resolution):
            alike[fault.why].append((index, fault))
    if faulty := sum(map(len, alike.values())):
        groups = [_told(images, headers, dict(faults)) for faults in alike.values()]
        if len(groups) > 1:
            counts = [counted(len(faults), "image") for faults in alike.values()]
            groups = [f"{count}, {group}" for count, group in zip(counts, groups, strict=True)]
        raise InputError(f"cannot train on {faulty} of {counted(len(indices), 'image')}: {'; '.join(groups)}")
    grey = sum(header.mode in _GREY for header in headers.values())
    if 0 < grey < len(headers):
        note(f"{grey} of {len(headers)} images are grey, and trained on as such; remove them if they are masks")


def _fault_of(header: Header, *, crop: int | None, resolution: int) -> Misfit | None:
    """Why an image cannot be trained on; None if it can."""
    if header.problem:
        return Misfit(header.problem, header.repair)
    return misfit(header.width, header.height, crop=crop, resolution=resolution)


def _told(images: PictureFolder, headers: Mapping[int, Header], faults: Mapping[int, Misfit]) -> str:
    """What is wrong with images that have the same fault, which these are, and what to do."""
    least = min(faults.values(), key=lambda fault: fault.edge or 0)
    shapes = dict.fromkeys(size_in_words(headers[index].width, headers[index].height) for index in faults)
    which = first_few([images.names[index] for index in faults])
    which += f"; {first_few(list(shapes))}" if least.edge is not None else ""
    others = ", or remove these" if least.edge is not None and len(faults) < len(headers) else ""
    return f"{least.why} ({which}): {least.repair}{others}"
