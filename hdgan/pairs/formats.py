"""Where pairs are kept: one zarr store, or folders of PNG or OME-TIFF files. A new format is one class and one line."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
import tifffile
import zarr
from PIL.Image import Image as Picture

from hdgan.labels import UNLABELLED, ClassList
from hdgan.pairs.png_rows import PngRows
from hdgan.pairs.pyramid import TILE, averaged, majority, writing_pyramid
from hdgan.pairs.strips import Strip, banded
from tiling.errors import InputError
from tiling.files import replacing, sweep_partials
from tiling.png import open_png

_CHUNK = 512  # px: of zarr's chunks, of which a row across the image is a shard
_NUMBERS = 1 << 16  # that are a chunk
_ROWS = 64  # that are filtered and compressed together in a PNG
UNMADE = -1
"""Index and seed of a place in a store where no pair is."""

Kind = Literal["image", "mask", "uncertainty"]
Numbers = npt.NDArray[np.int64]
_FOLDERS: Mapping[Kind, str] = MappingProxyType({"image": "images", "mask": "masks", "uncertainty": "uncertainty"})


class Plane(Protocol):
    """One of the arrays of a pair, of which a window of rows and columns is read: (H, W) or (H, W, 3)."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its whole shape."""

    def __getitem__(self, window: tuple[slice, slice], /) -> npt.NDArray[Any]:
        """A window, whose edges are given, of type uint8, or of an uncertainty float16 or float32."""


class PairWriter(Protocol):
    """Keeps images (H, W, 3) uint8, masks (H, W) uint8 and uncertainties (H, W) float16 of pairs at numbered places.

    It can be pickled, so that workers write, too: each pair is written by one of them.

    Attributes
    ----------
    packed
        Whether a place that is left out takes room: pairs of any numbers then lie at the places from 0 on. Otherwise
        their places are their numbers.
    """

    packed: bool

    def prepare(self, n: int, size: int) -> None:
        """Make room for pairs of size x size px at the places below n, keeping those that are there."""

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""

    def keep(self, places: Collection[int]) -> None:
        """Remove pairs at other places, as far as they are in nobody's way."""

    def write(self, place: int, size: int, strips: Iterable[Strip]) -> None:
        """Keep a pair of size x size px, in place of what may be left there of an earlier attempt or another pair.

        Its strips are taken one by one, from above, as they are written: no more than some are in memory.
        """

    def settle(self, index: Numbers, seed: Numbers) -> None:
        """Note the numbers and seeds of the pairs at the first places (m,); there are none at the others.

        `UNMADE` where there is none.
        """


class PairFormat(PairWriter, Protocol):
    """A :class:`PairWriter` that is read, too."""

    def places(self, index: Numbers) -> Numbers:
        """Where the pairs of these numbers (n,) are."""

    def opened(self, kind: Kind, place: int) -> AbstractContextManager[Plane]:
        """One of a pair's arrays, for as long as the block lasts."""


