"""OME-Zarr (OME-NGFF 0.4 and 0.5): folders of chunks, local ones."""

from __future__ import annotations

import itertools
import lzma
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from tiling.backends.base import (
    DAMAGED,
    LARGEST,
    BackendError,
    Colour,
    DeclinedError,
    Image,
    Level,
    LostFileError,
    RefusedError,
    backend_error,
    credible_mpp,
    refuse_deep_pixels,
)
from tiling.backends.ome import MICROMETRES
from tiling.errors import InputError
from tiling.ngff import image_group

if TYPE_CHECKING:
    import zarr

_SAME_SHAPE = 0.02
_TOUCHED = 4  # chunks that meet in a corner: zarr decodes them side by side

# What the codecs of zarr and numcodecs raise on corrupt chunks beyond the rest.
_CORRUPT = (*DAMAGED, EOFError, lzma.LZMAError, zlib.error)

_BLOSC_HEADER, _BLOSC_LENGTH = 16, slice(12, 16)  # bytes


class _Axes(NamedTuple):
    names: tuple[str, ...]
    units: tuple[str | None, ...]

    def of(self, name: str, values: Sequence[Any]) -> Any:
        """The value of an axis; 1 if there is none of that name."""
        return values[self.names.index(name)] if name in self.names else 1


