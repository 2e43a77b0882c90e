"""A walk through the latents of a generator: a film without end, in which one image turns into the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image as PillowImage

from hdgan.checks import check_number
from hdgan.conditions import Conditions
from hdgan.labels import Image
from hdgan.latents import Latents
from hdgan.stylegan2 import Generator, render
from tiling.errors import InputError
from tiling.files import replacing
from tiling.progress import bar

FORMATS: Mapping[str, str] = MappingProxyType({".webp": "WEBP", ".png": "PNG", ".gif": "GIF"})
_MILLISECONDS = 40  # of a frame
_QUALITY = 90  # of WebP


def latent_walk(
    generator: Generator,
    out: Path,
    seeds: Sequence[int],
    *,
    frames: int = 30,
    psi: float = 0.7,
    of_class: str | None = None,
    size: int = 512,
) -> Path:
    """Write a film that goes through the images of seeds and back to the first, 25 frames a second.

    w goes from seed to seed on a closed cubic spline through them all (Catmull and Rom 1974), so that it neither stops
    nor turns sharply at any. Noise is the maps that the generator stores, as other noise would flicker. The same call
    gives the same frames.

    Parameters
    ----------
    generator
        In evaluation mode; images are made on its device.
    out
        The film, whole or absent: animated WebP, PNG or GIF by its suffix. Of WebP one frame at a time is in memory, of
        the others all are.
    seeds
        At least two; -1 is the mean w.
    frames
        From each seed to the next.
    psi
        Truncation.
    of_class
        Name or number of the class of all, where the generator has a condition; by default each seed draws its own, and
        the film goes from class to class.
    size
        Edge of the film, px: larger images are averaged down to it.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    InputError
        For another suffix, a single seed, and numbers that cannot be.
    """
    walk_format(out)
    if len(seeds) < 2:
        raise InputError(f"a walk goes through at least 2 seeds, not {len(seeds)}")
    check_number("frames", frames, 1, 10_000)
    check_number("size", size, 8, 16_384)
    c = Conditions.of(generator).of_seeds(seeds, of_class)
    path = _on_the_way(Latents.sample(generator, seeds, psi=psi, c=c, noise="const"), frames)

    def draw(index: int) -> Image:
        return next(render(generator, path.subset([index])))

    with replacing(out) as partial, bar("walk", total=len(path)) as show:
        film = _Film(draw, len(path), size, show)
        film.save(partial, walk_format(out), save_all=True, duration=_MILLISECONDS, loop=0, quality=_QUALITY)
    return out


def walk_format(out: Path) -> str:
    """Pillow's name of a film's format, by the suffix; an :class:`InputError` if it is that of no film."""
    if out.suffix.lower() not in FORMATS:
        raise InputError(f"a walk is a file that ends in {', '.join(FORMATS)}, not {out.name}")
    return FORMATS[out.suffix.lower()]


def _on_the_way(stops: Latents, frames: int) -> Latents:
    """Latents of all frames of a walk, `frames` from each stop to the next, the last before the first again."""
    segment = np.repeat(np.arange(len(stops)), frames)
    before, start, end, after = (stops.w[(segment + step) % len(stops), 0] for step in (-1, 0, 1, 2))
    t = np.tile(np.arange(frames) / frames, len(stops)).astype(np.float32)[:, None]
    bend = t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
    w = start + t / 2 * (end - before + bend)
    held = stops.subset(segment.tolist())  # what a frame is not made of: the seed, z and class of its stop
    return Latents(held.seed, held.z, np.broadcast_to(w[:, None], held.w.shape), held.psi, held.c, held.noise)


class _Film(PillowImage.Image):
    """Frames that are drawn when Pillow asks for them, one after the other, as it does of files with many."""

    def __init__(self, draw: Callable[[int], Image], frames: int, edge: int, show: Callable[..., None]) -> None:
        super().__init__()
        self._draw, self.n_frames, self._edge, self._show = draw, frames, edge, show
        self._take(0)

    def seek(self, frame: int) -> None:
        """Draw a frame, unless it is the present one."""
        if frame >= self.n_frames:
            raise EOFError(f"no frame {frame} of {self.n_frames}")
        if frame != self._at:
            self._take(frame)
        if frame:  # Pillow goes back to the first at the end
            self._show(completed=frame + 1)

    def tell(self) -> int:
        """The present frame."""
        return self._at

    def _take(self, frame: int) -> None:
        picture = PillowImage.fromarray(self._draw(frame))
        picture.thumbnail((self._edge, self._edge), PillowImage.Resampling.BOX, reducing_gap=None)
        self.im, self._mode, self._size, self._at = picture.im, picture.mode, picture.size, frame
