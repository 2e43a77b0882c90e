"""Images and features window by window: of the fine blocks nothing is ever whole.

A whole pass holds several maps of the image's resolution, of 0.5 GiB each at 4096 px. Here the coarse blocks alone are
computed whole, and kept. For every window the fine blocks run on a crop of what the coarse ones left, so much larger
than the window that the zeros, which convolutions pad around a crop as around an image, do not reach it. Where a crop
ends with the image they are those of the whole pass.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from hdgan.checks import check_number
from hdgan.features.patch import Patch, Window, check_window, native_span
from hdgan.stylegan2.data import Pixels, to_uint8
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.layout import Layout
from hdgan.stylegan2.noise_parts import NoiseParts, noise_parts
from hdgan.stylegan2.ops import channels_last
from hdgan.stylegan2.synthesis import Draws, Features, NoiseMode, SynthesisBlock, named
from tiling.errors import InputError

_WHOLE_BYTES = 2**25  # of the maps of a block that is computed whole; a few such are there at a time
_MARGIN = 3  # px of a block's outputs that the zeros around its input reach: two by doubling, one by the next layer
_EDGE = 512  # px of the windows that a whole image is put together from


def synthesize_windows(
    network: Generator,
    /,
    w: Tensor,
    *,
    window: int = 512,
    blocks: int = 5,
    noise: NoiseMode = "const",
    generator: Draws = None,
) -> Iterator[Window]:
    """The image of one latent and its features, window by window, row by row, in bounded memory.

    Joined they are what `network.image_and_features` gives for the same arguments, but for the rounding of float32: the
    same noise is drawn, and no border of a window is seen.

    Parameters
    ----------
    network
        The generator; it computes where its parameters are.
    w
        (1, num_ws, w_dim).
    window
        Edge in px; windows at the right and lower border of the image are smaller if it does not divide the image.
    blocks
        Features are those of the last so many blocks (see :meth:`Generator.features`); 0 for images alone.
    noise, generator
        As for `network.synthesis`. Of stored noise that is in a file (see :func:`load_generator`) no more than a window
        needs is in memory. Of drawn noise maps of up to 4096 px are kept, 0.18 GB in all; of larger ones the rows of
        a window, where the CPU draws them. Noise that a GPU draws is kept whole: 2.9 GB at 16384 px.

    Yields
    ------
    Window
        Position, image (h, w, 3) uint8 and {layer: Patch} with tensors on the generator's device. `upsampled()` gives
        the features of every pixel, (C, h, w) float32.

    Raises
    ------
    InputError
        For w of more than one latent or of another shape, and other arguments that make no sense.

    Examples
    --------
    >>> g = Generator(resolution=16, z_dim=8, w_dim=8, channel_base=128, mapping_layers=2)
    >>> windows = synthesize_windows(g, g.mapping(torch.randn(1, 8)), window=12, blocks=1)
    >>> [(window.y, window.x, window.upsampled().shape) for window in windows]
    [(0, 0, (16, 12, 12)), (0, 12, (16, 12, 4)), (12, 0, (16, 4, 12)), (12, 12, (16, 4, 4))]
    """
    _check(network, w, blocks, noise, generator)
    check_number("window", window, 1, 2**31)
    return _windows(network, w, window, blocks, noise, generator)


def _check(network: Generator, w: Tensor, blocks: int, noise: NoiseMode, generator: Draws) -> None:
    network.synthesis.check(w, blocks, noise, generator)
    if len(w) != 1:
        raise InputError(f"windows are made of one latent at a time, and w holds {len(w)}; pass w[i : i + 1]")


def synthesize_image(
    network: Generator, /, w: Tensor, *, noise: NoiseMode = "const", generator: Draws = None
) -> Pixels:
    """The image (R, R, 3) uint8 of one latent, put together from windows: see :func:`synthesize_windows`."""
    size = network.resolution
    image = np.empty((size, size, 3), np.uint8)
    for part in synthesize_windows(network, w, window=_EDGE, blocks=0, noise=noise, generator=generator):
        height, width = part.image.shape[:2]
        image[part.y : part.y + height, part.x : part.x + width] = part.image
    return image


class _Span(NamedTuple):
    """Pixels [start, stop) of a map along one axis."""

    start: int
    stop: int

    def source(self, size: int) -> _Span:
        """What a block needs of its input, which has `size` px, so that these of its outputs are right."""
        return _Span(max((self.start - _MARGIN) // 2, 0), min((self.stop + _MARGIN + 1) // 2, size))

    def within(self, origin: _Span) -> slice:
        return slice(self.start - origin.start, self.stop - origin.start)

    def native(self, scale: int) -> _Span:
        """What upsampling to these pixels needs; it may reach past the map."""
        return _Span(*native_span(self.start, self.stop - self.start, scale))

    def clipped(self, other: _Span) -> _Span:
        return _Span(max(self.start, other.start), min(self.stop, other.stop))


class _Area(NamedTuple):
    """Part of the maps of one resolution."""

    rows: _Span
    columns: _Span

    @classmethod
    def whole(cls, size: int) -> _Area:
        return cls(_Span(0, size), _Span(0, size))

    def source(self, size: int) -> _Area:
        return _Area(self.rows.source(size), self.columns.source(size))

    def doubled(self) -> _Area:
        return _Area(*(_Span(2 * span.start, 2 * span.stop) for span in self))

    def of(self, maps: Tensor, origin: _Area) -> Tensor:
        """This area of maps (..., h, w) that cover `origin`."""
        return maps[..., self.rows.within(origin.rows), self.columns.within(origin.columns)]

    def patch(self, maps: Tensor, origin: _Area, scale: int) -> Patch:
        """What upsampling to this area of the image needs of maps (1, C, h, w) that cover `origin`, as a copy."""
        rows, columns = (span.native(scale) for span in self)
        inside = _Area(rows.clipped(origin.rows), columns.clipped(origin.columns))
        values = inside.of(maps, origin)
        lacking = [
            inside.columns.start - columns.start, columns.stop - inside.columns.stop,
            inside.rows.start - rows.start, rows.stop - inside.rows.stop,
        ]  # fmt: skip
        if any(lacking):  # past the border of the image
            values = F.pad(values, lacking, mode="replicate")
        return Patch(values[0].clone(), rows.start, columns.start, scale)


@dataclass(frozen=True)
class _Part:
    """What a block passes on in an area: x (1, C, h, w) and the image so far (1, 3, h, w), None where there is none."""

    area: _Area
    x: Tensor | None
    image: Tensor | None

    def cut(self, area: _Area) -> _Part:
        x, image = (None if maps is None else area.of(maps, self.area) for maps in (self.x, self.image))
        return _Part(area, None if x is None else channels_last(x), image)


@dataclass(frozen=True)
class _Step:
    """A block with what it takes besides the maps below it: ws (1, layers + 1, w_dim), and noise for each layer."""

    name: str
    block: SynthesisBlock
    ws: Tensor
    noises: list[NoiseParts | None]

    def run(self, below: _Part, area: _Area, *, paints: bool) -> tuple[_Part, Features]:
        """The block's output, and those of its layers, in the area that `below` covers, doubled."""
        rows, columns = (slice(*span) for span in area)
        noises = [None if noise is None else noise.part(rows, columns) for noise in self.noises]
        x, image, *outputs = self.block(below.x, below.image, self.ws, *noises, paints=paints)
        return _Part(area, x, image), named(self.name, outputs)


