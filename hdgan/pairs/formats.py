"""Where pairs are kept: one zarr store, or folders of PNG or OME-TIFF files. A new format is one class and one line."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tifffile
import zarr
from PIL import Image as PillowImage

from hdgan.labels import ClassList, Image, LabelMap
from hdgan.pictures import png_bytes
from hdgan.provenance import digest
from tiling.errors import InputError
from tiling.files import replacing, sweep_partials, write_bytes
from tiling.png import open_png

HalfMap = npt.NDArray[np.float16]
_TILE = 1024  # px: larger images are kept in tiles
_FOLDERS = ("images", "masks", "uncertainty")


class PairFormat(Protocol):
    """Keeps the images (H, W, 3) uint8, masks (H, W) uint8 and uncertainties (H, W) float16 of numbered pairs."""

    def prepare(self, n: int, size: int) -> None:
        """Make room for n pairs of size x size px, keeping those that are there."""

    def write(self, i: int, image: Image, mask: LabelMap, uncertainty: HalfMap) -> None:
        """Keep pair i, in place of what may be left of an earlier attempt."""

    def image(self, i: int) -> Image:
        """Read an image."""

    def mask(self, i: int) -> LabelMap:
        """Read a mask."""

    def uncertainty(self, i: int) -> HalfMap:
        """Read an uncertainty map."""


class ZarrPairs:
    """`pairs.zarr`: arrays image (N, H, W, 3), mask and uncertainty (N, H, W), an image or a tile of it per chunk."""

    def __init__(self, folder: Path, classes: ClassList) -> None:
        self._root = folder / "pairs.zarr"
        self._classes = classes
        self._arrays: dict[str, Any] = {}

    def prepare(self, n: int, size: int) -> None:
        """Create the arrays, or let them grow; remove what a killed process left half-written."""
        for left in self._root.rglob("*.partial"):  # zarr writes every file under such a name first
            left.unlink()
        group = zarr.open_group(self._root, mode="a", zarr_format=3)
        group.update_attributes({"classes": [{"name": c.name, "colour": list(c.colour)} for c in self._classes]})
        tile = min(size, _TILE)
        for name, dtype, channels in (("image", "uint8", (3,)), ("mask", "uint8", ()), ("uncertainty", "float16", ())):
            shape = (n, size, size, *channels)
            if name in group:
                group[name].resize(shape)
            else:
                group.create_array(name, shape=shape, chunks=(1, tile, tile, *channels), dtype=dtype)
            self._arrays[name] = group[name]

    def write(self, i: int, image: Image, mask: LabelMap, uncertainty: HalfMap) -> None:
        """Write the chunks of pair i, after `prepare`."""
        for name, values in (("image", image), ("mask", mask), ("uncertainty", uncertainty)):
            self._array(name)[i] = values

    def image(self, i: int) -> Image:
        """(H, W, 3) uint8."""
        return np.asarray(self._array("image")[i])

    def mask(self, i: int) -> LabelMap:
        """(H, W) uint8."""
        return np.asarray(self._array("mask")[i])

    def uncertainty(self, i: int) -> HalfMap:
        """(H, W) float16."""
        return np.asarray(self._array("uncertainty")[i])

    def _array(self, name: str) -> Any:
        if name not in self._arrays:
            self._arrays[name] = zarr.open_array(self._root / name, mode="r")
        return self._arrays[name]


class PngPairs:
    """`images/` and `masks/` of PNG files, masks with the classes' colours as palette, and `uncertainty/` of .npy."""

    def __init__(self, folder: Path, classes: ClassList) -> None:
        self._folder, self._palette = folder, classes.colour_table().tobytes()

    def prepare(self, n: int, size: int) -> None:
        """Remove what a killed process left half-written."""
        _sweep(self._folder)

    def write(self, i: int, image: Image, mask: LabelMap, uncertainty: HalfMap) -> None:
        """Write the three files of pair i."""
        indexed = PillowImage.fromarray(mask)
        indexed.putpalette(self._palette)
        write_bytes(self._path("images", i), png_bytes(image))
        write_bytes(self._path("masks", i), png_bytes(indexed))
        with replacing(self._path("uncertainty", i)) as partial:
            np.save(partial, uncertainty)

    def image(self, i: int) -> Image:
        """(H, W, 3) uint8."""
        return _read_png(self._path("images", i))

    def mask(self, i: int) -> LabelMap:
        """(H, W) uint8."""
        return _read_png(self._path("masks", i))

    def uncertainty(self, i: int) -> HalfMap:
        """(H, W) float16."""
        values: HalfMap = np.load(self._path("uncertainty", i))
        return values

    def _path(self, kind: str, i: int) -> Path:
        return self._folder / kind / f"{i:06d}{'.npy' if kind == 'uncertainty' else '.png'}"


class OmeTiffPairs:
    """`images/`, `masks/` and `uncertainty/` of deflated OME-TIFF; uncertainty as float32, as OME has no half."""

    def __init__(self, folder: Path, classes: ClassList) -> None:
        self._folder, self._classes = folder, classes

    def prepare(self, n: int, size: int) -> None:
        """Remove what a killed process left half-written."""
        _sweep(self._folder)

    def write(self, i: int, image: Image, mask: LabelMap, uncertainty: HalfMap) -> None:
        """Write the three files of pair i."""
        names = ", ".join(f"{k}: {name}" for k, name in enumerate(self._classes.names))
        self._write("images", i, image, {"axes": "YXS"}, photometric="rgb")
        self._write("masks", i, mask, {"axes": "YX", "Description": f"classes: {names}"}, photometric="minisblack")
        self._write("uncertainty", i, uncertainty.astype(np.float32), {"axes": "YX"}, photometric="minisblack")

    def image(self, i: int) -> Image:
        """(H, W, 3) uint8."""
        return np.asarray(tifffile.imread(self._path("images", i)))

    def mask(self, i: int) -> LabelMap:
        """(H, W) uint8."""
        return np.asarray(tifffile.imread(self._path("masks", i)))

    def uncertainty(self, i: int) -> HalfMap:
        """(H, W) float16."""
        return np.asarray(tifffile.imread(self._path("uncertainty", i))).astype(np.float16)

    def _path(self, kind: str, i: int) -> Path:
        return self._folder / kind / f"{i:06d}.ome.tiff"

    def _write(
        self, kind: str, i: int, values: npt.NDArray[Any], metadata: dict[str, str], *, photometric: str
    ) -> None:
        tile = (512, 512) if values.shape[0] > 512 else None
        identity = uuid.uuid5(uuid.NAMESPACE_OID, digest({kind: values}))  # by content: the same pair, the same file
        with replacing(self._path(kind, i)) as partial:
            tifffile.imwrite(
                partial,
                values,
                ome=True,
                metadata=metadata | {"UUID": str(identity)},
                photometric=photometric,
                tile=tile,
                compression="deflate",
            )


FORMATS: dict[str, Callable[[Path, ClassList], PairFormat]] = {
    "zarr": ZarrPairs,
    "ome-tiff": OmeTiffPairs,
    "png": PngPairs,
}


def pair_format(name: str, folder: Path, classes: ClassList) -> PairFormat:
    """The format of that name, in a folder."""
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, not {name!r}")
    return FORMATS[name](folder, classes)


def _sweep(folder: Path) -> None:
    for kind in _FOLDERS:
        sweep_partials(folder / kind)


def _read_png(path: Path) -> npt.NDArray[np.uint8]:
    with open_png(path) as picture:
        return np.array(picture)
