"""What a way of reading slides offers to :class:`tiling.slide.Slide`."""

from __future__ import annotations

import logging
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from tiling.wording import one_line

Image = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

# What a worker of 1 GiB can hold beside all else: of a piece of a file that is decoded at once (8192 x 8192 px of RGB),
# and of a picture that stays decoded.
LARGEST, LARGEST_PICTURE = 3 << 26, 3 << 27  # bytes
_FINEST_MPP, _COARSEST_MPP = 0.01, 20.0
_MOST_ANISOTROPIC = 1.02


# What Pillow, tifffile and imagecodecs raise on damaged files. There is no base class: a bad tag that tifffile parses
# to a tuple ends as a TypeError, a tile width of 0 as a ZeroDivisionError, a size of petabytes as a MemoryError, and
# imagecodecs raises RuntimeErrors. Only calls into these libraries may be guarded with it.
DAMAGED = (
    ArithmeticError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
)


# What tifffile logs about damaged files is told by our own errors; without a handler of the user's it would be printed.
logging.getLogger("tifffile").addHandler(logging.NullHandler())


class BackendError(Exception):
    """A file that a backend cannot open, or a region that it cannot read; the message is the reason."""


class DeclinedError(BackendError):
    """A file that is left to the next backend, whose verdict counts."""


class RefusedError(BackendError):
    """A file of a backend's own format that it cannot open, and that no other is to open as something else."""


class LostFileError(RefusedError):
    """A file that cannot be opened again, or a disk that does not give its bytes: no fault of the region asked for."""


def backend_error(error: Exception, kind: type[BackendError] = BackendError, what: str = "") -> BackendError:
    """What is told of one of :data:`DAMAGED`: an error of `kind`, or a :class:`LostFileError` if it is the disk's.

    A file system gives its errors a number; decoders that raise an OSError of bad data give none. `what` is said first.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return LostFileError(f"its disk does not answer: {error.strerror}")
    return kind(what + one_line(error))


def read_bytes(file: int, length: int, offset: int) -> bytes:
    """Bytes of an open file, fewer where it ends before; what a disk refuses is a :class:`LostFileError`, no damage."""
    try:
        return os.pread(file, length, offset)
    except OSError as error:
        raise backend_error(error) from error


class Level(NamedTuple):
    """One resolution of a slide: its size in its own pixels, and level-0 px per pixel."""

    width: int
    height: int
    downsample: float


class Backend(Protocol):
    """One way of reading slides. A new format is one file with such a class and one line in the registry."""

    name: ClassVar[str]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a slide; raise :class:`BackendError` with the reason if this backend cannot or does not want to."""

    @property
    def levels(self) -> tuple[Level, ...]:
        """The resolutions, finest first."""

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel, where the file says so credibly (see :func:`credible_mpp`)."""

    @property
    def objective_power(self) -> float | None:
        """Magnification of the objective, where the file says so."""

    @property
    def background(self) -> Colour | None:
        """The colour of empty areas, where the file says so."""

    @property
    def properties(self) -> Mapping[str, str]:
        """What the file says about itself."""

    @property
    def icc_profile(self) -> bytes | None:
        """The colour profile of the pixels, as it stands in the file."""

    def read(self, *, x: int, y: int, width: int, height: int, level: int) -> Image:
        """Read a region: (height, width, 3) uint8 RGB, or (height, width, 4) with straight alpha.

        `x`, `y` are in level-0 px, `width`, `height` in px of `level`. Areas outside the slide have alpha 0; a
        region without transparency may come without the alpha channel. Raises :class:`BackendError`.
        """

    def close(self) -> None:
        """Release the file; closing twice is fine."""


def credible_mpp(x: float | None, y: float | None) -> float | None:
    """Mean resolution in micrometres per pixel, or None where the two numbers cannot be a microscope's.

    Many TIFF writers fill in 72 dpi (352.8 micrometres per pixel) for want of anything better; taking that at its
    word would make tiles of the wrong scale without a sign. Pixels that are not square are refused likewise.
    """
    if x is None or y is None or not (math.isfinite(x) and math.isfinite(y)):
        return None
    finest, coarsest = sorted((x, y))
    if finest < _FINEST_MPP or coarsest > _COARSEST_MPP or coarsest > _MOST_ANISOTROPIC * finest:
        return None
    return (x + y) / 2


def refuse_deep_pixels(dtype: np.dtype[np.generic]) -> None:
    """Refuse pixels of other than 8 bits.

    Which part of a 16-bit range is the picture (12 bits of a camera? a display window?) is not in the file. Any
    automatic choice would change colours from slide to slide, so the user makes it.
    """
    if dtype != np.uint8:
        raise BackendError(f"has {dtype} pixels, not 8-bit ones; convert it with the display range that you want")
