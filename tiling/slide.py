"""One slide, whatever its format."""

from __future__ import annotations

import functools
import math
import operator
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import NamedTuple, Self

import numpy as np

from tiling.backends import BACKENDS
from tiling.backends.base import Backend, BackendError, Colour, DeclinedError, Image, Level, RefusedError
from tiling.cells import MadeOfCells, SourceCells
from tiling.choices import Icc, chosen
from tiling.colour import ToSrgb
from tiling.damage import DamagedCell, salvaged
from tiling.errors import InputError, is_passing
from tiling.ngff import is_zarr
from tiling.resample import area_resample, rows_of
from tiling.tissue import has_dark_background

# What is looked at to tell bright field from fluorescence: the coarsest level, or patches of it if that is large.
_WHOLE, _PATCHES, _PATCH = 1 << 20, 8, 64
_BAND = 1 << 20  # px that are laid over the background at once
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def open_slide(path: str | os.PathLike[str], *, icc: str = "none") -> Slide:
    """Open a slide of any format that a backend knows (see :mod:`tiling.backends`).

    Parameters
    ----------
    path
        A scanner's file, an OME-TIFF, a PNG, JPEG or TIFF picture, or the folder of an OME-Zarr.
    icc
        "srgb" to convert its pixels from its colour profile to sRGB; "none" to read them as they are, as where it
        has no profile (see :class:`tiling.choices.Icc`).

    Returns
    -------
    Slide
        Use it as a context manager, or close it.

    Raises
    ------
    InputError
        If there is no such file, or no backend can open it; the message holds each backend's reason. Also if its
        colour profile is asked for and cannot be used.
    """
    path, treatment = Path(path), chosen(Icc, icc, option="icc")
    if not path.exists():
        if path.is_symlink():
            raise InputError(f"{path} is a link to a file that is not there")
        raise InputError(f"no such slide: {path}")
    if path.is_dir() and not is_zarr(path):
        raise InputError(f"{path} is a folder; name one slide in it")
    refused_by: dict[str, list[str]] = {}
    passing: BackendError | None = None
    for backend in BACKENDS:
        try:
            opened = backend.open(path)
        except DeclinedError:
            continue
        except BackendError as error:
            refused_by.setdefault(str(error), []).append(backend.name)
            passing = error if is_passing(error) else passing
            if isinstance(error, RefusedError):
                break
        else:
            return Slide(path, opened, icc=treatment)
    reasons = "; ".join(f"{reason} ({', '.join(names)})" for reason, names in refused_by.items())
    raise InputError(f"cannot open {path} as a slide: {reasons}") from passing