class ZarrPairs:
    """`pairs.zarr`: arrays image (N, H, W, 3), mask and uncertainty (N, H, W), in chunks of an image or 512 px of it.

    Of larger images a row of chunks is a shard, and so a file. Beside them index and seed (N,) int64: which pair is
    where. Where none is, they are -1, and the mask is 255, unlabelled.
    """

    packed = True

    def __init__(self, folder: Path, classes: ClassList, mpp: float | None) -> None:
        self._given = folder, classes, mpp
        self._root = folder / "pairs.zarr"
        self._arrays: dict[str, Any] = {}

    def __reduce__(self) -> tuple[type[ZarrPairs], tuple[Path, ClassList, float | None]]:
        return type(self), self._given  # open arrays stay behind

    def prepare(self, n: int, size: int) -> None:
        """Create the arrays, or let them grow or shrink."""
        _, classes, mpp = self._given
        group = zarr.open_group(self._root, mode="a", zarr_format=3)
        listed = [{"name": c.name, "colour": list(c.colour)} for c in classes]
        group.update_attributes({"classes": listed} | ({} if mpp is None else {"mpp": mpp}))
        edge = min(size, _CHUNK)
        for name, dtype, colours, fill in (
            ("image", "uint8", (3,), 0),
            ("mask", "uint8", (), UNLABELLED),
            ("uncertainty", "float16", (), 0),
        ):
            shape = (n, size, size, *colours)
            if name in group:
                group[name].resize(shape)
                continue
            group.create_array(
                name,
                shape=shape,
                chunks=(1, edge, edge, *colours),
                shards=(1, edge, size, *colours) if size > edge else None,
                dtype=dtype,
                fill_value=fill,
                dimension_names=("pair", "y", "x", "channel")[: len(shape)],
            )
        for name in ("index", "seed"):
            if name in group:
                group[name].resize((n,))
            else:
                group.create_array(
                    name, shape=(n,), chunks=(_NUMBERS,), dtype="int64", fill_value=UNMADE, dimension_names=("pair",)
                )
        self._arrays.clear()

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        for left in self._root.rglob("*.partial"):  # zarr writes every file under such a name first
            left.unlink()

    def keep(self, places: Collection[int]) -> None:
        """Places that others leave are taken by new pairs, or cut off by `prepare`."""

    def write(self, place: int, size: int, strips: Iterable[Strip]) -> None:
        """Write a pair, whole chunks at a time, after `prepare`."""
        arrays = [zarr.open_array(self._root / name, mode="r+") for name in _FOLDERS]
        y = 0
        for strip in banded(strips, (arrays[0].shards or arrays[0].chunks)[1]):
            for array, rows in zip(arrays, strip.arrays, strict=True):
                array[place, y : y + len(strip)] = rows
            y += len(strip)

    def settle(self, index: Numbers, seed: Numbers) -> None:
        """Write `index` and `seed`."""
        for name, values in (("index", index), ("seed", seed)):
            array = zarr.open_array(self._root / name, mode="r+")
            array[:] = np.pad(values, (0, array.shape[0] - len(values)), constant_values=UNMADE)

    def places(self, index: Numbers) -> Numbers:
        """By the array `index`; in a store without one, of an earlier version, pairs are where their numbers say."""
        if not (self._root / "index").exists():
            return index
        there = np.asarray(zarr.open_array(self._root / "index", mode="r")[:])
        order = np.argsort(there, kind="stable")
        found: Numbers = order[np.searchsorted(there, index, sorter=order)]
        return found

    @contextlib.contextmanager
    def opened(self, kind: Kind, place: int) -> Iterator[Plane]:
        """A row of one of the arrays."""
        if kind not in self._arrays:
            self._arrays[kind] = zarr.open_array(self._root / kind, mode="r")
        yield _Row(self._arrays[kind], place)


@dataclass(frozen=True)
class _Row:
    """What is at a place of a zarr array."""

    array: Any
    place: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape[1:])

    def __getitem__(self, window: tuple[slice, slice]) -> npt.NDArray[Any]:
        return np.asarray(self.array[(self.place, *window)])


class FilePairs:
    """What formats share whose pairs are files of their own, named by their numbers in a folder for each kind."""

    packed = False
    suffixes: Mapping[Kind, str]

    def __init__(self, folder: Path, classes: ClassList, mpp: float | None = None) -> None:
        self.folder, self.classes, self.mpp = folder, classes, mpp

    def prepare(self, n: int, size: int) -> None:
        """Files need no room."""

    def sweep(self) -> None:
        """Remove what killed processes left half-written."""
        for kind in self.suffixes:
            sweep_partials(self.folder / _FOLDERS[kind])

    def keep(self, places: Collection[int]) -> None:
        """Remove the files of other pairs."""
        names = {f"{place:06d}" for place in places}
        for kind, suffix in self.suffixes.items():
            for path in (self.folder / _FOLDERS[kind]).glob(f"*{suffix}"):
                stem = path.name.removesuffix(suffix)
                if path.is_file() and stem.isdecimal() and stem not in names:
                    path.unlink()

    def settle(self, index: Numbers, seed: Numbers) -> None:
        """Files tell their numbers by their names."""

    def places(self, index: Numbers) -> Numbers:
        """The numbers themselves."""
        return index

    def path(self, kind: Kind, place: int) -> Path:
        """Of a pair's file."""
        return self.folder / _FOLDERS[kind] / f"{place:06d}{self.suffixes[kind]}"


