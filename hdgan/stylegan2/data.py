"""Tiles as training batches."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from hdgan.stylegan2.presets import LEAST_RESOLUTION, TrainConfig
from tiling.errors import InputError
from training.draws import numpy_draws
from training.loader import prefetch_in_processes
from training.order import shuffled
from training.stream import prefetch

Pixels = npt.NDArray[np.uint8]
Classes = npt.NDArray[np.int64]

_MANY_PIXELS, _MANY_CORES, _MOST_WORKERS = 1 << 22, 4, 8


@runtime_checkable
class Tiles(Protocol):
    """RGB tiles by number: a :class:`tiling.TileSet`, an image folder, or anything like them."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Pixels:
        """Tile `index` as (height, width, 3) uint8."""


@runtime_checkable
class WindowedTiles(Tiles, Protocol):
    """Square tiles of which a part can be read, for less than the whole."""

    def size(self, index: int) -> int:
        """Edge of a tile, px."""

    def read_window(self, index: int, *, x: int, y: int, size: int) -> Pixels:
        """(size, size, 3) uint8: as much of a tile from its pixel (x, y) on."""


@runtime_checkable
class ScaledTiles(Tiles, Protocol):
    """Square tiles of slides, all of one edge."""

    @property
    def mpp(self) -> float | None:
        """Micrometres per px of the tiles, where it is the same for all."""

    def size(self, index: int) -> int:
        """Edge of a tile, px."""


