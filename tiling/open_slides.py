"""Slides that are kept open for readers of many, in any order and from several threads."""

from __future__ import annotations

import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from tiling.backends.image import ImageBackend
from tiling.backends.ome_tiff import OmeTiffBackend
from tiling.backends.plain_tiff import PlainTiffBackend
from tiling.errors import InputError
from tiling.slide import Slide

OPEN_SLIDES = 128
"""How many slides are kept open where nobody says otherwise: 1 to 2 MB each, 7 where the finest level has 10^10 px."""

_SHARE = 4  # a quarter of the files that the process may have open, at one or two for a slide
_HELD = 1 << 30  # bytes of decoded pixels
_SEGMENTS = 1 << 26  # bytes of decoded segments that the reader of a TIFF keeps


class OpenSlides:
    """The slides that were used last, open.

    While a slide is opened, only those who want the same one wait for it; nobody waits while one is read. Slides that
    are dropped are not closed, since another thread may be reading them: their last user frees them.

    Attributes
    ----------
    process
        Id of the process that opened them. A forked child must open its own.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise InputError(f"open_slides is at least 1, not {most}")
        self.process = os.getpid()
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = most if files == resource.RLIM_INFINITY else max(1, min(most, files // _SHARE))
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, name: str, opened: Callable[[], Slide]) -> Slide:
        """The slide of this name, from `opened` if it is not there; what that raises is raised here."""
        with self._lock:
            kept = self._kept.setdefault(name, _Kept())
            self._kept.move_to_end(name)
        with kept.lock:
            if kept.slide is not None:
                return kept.slide
            slide = kept.slide = opened()
            kept.bytes = _held(slide)
        with self._lock:
            while len(self._kept) > 1 and self._too_much():
                self._kept.popitem(last=False)
        return slide

    def _too_much(self) -> bool:
        return len(self._kept) > self._most or sum(kept.bytes for kept in self._kept.values()) > _HELD


@dataclass
class _Kept:
    """A slide, from when it is wanted; the decoded pixels that it may hold, bytes; who opens it."""

    slide: Slide | None = None
    bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def _held(slide: Slide) -> int:
    """Bytes of decoded pixels that an open slide may hold."""
    if slide.backend == ImageBackend.name:
        width, height = slide.dimensions
        return 4 * width * height  # as Pillow holds them
    segmented = slide.backend in (OmeTiffBackend.name, PlainTiffBackend.name) and slide.cells(0) is None
    return _SEGMENTS if segmented else 0