class Slide:
    """An open slide; made by :func:`open_slide`. Its label and macro images are never read."""

    def __init__(self, path: Path, backend: Backend, *, icc: Icc = Icc.NONE) -> None:
        self.path = path
        self.icc = icc
        self._backend = backend
        self._closed = False
        self._to_srgb: ToSrgb | None = None
        if icc is Icc.SRGB and (profile := backend.icc_profile) is not None:
            try:
                self._to_srgb = ToSrgb(profile)
            except InputError as error:
                backend.close()
                raise InputError(f"{path} has a colour profile that cannot be used ({error}); use icc none") from error

    @property
    def icc_applied(self) -> bool:
        """Whether pixels are converted to sRGB: this was asked for, and the slide has a colour profile."""
        return self._to_srgb is not None

    @property
    def backend(self) -> str:
        """Name of the backend that reads it."""
        return self._backend.name

    def cells(self, level: int) -> SourceCells | None:
        """The compressed cells of a level; None where it is not read cell by cell. A ValueError if it is closed."""
        self._check_open()
        return self._backend.source_cells(level) if isinstance(self._backend, MadeOfCells) else None

    @property
    def dimensions(self) -> tuple[int, int]:
        """Width and height, level-0 px."""
        return self._backend.levels[0][:2]

    @property
    def levels(self) -> list[Level]:
        """(width, height, downsample) of every level, finest first: px of the level, level-0 px per pixel."""
        return list(self._backend.levels)

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel; None where the file says nothing, or nothing a microscope could give."""
        return self._backend.mpp

    @property
    def objective_power(self) -> float | None:
        """Magnification of the objective, if known."""
        return self._backend.objective_power

    @property
    def properties(self) -> Mapping[str, str]:
        """What the file says about itself, under the backend's names."""
        return MappingProxyType(dict(self._backend.properties))

    @functools.cached_property
    def dark_background(self) -> bool:
        """Whether empty areas are dark (fluorescence) and not bright (bright field), by the look of the slide."""
        level = len(self.levels) - 1
        width, height, downsample = self.levels[level]
        if width * height <= _WHOLE:
            return has_dark_background(_opaque(self._salvaged(0, 0, width, height, level)[0]))
        patches = [
            _opaque(self._salvaged(round(x * downsample), round(y * downsample), _PATCH, _PATCH, level)[0])
            for y in np.linspace(0, max(0, height - _PATCH), _PATCHES, dtype=int)
            for x in np.linspace(0, max(0, width - _PATCH), _PATCHES, dtype=int)
        ]
        return has_dark_background(np.concatenate(patches))

    @functools.cached_property
    def background(self) -> Colour:
        """The colour given to areas without pixels: the file's own, else white or black by the kind of slide."""
        if self._backend.background is not None:
            return self._backend.background
        return _BLACK if self.dark_background else _WHITE

    def read(self, *, x: int, y: int, width: int, height: int, level: int = 0) -> Image:
        """Read a region.

        Parameters
        ----------
        x, y
            Upper left corner, level-0 px. May lie outside the slide.
        width, height
            Size, px of `level`.
        level
            Index into :attr:`levels`.

        Returns
        -------
        (height, width, 3) uint8
            Areas that lie outside the slide or were not scanned have the colour :attr:`background`.

        Raises
        ------
        InputError
            If the level does not exist, the size is not positive, or the region cannot be decoded. Other regions
            can still be read then.
        ValueError
            If the slide is closed.
        """
        place = self._place(x, y, width, height, level)
        try:
            region = self._backend.read(**place._asdict())
        except BackendError as error:
            raise InputError(f"cannot read {place} from {self.path}: {error}") from error
        return self._finished(region)

    def salvage(
        self, *, x: int, y: int, width: int, height: int, level: int = 0
    ) -> tuple[Image, tuple[DamagedCell, ...]]:
        """Read what can be decoded of a region.

        Parameters
        ----------
        x, y, width, height, level
            As for :meth:`read`.

        Returns
        -------
        region
            (height, width, 3) uint8. As :meth:`read` gives it; damaged cells have the colour :attr:`background`.
        damage
            The cells that cannot be decoded, in reading order: of the file's own grid where its format has one,
            else blocks of 256 px.

        Raises
        ------
        InputError
            If the level does not exist, the size is not positive, or the file itself is no longer there.
        ValueError
            If the slide is closed.
        """
        region, damage = self._salvaged(*self._place(x, y, width, height, level))
        return self._finished(region), damage

    def thumbnail(self, max_size: int) -> Image:
        """The whole slide at most `max_size` px wide and high, never enlarged: (height, width, 3) uint8.

        Averaged down from the next finer level, in bands, so that memory stays bounded also without a pyramid. What
        is damaged in that level is taken from finer ones; the colour :attr:`background` stands for what is in none.
        An :class:`InputError` if that is the whole slide.
        """
        return self.salvage_thumbnail(max_size)[0]

    def salvage_thumbnail(self, max_size: int) -> tuple[Image, tuple[DamagedCell, ...]]:
        """As :meth:`thumbnail`; and the cells, all of level 0, that are background in it since no level has them."""
        if max_size < 1:
            raise InputError(f"a thumbnail has at least 1 px, not {max_size}")
        width, height = self.dimensions
        scale = max(1.0, max(width, height) / max_size)
        size = max(1, round(height / scale)), max(1, round(width / scale))
        fitting = [i for i, level in enumerate(self.levels) if level.height >= size[0] and level.width >= size[1]]
        source = self.levels[fitting[-1]]
        lost: set[DamagedCell] = set()

        def read_rows(start: int, stop: int) -> Image:
            y = round(start * source.downsample)
            band, damage = self._mended(x=0, y=y, width=source.width, height=stop - start, level=fitting[-1])
            lost.update(damage)
            return band

        thumbnail = area_resample(read_rows, (source.height, source.width), size)
        if sum(cell.width * cell.height for cell in lost) >= width * height:
            first = min(lost)
            self.read(x=first.x, y=first.y, width=first.width, height=first.height)  # raises with the reason
        return thumbnail, tuple(sorted(lost))

    def close(self) -> None:
        """Close the slide; reading from it afterwards is an error, closing again is not."""
        self._closed = True
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        width, height = self.dimensions
        state = ", closed" if self._closed else ""
        return f"Slide({str(self.path)!r}, {width} x {height}, {self.backend}{state})"

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"{self.path} is closed; read it inside its `with open_slide(...)` block")

    def _place(self, x: int, y: int, width: int, height: int, level: int) -> _Place:
        """A region that can be asked for; an error if it cannot."""
        self._check_open()
        if not 0 <= level < len(self._backend.levels):
            raise InputError(f"{self.path} has levels 0 to {len(self._backend.levels) - 1}, not {level}")
        if width < 1 or height < 1:
            raise InputError(f"a region has at least 1 x 1 px, not {width} x {height}")
        return _Place(*map(operator.index, (x, y, width, height, level)))

    def _salvaged(self, x: int, y: int, width: int, height: int, level: int) -> tuple[Image, tuple[DamagedCell, ...]]:
        """What can be decoded of a region as the backend gives it, RGB or RGBA; and the cells that cannot."""
        place = self._place(x, y, width, height, level)
        try:
            return salvaged(self._backend, **place._asdict())
        except BackendError as error:
            raise InputError(f"cannot read {place} from {self.path}: {error}") from error

    def _mended(self, *, x: int, y: int, width: int, height: int, level: int) -> tuple[Image, tuple[DamagedCell, ...]]:
        """A region whose damaged cells are averaged down from the next finer level that has them.

        And the damaged cells of level 0, for want of which it has background.
        """
        region, damage = self.salvage(x=x, y=y, width=width, height=height, level=level)
        if level == 0:
            return region, damage
        lost: list[DamagedCell] = []
        downsample, finer = self.levels[level].downsample, self.levels[level - 1].downsample
        for cell in damage:
            x0, y0 = max(0, round((cell.x - x) / downsample)), max(0, round((cell.y - y) / downsample))
            x1 = min(width, round((cell.x + cell.width - x) / downsample))
            y1 = min(height, round((cell.y + cell.height - y) / downsample))
            if x0 >= x1 or y0 >= y1:
                continue
            extent = (y1 - y0) * downsample / finer, (x1 - x0) * downsample / finer
            source, missing = self._mended(
                x=x + round(x0 * downsample),
                y=y + round(y0 * downsample),
                width=math.ceil(extent[1]),
                height=math.ceil(extent[0]),
                level=level - 1,
            )
            region[y0:y1, x0:x1] = area_resample(rows_of(source), extent, (y1 - y0, x1 - x0))
            lost.extend(missing)
        return region, tuple(lost)

    def _finished(self, region: Image) -> Image:
        """A backend's region in the colours asked for, laid over the background where it has no pixels."""
        if self._to_srgb is not None:
            region = self._to_srgb(region)
        if region.shape[2] == 3:
            return region
        if (region[..., 3] == 255).all():
            return np.ascontiguousarray(region[..., :3])
        return _composited(region, self.background)


class _Place(NamedTuple):
    x: int
    y: int
    width: int
    height: int
    level: int

    def __str__(self) -> str:
        return f"{self.width} x {self.height} px at x={self.x}, y={self.y} of level {self.level}"


def _opaque(region: Image) -> Image:
    """The pixels of a region that were scanned, (n, 3)."""
    return region[..., :3][region[..., 3] == 255] if region.shape[2] == 4 else region.reshape(-1, 3)


def _composited(region: Image, colour: Colour) -> Image:
    """Lay a region with straight alpha over a colour: in bands, since the steps take 30 bytes for each pixel."""
    height, width = region.shape[:2]
    result = np.empty((height, width, 3), np.uint8)
    rows = max(1, _BAND // width)
    for top in range(0, height, rows):
        band = region[top : top + rows]
        alpha = band[..., 3:].astype(np.uint16)
        over = band[..., :3] * alpha + np.asarray(colour, np.uint16) * (255 - alpha)
        result[top : top + rows] = (over + 127) // 255
    return result
