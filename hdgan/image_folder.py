"""A folder of images to train on: which they are, what is wrong with them, what they are labelled. Needs no torch."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image as PillowImage
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from hdgan.cut_off import is_cut_off
from hdgan.labels import Image
from tiling.errors import InputError
from tiling.slide_table import read_slide_table
from tiling.wording import one_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
FOLDER = "folder"
"""The label that the name of an image's sub-folder is."""
FOLDS = 5
"""How many folds images are shared out to where no table says."""

_OPENERS: dict[bytes, Callable[[Path], ImageFile]] = {
    b"\x89PNG": PngImageFile,
    b"\xff\xd8\xff": JpegImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
    b"II+\0": TiffImageFile,
    b"MM\0+": TiffImageFile,
}
_MODES = ("RGB", "RGBA", "L", "LA", "P")
_PNG_BIT_DEPTH_AT, _TIFF_BITS = 24, 258
_UNREADABLE = (OSError, SyntaxError, KeyError, ValueError, TypeError, IndexError, EOFError)  # what Pillow raises
_REPLACE = "put whole copies in their place"
_REMOVE = "remove what is no image to train on"


@dataclass(frozen=True)
class Header:
    """What an image's file says of it.

    Attributes
    ----------
    width, height
        px; 0 where it cannot be read.
    mode
        Pillow's name of its kind of pixels: "RGB", "L" for grey, ...
    problem
        Why it cannot be trained on, whatever its size, in words; empty if it can.
    repair
        What to do with images that have the problem, in words.
    """

    width: int
    height: int
    mode: str
    problem: str = ""
    repair: str = ""


class ImageFolder:
    """Images by number, in the order of their names: PNG, JPEG and TIFF of 8 bits, in a folder and those below it.

    Of hidden files and folders, whose names begin with a dot, nothing is read. Grey images and those with a palette
    become RGB, which changes no colour; so do those with an alpha channel that is opaque everywhere. Colour profiles
    and orientations that cameras note are passed over. All else is no image to train on: :meth:`header` tells why.

    Parameters
    ----------
    path
        The folder.
    labels
        CSV file with a column `image` (path below the folder, file name, or file name without suffix), whose other
        columns are labels. A column `fold` (whole numbers) tells the folds, a column `patient` whose images they are.

    Attributes
    ----------
    names
        Paths below the folder, with slashes.

    Raises
    ------
    InputError
        If there is no such folder, no image in it, or the table cannot be read.
    """

    def __init__(self, path: Path | str, *, labels: Path | str | None = None) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"no folder of images at {path}")
        self.names = tuple(sorted(self._found()))
        if not self.names:
            raise InputError(f"{path} holds no image: none of its files ends in {', '.join(SUFFIXES)}")
        self._labels = {FOLDER: [_folder_of(name) for name in self.names]}
        if labels is not None:
            table = read_slide_table(Path(labels), of="image")
            said = table.by_slide(self.names)
            self._labels |= {column: [said.get(n, {}).get(column) for n in self.names] for column in table.columns}

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        return f"ImageFolder({str(self.path)!r}, {len(self)} images)"

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the names and sizes of the files, SHA-256 in hex; their bytes are not read."""
        sizes = [(name, (self.path / name).stat().st_size) for name in self.names]
        return hashlib.sha256(json.dumps(sizes).encode()).hexdigest()

    def labels(self, name: str) -> list[str | None]:
        """A label of every image, None where nobody knows; an :class:`InputError` if there is no such label."""
        if name not in self._labels:
            raise InputError(f"the images have no label {name!r}; there are: {', '.join(self._labels)}")
        return self._labels[name]

    def folds(self) -> list[int]:
        """The fold of every image: as the labels say, else one of :data:`FOLDS` by a hash.

        The hash is of the patient where the labels tell that, else of the image's name; so an image stays in its fold
        when others are added.

        Raises
        ------
        InputError
            If the labels tell the folds, or the patients, of some images only, or a fold is no whole number.
        """
        if "fold" in self._labels:
            folds = self._known("fold")
            if odd := [fold for fold in folds if not fold.isdecimal()]:
                raise InputError(f"folds are whole numbers in the column `fold` of the labels, not {odd[0]!r}")
            return [int(fold) for fold in folds]
        keys = self._known("patient") if "patient" in self._labels else self.names
        return [int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little") % FOLDS for key in keys]

    def header(self, index: int) -> Header:
        """What an image's file says of it; only an alpha channel is decoded for it."""
        try:
            with self._opened(index) as picture:
                problem, repair = _problem_of(picture, self.path / self.names[index])
                return Header(*picture.size, picture.mode, problem, repair)
        except InputError as error:
            problem = str(error).removeprefix(f"{self.path / self.names[index]}: ")
            return Header(0, 0, "", problem, f"{_REPLACE}, or {_REMOVE}")

    def read(self, index: int) -> Image:
        """Read an image, (height, width, 3) uint8; an :class:`InputError` if it cannot be decoded."""
        try:
            with self._opened(index) as picture:
                return np.array(picture.convert("RGB"))
        except InputError as error:
            raise InputError(
                f"{error}; put a whole copy in its place, or remove it, and run the same command again (a training "
                "takes --redo if the sizes or names of its files are others now)"
            ) from error

    def _found(self) -> Iterator[str]:
        for path in self.path.rglob("*"):
            name = path.relative_to(self.path)
            if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in name.parts):
                yield name.as_posix()

    def _known(self, label: str) -> list[str]:
        values = [value for value in self._labels[label] if value]
        if lacking := len(self) - len(values):
            raise InputError(f"the labels have a column `{label}`, but say nothing there for {lacking} of {len(self)}")
        return values

    @contextlib.contextmanager
    def _opened(self, index: int) -> Iterator[ImageFile]:
        """An image of any size, decoded when asked for: `PIL.Image.open` would take a large one for an attack."""
        path = self.path / self.names[index]
        try:
            with path.open("rb") as file:
                head = file.read(4)
            opener = next((each for magic, each in _OPENERS.items() if head.startswith(magic)), None)
            if opener is None:
                raise InputError(f"{path}: neither PNG, JPEG nor TIFF")
            with opener(path) as picture:
                yield picture
        except _UNREADABLE as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{path}: cannot be read ({one_line(error)})") from error