class PngPairs(FilePairs):
    """`images/` and `masks/` of PNG files, masks with the classes' colours as palette, and `uncertainty/` of .npy."""

    suffixes: Mapping[Kind, str] = MappingProxyType({"image": ".png", "mask": ".png", "uncertainty": ".npy"})

    def write(self, place: int, size: int, strips: Iterable[Strip]) -> None:
        """Write the three files of a pair, row by row."""
        with contextlib.ExitStack() as stack:
            partials = [stack.enter_context(replacing(self.path(kind, place))) for kind in _FOLDERS]
            files = [stack.enter_context(partial.open("wb")) for partial in partials]
            palette = self.classes.colour_table().tobytes()
            image, mask = PngRows(files[0], size, size), PngRows(files[1], size, size, palette=palette)
            header = {"descr": "<f2", "fortran_order": False, "shape": (size, size)}
            np.lib.format.write_array_header_1_0(files[2], header)
            for strip in banded(strips, _ROWS):
                image.add(strip.image)
                mask.add(strip.mask)
                files[2].write(strip.uncertainty.astype("<f2").tobytes())
            image.finish()
            mask.finish()

    @contextlib.contextmanager
    def opened(self, kind: Kind, place: int) -> Iterator[Plane]:
        """A picture, which is decoded whole when the first window is read, or a mapped file."""
        path = self.path(kind, place)
        if kind == "uncertainty":
            yield np.load(path, mmap_mode="r")
        else:
            with open_png(path) as picture:
                yield _Picture(picture)


@dataclass(frozen=True)
class _Picture:
    """A PNG, RGB or indexed."""

    picture: Picture

    @property
    def shape(self) -> tuple[int, ...]:
        width, height = self.picture.size
        return (height, width, 3) if self.picture.mode == "RGB" else (height, width)

    def __getitem__(self, window: tuple[slice, slice]) -> npt.NDArray[Any]:
        rows, columns = window
        return np.asarray(self.picture.crop((columns.start, rows.start, columns.stop, rows.stop)))


class OmeTiffPairs(FilePairs):
    """`images/`, `masks/` and `uncertainty/` of deflated OME-TIFF; uncertainty as float32, as OME has no half.

    Images of more than 512 px are in tiles, and have coarser levels: averaged, or of a mask the class of most pixels.
    """

    suffixes: Mapping[Kind, str] = MappingProxyType(dict.fromkeys(_FOLDERS, ".ome.tiff"))

    def write(self, place: int, size: int, strips: Iterable[Strip]) -> None:
        """Write the three files of a pair."""
        names = ", ".join(f"{k}: {name}" for k, name in enumerate(self.classes.names))
        image, mask, uncertainty = (self.path(kind, place) for kind in _FOLDERS)
        shape, mpp = (size, size), self.mpp
        with (
            writing_pyramid(image, (*shape, 3), np.uint8, halve=averaged, mpp=mpp) as add_image,
            writing_pyramid(
                mask, shape, np.uint8, halve=majority, mpp=mpp, description=f"classes: {names}"
            ) as add_mask,
            writing_pyramid(uncertainty, shape, np.float32, halve=averaged, mpp=mpp) as add_uncertainty,
        ):
            for strip in banded(strips, min(size, TILE)):
                add_image(strip.image)
                add_mask(strip.mask)
                add_uncertainty(strip.uncertainty.astype(np.float32))

    @contextlib.contextmanager
    def opened(self, kind: Kind, place: int) -> Iterator[Plane]:
        """The finest level of a file."""
        with tifffile.TiffFile(self.path(kind, place)) as file:
            yield zarr.open_array(file.pages[0].aszarr(), mode="r")


FORMATS: dict[str, Callable[[Path, ClassList, float | None], PairFormat]] = {
    "zarr": ZarrPairs,
    "ome-tiff": OmeTiffPairs,
    "png": PngPairs,
}


def pair_format(name: str, folder: Path, classes: ClassList, mpp: float | None = None) -> PairFormat:
    """The format of that name, in a folder, of pairs of so many micrometres per pixel, if it is known."""
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, not {name!r}")
    return FORMATS[name](folder, classes, mpp)
