"""Labelled images from files: `.npz` as of MedMNIST, folders of images, tile sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.augmenters.batches import as_rgb
from hdgan.augmenters.images import LEAST, MOST, MOST_CLASSES, Indices, LabelledImages, Pixels, check_pixels
from hdgan.augmenters.npz import read_npz
from hdgan.checks import check_number
from hdgan.image_folder import FOLDER, ImageFolder
from hdgan.labels import Image
from hdgan.stylegan2.data import PreparedTiles, Tiles
from tiling import TileSet
from tiling.errors import InputError
from tiling.progress import note
from tiling.resample import area_resample, rows_of
from tiling.stage import RECORD, read_record
from tiling.wording import first_few

PARTS, IMAGES = ("train", "val", "test"), "images"
ImageSource = LabelledImages | tuple[Pixels, npt.ArrayLike] | Path | str
"""Labelled images; arrays of images (N, H, W) or (N, H, W, C) uint8 and of labels (N,); or a place to open."""

_GREY = ("L", "LA")
_FOR = {"train": "train on", "val": "validate", "test": "test"}
_HELD_OUT = {0: "test", 1: "val"}  # folds, where nothing else tells the parts
_LARGEST = 1 << 16  # px, of what is averaged down


@dataclass(frozen=True)
class IndexedTiles:
    """Tiles or images of a folder that are read when they are indexed: a :class:`hdgan.augmenters.Pixels`.

    Attributes
    ----------
    tiles
        Where they come from.
    indices
        Which of them.
    size
        Edge that they are averaged down to, px.
    channels
        1 where they are grey, else 3.
    """

    tiles: Tiles
    indices: Indices
    size: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, H, W, C)."""
        return len(self.indices), self.size, self.size, self.channels

    @property
    def dtype(self) -> np.dtype[np.uint8]:
        """uint8."""
        return np.dtype(np.uint8)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Image:
        """All of them, for NumPy."""
        images = self[np.arange(len(self.indices))]
        return images if dtype is None else images.astype(dtype)

    def __getitem__(self, indices: Indices) -> Image:
        """Read some, (n, H, W, C) uint8."""
        prepared = PreparedTiles(self.tiles, resolution=self.size)
        images = [prepared.read(int(index)) for index in self.indices[indices]]
        return np.stack(images)[..., : self.channels]


def open_images(
    place: Path | str,
    *,
    size: int | None = None,
    column: str | None = None,
    table: Path | str | None = None,
    classes: Sequence[str] | None = None,
    held_out: bool = True,
    by_fold: bool = True,
) -> dict[str, LabelledImages]:
    """Labelled images by part: "train", and, where there are such, "val" and "test".

    Parameters
    ----------
    place
        A MedMNIST file (`.npz` with `train_images`, `train_labels`, ...; Yang et al. 2023), a folder of images, or a
        folder of tiles. A folder that has a folder `train` has its parts in such; of another, and of tiles, fold 0 is
        "test", fold 1 is "val", and the others are "train".
    size
        Edge to average the images down to, px; None: as they are.
    column
        The label that tells the class; None: of images in folders, the folder that they are in.
    table
        CSV file with labels of images in a folder, see :class:`hdgan.image_folder.ImageFolder`.
    classes
        Names in the order of the labels, for files that have numbers alone; without them these are the names.
    held_out
        Whether "val" and "test" are asked for; or else "train" alone is read.
    by_fold
        Whether images that nobody parted are parted by fold; or else they are all in one part, "all".

    Raises
    ------
    InputError
        For what cannot be read, images without a class, more than 1000 classes, images that are no squares or smaller
        than `size`, and images of several sizes if there is no `size`.

    Notes
    -----
    Tiles, and samples of :func:`write_samples`, have the licence of what they were made from.
    """
    place, wanted = Path(place), PARTS if held_out else PARTS[:1]
    if size is not None:
        check_number("size", size, LEAST, MOST)
    if place.is_file():
        if column is not None or table is not None:
            raise InputError(f"{place} has its labels in itself: leave the column and the table of labels out")
        return _of_file(place, size, classes, wanted)
    if classes is not None:
        raise InputError("classes of images in folders, and of tiles, have their names already")
    if not place.is_dir():
        raise InputError(f"no images at {place}: give an .npz file, a folder of images or a folder of tiles")
    if (place / "train").is_dir():
        parts = [part for part in wanted if (place / part).is_dir()]
        return _of_the_same({part: ImageFolder(place / part, labels=table) for part in parts}, size, column)
    made_by = stage_of(place)
    if "tiles" in made_by:
        if table is not None:
            raise InputError(f"{place} are tiles, which have their labels: leave the table of labels out")
        source: TileSet | ImageFolder = TileSet.open(place)
    else:
        source = ImageFolder(place, labels=table)
    licence = {each for stage in made_by.values() for each in read_record(stage).get("licence", ())}
    images = replace(_of_folder(source, size, column), licence=tuple(sorted(licence)))
    return _by_fold(source, images, wanted) if by_fold else {"all": images}