class OmeZarrBackend:
    """The first picture of an OME-Zarr; its label images are not read.

    What a chunk is missing for has the array's fill value, as Zarr defines it.
    """

    name: ClassVar[str] = "ome-zarr"
    objective_power: float | None = None
    background: Colour | None = None
    icc_profile: bytes | None = None

    def __init__(
        self, arrays: Sequence[zarr.Array[Any]], axes: _Axes, levels: tuple[Level, ...], mpp: float | None, version: str
    ) -> None:
        self._arrays = tuple(arrays)
        self._axes = axes
        self.levels = levels
        self.mpp = mpp
        sizes = {
            f"openslide.level[{number}].tile-{side}": str(axes.of(axis, array.chunks))
            for number, array in enumerate(self._arrays)
            for side, axis in (("width", "x"), ("height", "y"))
        }
        self.properties: Mapping[str, str] = {"image.format": f"OME-Zarr {version}".rstrip(), **sizes}

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a folder; files are declined."""
        if not path.is_dir():
            raise DeclinedError("is no folder")
        try:
            group, attributes = image_group(path)
            return cls(*_parsed(group, attributes))
        except InputError as error:
            raise RefusedError(str(error)) from error
        except BackendError as error:
            raise RefusedError(str(error)) from error
        except DAMAGED as error:
            raise backend_error(error, RefusedError, "has documents that cannot be read: ") from error

    def read(self, *, x: int, y: int, width: int, height: int, level: int) -> Image:
        """Read a region as RGB, or as RGBA where part of it is outside the slide."""
        geometry, array = self.levels[level], self._arrays[level]
        left, top = round(x / geometry.downsample), round(y / geometry.downsample)
        x0, x1 = (min(max(edge, 0), geometry.width) for edge in (left, left + width))
        y0, y1 = (min(max(edge, 0), geometry.height) for edge in (top, top + height))
        if x0 == x1 or y0 == y1:
            return np.zeros((height, width, 4), np.uint8)
        place: dict[str, slice | int] = {"x": slice(x0, x1), "y": slice(y0, y1), "c": slice(None)}
        selection = tuple(place.get(name, 0) for name in self._axes.names)
        try:
            _refuse_cut_chunks(array, selection)
            samples: npt.NDArray[np.uint8] = np.asarray(array[selection])
        except _CORRUPT as error:
            raise backend_error(error, what=f"cannot decode a chunk of {array.path or 'the array'}: ") from error
        if not Path(array.store.root, array.path).is_dir():  # its chunks would pass for areas without pixels
            raise LostFileError("its folder is no longer there")
        pixels = self._coloured(samples)
        if (x1 - x0, y1 - y0) == (width, height):
            return pixels
        region = np.zeros((height, width, 4), np.uint8)
        there = region[y0 - top : y1 - top, x0 - left : x1 - left]
        there[..., :3], there[..., 3] = pixels, 255
        return region

    def close(self) -> None:
        """Nothing stays open between two reads."""

    def _coloured(self, samples: npt.NDArray[np.uint8]) -> Image:
        """Samples in the order of their axes as (height, width, 3)."""
        kept = [name for name in self._axes.names if name in "cyx"]
        order = [kept.index(name) for name in "yxc" if name in kept]
        pixels = samples.transpose(order)
        if "c" not in kept:
            pixels = pixels[..., None]
        return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)


def _parsed(
    group: Path, attributes: Mapping[str, Any]
) -> tuple[list[zarr.Array[Any]], _Axes, tuple[Level, ...], float | None, str]:
    """The arrays of an image, finest first, and what its attributes say of them."""
    import zarr  # as slow to import as all else that opens a slide

    multiscale = attributes["multiscales"][0]
    axes = _axes(multiscale.get("axes"))
    common = _scale(multiscale, axes)
    pyramid = []
    for dataset in multiscale["datasets"]:
        path = PurePosixPath(dataset["path"])
        if path.is_absolute() or ".." in path.parts:
            raise BackendError(f"names an array outside itself: {path}")
        array = zarr.open_array(group / path, mode="r")
        _refuse_what_is_no_picture(array, axes)
        scale = [common[axis] * factor for axis, factor in _scale(dataset, axes).items()]
        pyramid.append((array, scale))
    if not pyramid:
        raise BackendError("has no arrays")
    pyramid.sort(key=lambda level: -axes.of("x", level[0].shape))
    full, finest = pyramid[0]
    width, height = axes.of("x", full.shape), axes.of("y", full.shape)
    levels = []
    for array, scale in pyramid:
        across, down = axes.of("x", array.shape), axes.of("y", array.shape)
        by_size = (width / across + height / down) / 2
        said = (scale[0] / finest[0] + scale[1] / finest[1]) / 2
        tolerance = _SAME_SHAPE + 1 / min(across, down)
        levels.append(Level(across, down, said if abs(said / by_size - 1) <= tolerance else by_size))
    sizes = [
        None if (unit := axes.of(name, axes.units)) not in MICROMETRES else size * MICROMETRES[unit]
        for name, size in zip("xy", finest, strict=True)
    ]
    version = multiscale.get("version") or attributes.get("version") or ""
    return [array for array, _ in pyramid], axes, tuple(levels), credible_mpp(sizes[0], sizes[1]), str(version)


def _axes(given: Any) -> _Axes:
    if not isinstance(given, list) or not given:
        raise BackendError("does not name its axes, as OME-Zarr 0.4 does; convert it to that")
    axes = [axis if isinstance(axis, dict) else {"name": axis} for axis in given]
    names = tuple(str(axis.get("name")) for axis in axes)
    if not {"x", "y"} <= set(names) <= set("tczyx") or len(set(names)) < len(names):
        raise BackendError(f"has the axes {', '.join(names)}, of which a slide has x and y, and may have t, c and z")
    return _Axes(names, tuple(axis.get("unit") for axis in axes))


def _scale(described: Mapping[str, Any], axes: _Axes) -> dict[str, float]:
    """The scale in x and y of a dataset or of all; 1 where nothing is said."""
    for step in described.get("coordinateTransformations", ()):
        if step.get("type") == "scale" and len(step.get("scale", ())) == len(axes.names):
            found = {name: float(axes.of(name, step["scale"])) for name in "xy"}
            if all(0 < factor < math.inf for factor in found.values()):
                return found
            raise BackendError(f"has the scale {step['scale']}, which is not positive")
    return {"x": 1.0, "y": 1.0}


def _refuse_what_is_no_picture(array: zarr.Array[Any], axes: _Axes) -> None:
    if len(array.shape) != len(axes.names):
        raise BackendError(f"has an array of the shape {array.shape} for the axes {', '.join(axes.names)}")
    refuse_deep_pixels(np.dtype(array.dtype))
    counts = {name: axes.of(name, array.shape) for name in "tcz"}
    if counts["t"] != 1 or counts["z"] != 1 or counts["c"] not in (1, 3):
        raise BackendError(
            f"has {counts['c']} channels, {counts['z']} z planes and {counts['t']} timepoints; "
            "export one plane as 8-bit RGB or grey"
        )
    if not math.prod(array.shape):
        raise BackendError(f"has an array of the shape {array.shape}, without pixels")
    if math.prod(array.chunks) > LARGEST // _TOUCHED:
        raise BackendError(f"has chunks of the shape {array.chunks}; convert it to smaller ones")


def _refuse_cut_chunks(array: zarr.Array[Any], selection: Sequence[slice | int]) -> None:
    """Raise a ValueError if a chunk of a selection ends before its Blosc frame does.

    Blosc takes the length of a frame from its header, and reads on past the end of a shorter one: pixels would be
    whatever lies in memory there. Shards keep lengths in an index with a checksum.
    """
    from zarr.storage import LocalStore

    compressors = array.compressors
    blosc = len(compressors) == 1 and "blosc" in type(compressors[0]).__name__.lower()
    if not blosc or array.shards is not None or not isinstance(array.store, LocalStore):
        return
    spans = []
    for chosen, size, chunk in zip(selection, array.shape, array.chunks, strict=True):
        first, last, _ = chosen.indices(size) if isinstance(chosen, slice) else (chosen, chosen + 1, 1)
        spans.append(range(first // chunk, -(-last // chunk)))
    for coordinates in itertools.product(*spans):
        path = Path(array.store.root, array.path, array.metadata.encode_chunk_key(coordinates))
        try:
            with path.open("rb") as file:
                header = file.read(_BLOSC_HEADER)
                length = file.seek(0, os.SEEK_END)
        except FileNotFoundError:
            continue
        if length < max(_BLOSC_HEADER, int.from_bytes(header[_BLOSC_LENGTH], "little")):
            raise ValueError("the file ends before its pixels do")
