"""Scanners' formats through OpenSlide."""

from __future__ import annotations

import functools
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import openslide
import tifffile
from PIL import Image as PillowImage

from tiling.backends.base import (
    DAMAGED,
    BackendError,
    Colour,
    Image,
    Level,
    LostFileError,
    backend_error,
    credible_mpp,
    refuse_deep_pixels,
)
from tiling.backends.disk import Disk
from tiling.backends.scanners import refuse_where_a_label_comes_first

_BAND = 1 << 20  # px
_ICC_SIZE = "openslide.icc-size"
_CACHED = 1 << 26  # bytes of decoded cells that all open slides of a process keep together


class OpenSlideBackend:
    """Whatever OpenSlide opens."""

    name: ClassVar[str] = "openslide"

    def __init__(self, path: Path, handle: openslide.OpenSlide) -> None:
        """Take over an open slide; an OpenSlideError if its colour profile cannot be read."""
        self._path = path
        self._handle = handle
        self._disk = Disk(path)
        self.properties: Mapping[str, str] = dict(handle.properties)
        self.levels = tuple(
            Level(width, height, downsample)
            for (width, height), downsample in zip(handle.level_dimensions, handle.level_downsamples, strict=True)
        )
        self.icc_profile: bytes | None = None
        if _ICC_SIZE in self.properties:
            outside = handle.read_region((-1, -1), 0, (1, 1))  # decodes nothing
            self.icc_profile = outside.info.get("icc_profile")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a slide with OpenSlide."""
        handle = _opened(path)
        try:
            backend = cls(path, handle)
        except openslide.OpenSlideError as error:
            handle.close()
            raise _refusal(path, error) from error
        if backend.properties.get(openslide.PROPERTY_NAME_VENDOR) == "generic-tiff":
            _refuse_what_openslide_misreads(path)
        return backend

    @property
    def mpp(self) -> float | None:
        """Micrometres per level-0 pixel."""
        return credible_mpp(self._number(openslide.PROPERTY_NAME_MPP_X), self._number(openslide.PROPERTY_NAME_MPP_Y))

    @property
    def objective_power(self) -> float | None:
        """Magnification of the objective."""
        return self._number(openslide.PROPERTY_NAME_OBJECTIVE_POWER)

    @property
    def background(self) -> Colour | None:
        """The colour of areas that were not scanned."""
        colour = self.properties.get(openslide.PROPERTY_NAME_BACKGROUND_COLOR)
        if colour is None:
            return None
        red, green, blue = bytes.fromhex(colour)
        return red, green, blue

    def read(self, *, x: int, y: int, width: int, height: int, level: int) -> Image:
        """Read a region as RGBA."""
        region = (x, y), level, (width, height)
        try:
            return _pixels(self._handle.read_region(*region))
        except openslide.OpenSlideError:
            pass
        self._disk.check()  # OpenSlide's errors do not tell a disk that fails from data that are bad
        # After one unreadable cell a handle fails on every further region. Another region may have met that cell, in
        # this or another thread, so a new handle tells whether this one is to blame. The old handle is not closed,
        # since others may be reading by it: its last user frees it.
        try:
            fresh = _opened(self._path)
        except BackendError as error:
            raise LostFileError(str(error)) from error
        try:
            pixels = _pixels(fresh.read_region(*region))
        except openslide.OpenSlideError as error:
            fresh.close()
            raise BackendError(str(error)) from error
        self._handle = fresh
        return pixels

    def close(self) -> None:
        """Release the file; closing twice is fine."""
        if self._handle not in _inherited:
            self._handle.close()

    def _number(self, name: str) -> float | None:
        try:
            return float(self.properties[name])
        except (KeyError, ValueError):
            return None


def _opened(path: Path) -> openslide.OpenSlide:
    try:
        handle = openslide.OpenSlide(path)
    except openslide.OpenSlideError as error:
        raise _refusal(path, error) from error
    handle.set_cache(_cache(os.getpid()))
    _handles.add(handle)
    return handle


def _refusal(path: Path, error: openslide.OpenSlideError) -> BackendError:
    """What is told of a file that OpenSlide does not open; a :class:`LostFileError` is raised if its disk is ill.

    Others would open such a file as a picture without pyramid and resolution.
    """
    Disk(path).check_ends()
    return BackendError(str(error))


@functools.cache  # a parent's is kept in a forked child, too, see `_inherit`
def _cache(process: int) -> openslide.OpenSlideCache:
    """One for all slides of a process, since many may be open; never a parent's, whose lock may be held."""
    return openslide.OpenSlideCache(_CACHED)


def _inherit() -> None:
    """Keep all that a parent had open, in a forked child.

    Freeing a handle or a cache takes the cache's lock. A thread of the parent may have held that when it forked, and
    in the child nobody releases it.
    """
    _inherited.extend(_handles)


_handles: weakref.WeakSet[openslide.OpenSlide] = weakref.WeakSet()  # all that are open
_inherited: list[openslide.OpenSlide] = []  # those of a parent, which are never closed here
os.register_at_fork(after_in_child=_inherit)


def _pixels(region: PillowImage.Image) -> Image:
    """A region as an array: in bands, since Pillow makes two copies of what it hands out."""
    pixels = np.empty((region.height, region.width, 4), np.uint8)
    rows = max(1, _BAND // region.width)
    for top in range(0, region.height, rows):
        bottom = min(top + rows, region.height)
        pixels[top:bottom] = np.asarray(region.crop((0, top, region.width, bottom)))
    return pixels


def _refuse_what_openslide_misreads(path: Path) -> None:
    """Refuse TIFFs of 16-bit pixels, of which OpenSlide drops the lower 8 bits, and those it may read a label of."""
    try:
        with tifffile.TiffFile(path) as file:
            dtype = np.dtype(file.pages[0].dtype)
            refuse_where_a_label_comes_first(file.pages[0])
    except DAMAGED as error:
        raise backend_error(error) from error
    refuse_deep_pixels(dtype)