class WindowSynthesis:
    """The synthesis of one latent, of which any window can be asked for, in any order.

    The coarse blocks are computed when it is made, and kept; the fine ones for every window.

    Parameters
    ----------
    network, w, blocks, noise, generator
        As for :func:`synthesize_windows`.

    Examples
    --------
    >>> g = Generator(resolution=16, z_dim=8, w_dim=8, channel_base=128, mapping_layers=2)
    >>> synthesis = WindowSynthesis(g, g.mapping(torch.randn(1, 8)), blocks=1)
    >>> synthesis.window(y=3, x=5, h=6, w=9).image.shape
    (6, 9, 3)
    """

    @torch.no_grad()
    def __init__(
        self, network: Generator, /, w: Tensor, *, blocks: int = 5, noise: NoiseMode = "const", generator: Draws = None
    ) -> None:
        _check(network, w, blocks, noise, generator)
        synthesis, self._size = network.synthesis, network.resolution
        self._coarsest = 2 * self._size >> blocks  # of the resolutions with features
        self._fine: list[_Step] = []
        self._base, self._features = _Part(_Area.whole(2), None, None), Features()
        for name, block, ws in synthesis.steps(w):
            noises = [noise_parts(layer, noise, generator) for layer in block.convolutions()]
            step = _Step(name, block, ws, noises)
            if not _fits(synthesis.layout, block.resolution):
                self._fine.append(step)
                continue
            self._base, outputs = step.run(self._base, _Area.whole(block.resolution), paints=True)
            self._features |= outputs if block.resolution >= self._coarsest else {}

    @torch.no_grad()
    def window(self, *, y: int, x: int, h: int, w: int) -> Window:
        """The window at (y, x) of (h, w) px, as :func:`synthesize_windows` gives it; it must lie in the image."""
        image, patches = self._made(y, x, h, w, paints=True)
        assert image is not None
        return Window(y, x, to_uint8(image)[0], patches)

    @torch.no_grad()
    def features(self, *, y: int, x: int, h: int, w: int) -> dict[str, Patch]:
        """What :meth:`window` has of features; that there is no image to it saves an eighth of the time."""
        return self._made(y, x, h, w, paints=False)[1]

    def _made(self, y: int, x: int, h: int, w: int, *, paints: bool) -> tuple[Tensor | None, dict[str, Patch]]:
        """The image (1, 3, h, w), if it is painted, and the features."""
        check_window(y, x, h, w, (self._size, self._size))
        here = _Area(_Span(y, y + h), _Span(x, x + w))
        areas = [here]
        for step in reversed(self._fine):
            areas.append(areas[-1].source(step.block.resolution // 2))
        base = self._base if paints else replace(self._base, image=None)
        part = base.cut(areas.pop())
        patches = {
            name: here.patch(maps, _Area.whole(maps.shape[-1]), self._size // maps.shape[-1])
            for name, maps in self._features.items()
        }
        for step in self._fine:
            part, outputs = step.run(part, part.area.doubled(), paints=paints)
            if step.block.resolution >= self._coarsest:
                scale = self._size // step.block.resolution
                patches |= {name: here.patch(maps, part.area, scale) for name, maps in outputs.items()}
            part = part.cut(areas.pop())
        return part.image, patches


def _fits(layout: Layout, resolution: int) -> bool:
    """Whether a block is computed whole."""
    return resolution == 4 or 4 * layout.channels(resolution) * resolution**2 <= _WHOLE_BYTES


def _windows(
    network: Generator, w: Tensor, window: int, blocks: int, noise: NoiseMode, generator: Draws
) -> Iterator[Window]:
    synthesis, size = WindowSynthesis(network, w, blocks=blocks, noise=noise, generator=generator), network.resolution
    for y, x in itertools.product(range(0, size, window), repeat=2):
        yield synthesis.window(y=y, x=x, h=min(window, size - y), w=min(window, size - x))