@dataclass(frozen=True)
class Batch:
    """What a training step takes.

    Attributes
    ----------
    pixels
        (N, 3, R, R) uint8.
    c
        (N, c_dim) float32, one-hot; (N, 0) without a condition.
    """

    pixels: Tensor
    c: Tensor

    def part(self, rows: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Some rows: images (n, 3, R, R) float32 in [-1, 1], and their c."""
        return self.pixels[list(rows)].float() / 127.5 - 1, self.c[list(rows)]


@dataclass(frozen=True)
class PreparedTiles:
    """Tiles as a training shows them: cropped, and averaged down by area; but not turned.

    Attributes
    ----------
    tiles
        Where the images come from.
    resolution
        Edge of the images, px.
    crop
        Edge of the square that is cut out of a tile, px of the tile; None for the whole tile, which is then square.
    seed
        Of the place where :meth:`read` cuts it out.
    """

    tiles: Tiles
    resolution: int
    crop: int | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.tiles)

    def read(self, index: int) -> Pixels:
        """Tile `index`, always the same crop of it, as (R, R, 3) uint8; an :class:`InputError` if it is too small."""
        return self.read_at(index, numpy_draws(self.seed, "crop of a tile", index).random(2))

    def read_at(self, index: int, place: npt.NDArray[np.float64]) -> Pixels:
        """The crop of a tile at a place (x, y), each from 0 to 1: as :meth:`read`."""
        crop, tiles = self.crop, self.tiles
        if crop is not None and isinstance(tiles, WindowedTiles) and crop <= (size := tiles.size(index)):
            x, y = (int(share * (size - crop + 1)) for share in place)
            image = tiles.read_window(index, x=x, y=y, size=crop)
        else:
            image = tiles.read(index)
            height, width = image.shape[:2]
            if fault := misfit(width, height, crop=crop, resolution=self.resolution):
                raise InputError(f"tile {index} is {size_in_words(width, height)}, {fault.why}: {fault.repair}")
            if crop is not None:
                y, x = (int(share * (edge - crop + 1)) for share, edge in zip(place[::-1], image.shape, strict=False))
                image = image[y : y + crop, x : x + crop]
        edge, resolution = len(image), self.resolution
        if edge == resolution:
            return image
        from tiling.resample import area_resample, rows_of  # needs SciPy, which a bare GPU host may lack

        return area_resample(rows_of(image), (float(edge), float(edge)), (resolution, resolution))


class TileBatches:
    """Batches of tiles in random order, each epoch a new one, cropped, averaged down, turned and mirrored.

    What row `i` of batch `step` holds depends on (seed, step, i) alone, whichever process makes it.

    Parameters
    ----------
    tiles
        Where the images come from.
    indices
        The tiles to train on.
    resolution
        Edge of the images, px.
    batch
        Images in a batch, over all processes that train.
    turn
        Whether each image is shown in one of its eight orientations, drawn anew each time.
    mirror
        Without turns: whether it is shown as it is or mirrored, drawn anew each time.
    seed
        Of all draws.
    crop
        Edge of a square that is cut out of the tile at a random place, px of the tile; None for the whole tile, which
        must then be square. What is larger than the resolution is averaged down by area.
    classes
        (len(indices),): the class of each tile; None without a condition.
    c_dim
        Number of classes.

    Raises
    ------
    InputError
        If there is no tile, or the first one does not fit.
    """

    def __init__(
        self,
        tiles: Tiles,
        indices: Sequence[int],
        *,
        resolution: int,
        batch: int,
        turn: bool,
        mirror: bool = False,
        seed: int,
        crop: int | None = None,
        classes: Classes | None = None,
        c_dim: int = 0,
    ) -> None:
        if not len(indices):
            raise InputError("there is no tile to train on")
        self._tiles, self._indices = PreparedTiles(tiles, resolution=resolution, crop=crop), np.asarray(indices)
        self._batch, self._seed = batch, seed
        self._symmetries = np.arange(8) if turn else np.array([0, 4] if mirror else [0])
        self._classes = np.zeros(len(indices), np.int64) if classes is None else classes
        self._c_dim = c_dim
        self._tiles.read_at(int(indices[0]), np.zeros(2))

    def read(self, step: int, *, rows: Sequence[int] | None = None) -> tuple[Pixels, Classes]:
        """Some rows of batch `step`, in the order asked for; by default all of it.

        Returns
        -------
        images
            (N, R, R, 3) uint8.
        classes
            (N,) int64.
        """
        rows = self._rows(rows)
        numbers = np.arange(step * self._batch, (step + 1) * self._batch)[rows]
        chosen = shuffled(self._seed, numbers, len(self._indices))
        places = numpy_draws(self._seed, "crops", step).random((self._batch, 2))[rows]
        images = [self._tiles.read_at(int(i), place) for i, place in zip(self._indices[chosen], places, strict=True)]
        turns = numpy_draws(self._seed, "turns", step).integers(len(self._symmetries), size=self._batch)[rows]
        images = [_turned(image, int(s)) for image, s in zip(images, self._symmetries[turns], strict=True)]
        return np.stack(images), self._classes[chosen]

    def stream(
        self,
        start: int,
        stop: int,
        *,
        device: torch.device | None = None,
        workers: int = 0,
        rows: Sequence[int] | None = None,
    ) -> Iterator[Batch]:
        """Batches start to stop - 1, or some rows of each, read ahead in a thread or in `workers` processes."""
        make = functools.partial(self.read, rows=rows)
        read = prefetch_in_processes(make, start, stop, workers=workers) if workers else prefetch(make, start, stop)
        for images, classes in read:
            pixels = torch.from_numpy(images).to(device).permute(0, 3, 1, 2)
            yield Batch(pixels, self._one_hot(classes).to(device))

    def draw_c(self, purpose: str, step: int, *, rows: Sequence[int] | None = None) -> Tensor:
        """Conditions for generated images, as often as the tiles have them: (N, c_dim) float32, one-hot."""
        drawn = numpy_draws(self._seed, f"classes for {purpose}", step).integers(len(self._indices), size=self._batch)
        return self._one_hot(self._classes[drawn[self._rows(rows)]])

    def _rows(self, rows: Sequence[int] | None) -> list[int]:
        return list(range(self._batch) if rows is None else rows)

    def _one_hot(self, classes: Classes) -> Tensor:
        return torch.eye(self._c_dim)[classes] if self._c_dim else torch.zeros(len(classes), 0)


@dataclass(frozen=True)
class Misfit:
    """Why no image of a training can be made of a tile.

    Attributes
    ----------
    why
        In words: "not square".
    remedy, edge
        What to do, in words, and the largest number that does it for this tile, None where it takes none: "cut squares
        out with --crop", 256.
    """

    why: str
    remedy: str
    edge: int | None = None

    @property
    def repair(self) -> str:
        """What to do, with the number."""
        if self.edge is None:
            return self.remedy
        return f"{self.remedy} {self.edge}" if self.edge >= LEAST_RESOLUTION else "leave such tiles out"


def misfit(width: int, height: int, *, crop: int | None, resolution: int) -> Misfit | None:
    """Why no image of the resolution can be made of a tile of so many px; None if it can."""
    edge = min(width, height)
    if edge < resolution:
        why = f"smaller than the {resolution} px that the generator makes"
        return Misfit(why, "take --resolution", 1 << max(edge.bit_length() - 1, 0))
    if crop is not None and edge < crop:
        return Misfit(f"smaller than the crop of {crop} px", "take --crop", edge)
    if crop is None and width != height:
        return Misfit("not square", "cut squares out with --crop", edge)
    return None


def size_in_words(width: int, height: int) -> str:
    """The size of a tile: "32 px" where it is square, else "32 x 24 px"."""
    return f"{width} px" if width == height else f"{width} x {height} px"


def fitting_workers(config: TrainConfig, edge: int, device: torch.device, *, processes: int = 1) -> int:
    """How many workers should read tiles ahead of a training, in each of the processes that share it.

    None, which means a thread, where that keeps up: a step on a CPU takes longer than the reading of its tiles, and
    so does one on a GPU where a process's part of the batch has few pixels. Else half of its part of the cores, but for
    machines that have few.

    Parameters
    ----------
    config
        The training.
    edge
        Of what is decoded for an image, px.
    device
        Where it trains.
    processes
        How many share the batch, and the cores of this machine.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores, pixels = there // processes, config.batch // processes * edge**2
    if device.type == "cpu" or cores < _MANY_CORES or pixels < _MANY_PIXELS:
        return 0
    return min(cores // 2, _MOST_WORKERS)


def _turned(image: Pixels, symmetry: int) -> Pixels:
    """One of the eight symmetries of the square."""
    turned = np.rot90(image, symmetry % 4)
    return np.ascontiguousarray(turned[:, ::-1] if symmetry >= 4 else turned)


def to_uint8(images: Tensor) -> Pixels:
    """Images (N, 3, H, W) in [-1, 1] as (N, H, W, 3) uint8: x * 127.5 + 128, clamped and truncated."""
    scaled = (images.detach().float() * 127.5 + 128).clamp(0, 255).to(torch.uint8)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).cpu().numpy())