def open_unlabelled(place: Path | str, *, size: int | None = None) -> Pixels:
    """Images of a folder, whatever they are of, (N, size, size, C) uint8; `size` and errors as of :func:`open_images`.

    They are grey if all of them are.
    """
    return _pixels_of(ImageFolder(place), size)


def stage_of(place: Path) -> dict[str, Path]:
    """The stage that made images, by what they are: "tiles"; or "samples", which are in the folder `images` of theirs.

    What images others are, whatever is made of them knows by their content.
    """
    if (place / RECORD).exists():
        return {"tiles": place}
    above = place.resolve().parent
    return {"samples": above} if place.resolve().name == IMAGES and (above / RECORD).exists() else {}


def as_images(source: ImageSource) -> LabelledImages:
    """Labelled images to train on, of whatever they are given as; of a place, the part "train".

    Tiles have several labels, so that they are opened by :func:`open_images`, which is told the one that classes them.

    Raises
    ------
    InputError
        For what are no labelled images.
    """
    if isinstance(source, LabelledImages):
        return source
    if isinstance(source, Path | str):
        return open_images(source, held_out=False)["train"]
    if not isinstance(source, tuple) or len(source) != 2:
        raise InputError(
            f"labelled images are LabelledImages, a pair of images and labels, or a place, not {type(source).__name__}"
        )
    pixels, labels = source[0], _numbers(np.asarray(source[1]), "labels of the images")
    return LabelledImages(_with_channels(pixels), labels, _names([labels]))


def _of_file(
    path: Path, size: int | None, classes: Sequence[str] | None, wanted: Sequence[str]
) -> dict[str, LabelledImages]:
    """The parts wanted, of classes up to the highest label of all parts."""
    names = [*(f"{part}_labels" for part in PARTS), *(f"{part}_images" for part in wanted)]
    arrays = read_npz(path, names, needed=("train_images", "train_labels"))
    labels = {
        part: _numbers(arrays[f"{part}_labels"], f"{part}_labels of {path}")
        for part in PARTS
        if f"{part}_labels" in arrays
    }
    of = _names(list(labels.values())) if classes is None else tuple(classes)
    return {
        part: LabelledImages(_resized(_with_channels(arrays[f"{part}_images"]), size), labels[part], of)
        for part in wanted
        if f"{part}_images" in arrays and part in labels
    }


