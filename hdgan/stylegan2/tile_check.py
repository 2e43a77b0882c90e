"""What is wrong with the tiles of a training, all of it told before it begins."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hdgan.stylegan2.data import Tiles, misfit
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
        With the first ten problems and their number.
    """
    if isinstance(tiles, PictureFolder):
        _check_images(tiles, indices, crop=crop, resolution=resolution)
    elif isinstance(tiles, TilesOfSlides) and len(indices):
        size = tiles.size(indices[0])
        if why := misfit(size, size, crop=crop, resolution=resolution):
            raise InputError(f"each of {counted(len(tiles), 'tile')} {why}")
        if problems := tiles.problems(indices):
            raise InputError(_told(problems, counted(len(problems), "slide"), "bring them back or tile again"))
    if 0 < len(indices) < FEW:
        note(
            f"{counted(len(indices), 'tile')} to train on: from fewer than {FEW} a generator learns little but these, "
            "by heart; hundreds do, and thousands are better"
        )


def _check_images(images: PictureFolder, indices: Sequence[int], *, crop: int | None, resolution: int) -> None:
    with ThreadPoolExecutor(_THREADS) as pool:
        looked_at = track(pool.map(images.header, indices), "looking at images", total=len(indices))
        headers = dict(zip(indices, looked_at, strict=True))
    problems = [
        f"{images.names[index]}{_shape(header)} {why}"
        for index, header in headers.items()
        if (why := header.problem or misfit(header.width, header.height, crop=crop, resolution=resolution))
    ]
    if problems:
        count = f"{len(problems)} of {counted(len(indices), 'image')}"
        raise InputError(_told(problems, count, "convert or remove them"))
    grey = sum(header.mode in _GREY for header in headers.values())
    if 0 < grey < len(headers):
        note(f"{grey} of {len(headers)} images are grey, and trained on as such; remove them if they are masks")


def _shape(header: Header) -> str:
    return f" ({header.width} x {header.height} px, {header.mode}):" if header.width else ":"


def _told(problems: Sequence[str], count: str, repair: str) -> str:
    return f"cannot train on {count}: {first_few(problems, '; ', named=_NAMED)}; {repair}"