def _folder_of(name: str) -> str | None:
    """The first of the folders that an image lies in."""
    parts = PurePosixPath(name).parts
    return parts[0] if len(parts) > 1 else None


def _problem_of(picture: ImageFile, path: Path) -> tuple[str, str]:
    """Why the pixels of an image are none to train on, and what to do, in words; empty if they are."""
    if is_cut_off(picture, path):
        return "cut off, as the end of the file is missing", _REPLACE
    if _bits(picture, path) > 8:
        return "more than 8 bits a channel", "convert to 8"
    if picture.mode == "1":
        return "black and white only, as masks are", _REMOVE
    if picture.mode not in _MODES:
        return "neither RGB nor grey of 8 bits", "convert to RGB"
    if getattr(picture, "n_frames", 1) > 1:
        return f"{getattr(picture, 'n_frames', 1)} pictures in one file", "tile slides with `hdgan tile`"
    if picture.has_transparency_data and _least_alpha(picture) < 255:
        return "transparent in places", "put on a background"
    return "", ""


def _bits(picture: ImageFile, path: Path) -> int:
    """Bits of a channel, which Pillow would silently cut down to 8."""
    if isinstance(picture, PngImageFile):
        with path.open("rb") as file:
            file.seek(_PNG_BIT_DEPTH_AT)
            return file.read(1)[0]
    if isinstance(picture, TiffImageFile):
        return int(max(picture.tag_v2.get(_TIFF_BITS, (1,))))
    return 8


def _least_alpha(picture: PillowImage.Image) -> int:
    return int(np.asarray(picture.convert("RGBA").getchannel("A")).min())