def _numbers(labels: npt.NDArray[Any], what: str) -> Indices:
    """(N,) of (N, 1), as MedMNIST has it."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise InputError(f"{what} are {labels.shape[1]} of each image; a class is one of several")
    if labels.dtype.kind not in "iu":
        raise InputError(f"{what} must be whole numbers, 0 for the first class, not {labels.dtype}")
    numbers: Indices = labels.reshape(-1)
    return numbers


def _names(labels: Sequence[Indices]) -> tuple[str, ...]:
    """Numbers as names of classes, up to the highest label."""
    highest = max(int(of.max(initial=0)) for of in labels)
    if highest >= MOST_CLASSES:
        raise InputError(f"a label is {highest}: number the classes from 0; {MOST_CLASSES} are taken at most")
    return tuple(map(str, range(highest + 1)))


def _with_channels(images: Any) -> Any:
    return images[..., None] if isinstance(images, np.ndarray) and images.ndim == 3 else images


def _resized(images: Image, size: int | None) -> Image:
    """Averaged down by area to (N, size, size, C)."""
    if size is None:
        return images
    check_pixels(images, most=_LARGEST)
    edge, channels = images.shape[2:]
    if edge == size:
        return images
    if edge < size:
        raise InputError(f"images of {edge} x {edge} px cannot be averaged down to {size} px: take a smaller size")
    resampled = (area_resample(rows_of(as_rgb(image)), (edge, edge), (size, size)) for image in images)
    return np.stack([image[..., :channels] for image in resampled])


def _of_folder(
    source: ImageFolder | TileSet, size: int | None, column: str | None, classes: Sequence[str] = ()
) -> LabelledImages:
    """All images of a folder, or tiles; of the classes that are there, or of those given."""
    if column is None and isinstance(source, TileSet):
        raise InputError("tiles have several labels: say by which one they are classed, such as stain")
    known = source.labels(column or FOLDER)
    if lacking := [index for index, value in enumerate(known) if value is None]:
        where = f"the label {column}" if column else "a folder of the class's name, or a label that --condition names"
        which = f" ({first_few([source.names[index] for index in lacking])})" if isinstance(source, ImageFolder) else ""
        raise InputError(f"{len(lacking)} of {len(known)} images of {source}{which} have no class, which is {where}")
    names = tuple(classes) or tuple(sorted({str(value) for value in known}))
    if strangers := sorted({str(value) for value in known} - set(names)):
        raise InputError(f"{source} has images of {first_few(strangers)}; those to train on are of {', '.join(names)}")
    labels = np.array([names.index(str(value)) for value in known], np.int64)
    return LabelledImages(_pixels_of(source, size), labels, names)


def _pixels_of(source: ImageFolder | TileSet, size: int | None) -> Pixels:
    """All images, averaged down."""
    edges, grey = _looked_at(source) if isinstance(source, ImageFolder) else ([source.size(0)], False)
    if size is None:
        if min(edges) < max(edges):
            raise InputError(
                f"{source} has images of {min(edges)} to {max(edges)} px: say to which edge all are averaged down, "
                f"such as --size {min(edges)}"
            )
        size = min(edges)
    if min(edges) < size:
        raise InputError(f"{source} has images of {min(edges)} px, which cannot be averaged down to {size} px")
    return IndexedTiles(source, np.arange(len(source)), size, 1 if grey else 3)


def _looked_at(folder: ImageFolder) -> tuple[list[int], bool]:
    """Edges of the images, and whether all are grey; an :class:`InputError` with all that are none to train on."""
    headers = [folder.header(index) for index in range(len(folder))]
    faults = [
        f"{name}: {header.problem or f'{header.width} x {header.height} px, not square'}"
        for name, header in zip(folder.names, headers, strict=True)
        if header.problem or header.width != header.height
    ]
    if faults:
        raise InputError(f"cannot train on {len(faults)} of {len(headers)} images: {first_few(faults, '; ')}")
    return [header.width for header in headers], all(header.mode in _GREY for header in headers)


def _of_the_same(folders: Mapping[str, ImageFolder], size: int | None, column: str | None) -> dict[str, LabelledImages]:
    """Parts of the classes, the size and the channels of the first."""
    found: dict[str, LabelledImages] = {}
    for part, folder in folders.items():
        first = found.get("train")
        edge = size if first is None else first.shape[0]
        images = _of_folder(folder, edge, column, () if first is None else first.classes)
        if first is not None and images.shape != first.shape:
            raise InputError(f"{folder} has images of {images.shape}; those to train on are {first.shape}")
        found[part] = images
    return found


def _by_fold(source: ImageFolder | TileSet, images: LabelledImages, wanted: Sequence[str]) -> dict[str, LabelledImages]:
    """Parts by fold."""
    assert isinstance(images.pixels, IndexedTiles)
    of = np.array([_HELD_OUT.get(fold, "train") for fold in source.folds()])
    found = {}
    for part in wanted:
        chosen = np.flatnonzero(of == part)
        if len(chosen):
            found[part] = replace(images, pixels=replace(images.pixels, indices=chosen), labels=images.labels[chosen])
    told = [f"{np.count_nonzero(of == part)} to {_FOR[part]}" for part in PARTS if (of == part).any()]
    if len(told) > 1:
        note(f"{source}: {', '.join(told)}, by fold")
    if "train" not in found:
        raise InputError(f"all {len(images)} images of {source} are in folds 0 and 1, which are held out")
    return found
