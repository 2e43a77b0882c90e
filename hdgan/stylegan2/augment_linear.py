"""Linear maps of images, tile by tile, differentiable any number of times without keeping anything of the forward pass.

R1 differentiates the gradient of the augmented image. PyTorch's own double backward keeps every intermediate image,
takes several hundred small convolutions for a depthwise one, and for bilinear sampling exists only in recent versions.
But the derivative of a linear map is its transpose, wherever it is taken, and the derivative of the transpose is the
map again: nothing needs remembering, and a single derivative of each operation is enough.

A tile of the result is made of a tile of the image, so what is in between is never larger than a tile.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from training.devices import of_many_shapes

LinearMap = Callable[[Tensor], Tensor]
Area = tuple[range, range]  # rows and columns, in pixels of the image

# Pixels that are computed together, of several small images or of a part of a large one. What is made of more outgrows
# the CPU's cache; on an accelerator every tile costs some dozens of kernel launches.
TILE_PIXELS_CPU = 2**16
TILE_PIXELS_ACCELERATOR = 2**20


@dataclass(frozen=True)
class Tile:
    """A part of the result of a linear map.

    Attributes
    ----------
    samples
        (n,) int64, on the images' device: in which images of the batch, each once.
    target
        Where in these.
    source
        What it is made of. Beyond its edges an image shows its reflection, without repeating the edge, and zeros from
        size - 1 px on.
    linear
        (n, C, *source) to (n, C, *target). Linear in its argument, differentiable once by PyTorch, and dependent on
        nothing else that needs a gradient. Derivatives evaluate it at zero.

    """

    samples: Tensor
    target: Area
    source: Area
    linear: LinearMap


def samples_and_areas(order: Tensor, images: Tensor) -> Iterator[tuple[Tensor, Area]]:
    """Cut the samples of `order`, in that order, into groups of images, or single images into areas."""
    height, width = images.shape[2:]
    pixels = TILE_PIXELS_CPU if images.device.type == "cpu" else TILE_PIXELS_ACCELERATOR
    side = math.isqrt(pixels) if height * width > pixels else max(height, width)
    areas = list(product(_cut(height, side), _cut(width, side)))
    return product(order.split(max(1, pixels // (height * width))), areas)


def apply_linear(images: Tensor, tiles: Sequence[Tile]) -> Tensor:
    """Map images (N, C, H, W) to images of that shape, which stay as they are where no tile is.

    Computed in the type of `images` whatever autocast says, in every derivative too.

    Parameters
    ----------
    images
        (N, C, H, W).
    tiles
        Of which no two have a target pixel in common.

    """
    result: Tensor = _Map.apply(images, tiles, _forward, _transpose)  # type: ignore[no-untyped-call]
    return result


_TiledMap = Callable[[Tensor, Sequence[Tile]], Tensor]


class _Map(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, tiles: Sequence[Tile], this: _TiledMap, transpose: _TiledMap) -> Tensor:
        ctx.tiles, ctx.this, ctx.transpose = tiles, this, transpose
        with torch.autocast(images.device.type, enabled=False), of_many_shapes():
            return this(images, tiles)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return _Map.apply(gradient, ctx.tiles, ctx.transpose, ctx.this), None, None, None  # type: ignore[no-untyped-call]


def _forward(images: Tensor, tiles: Sequence[Tile]) -> Tensor:
    result = images.clone()
    for tile in tiles:
        view(result, tile.target).index_copy_(0, tile.samples, tile.linear(_read(images, tile)))
    return result


def _transpose(gradient: Tensor, tiles: Sequence[Tile]) -> Tensor:
    result = gradient.clone()
    for tile in tiles:
        view(result, tile.target).index_fill_(0, tile.samples, 0)
    for tile in tiles:
        of_tile = view(gradient, tile.target).index_select(0, tile.samples)
        shape = (*of_tile.shape[:2], *map(len, tile.source))
        with torch.enable_grad():
            anywhere = gradient.new_zeros(shape).requires_grad_()
            of_source = torch.autograd.grad(tile.linear(anywhere), anywhere, of_tile)[0]
        _add(of_source, tile, result)
    return result


def _read(images: Tensor, tile: Tile) -> Tensor:
    """Return (n, C, *source): the tile's source."""
    source = images.new_zeros(len(tile.samples), images.shape[1], *map(len, tile.source))
    for part, shown, mirrored in _parts(tile.source, images):
        view(source, part).copy_(view(images, shown).index_select(0, tile.samples).flip(mirrored))
    return source


def _add(source: Tensor, tile: Tile, images: Tensor) -> None:
    """Add the (n, C, *source) to the pixels that :func:`_read` takes it from."""
    for part, shown, mirrored in _parts(tile.source, images):
        view(images, shown).index_add_(0, tile.samples, view(source, part).flip(mirrored))


def _parts(source: Area, images: Tensor) -> Iterator[tuple[Area, Area, list[int]]]:
    """Parts of the source, counted from its corner; the pixels that each shows; in which dimensions it is mirrored."""
    rows, columns = (_stretches(wanted, size) for wanted, size in zip(source, images.shape[2:], strict=True))
    for (down, shown_down, flip_down), (across, shown_across, flip_across) in product(rows, columns):
        mirrored = [dimension for dimension, flip in ((2, flip_down), (3, flip_across)) if flip]
        yield (down, across), (shown_down, shown_across), mirrored


def _stretches(wanted: range, size: int) -> list[tuple[range, range, bool]]:
    """Along one axis: stretches of `wanted`, counted from its start; the pixels that each shows; whether mirrored."""
    stretches = []
    for begin, end, mirror in ((1 - size, 0, 0), (0, size, None), (size, 2 * size - 1, 2 * size - 2)):
        start, stop = max(wanted.start, begin), min(wanted.stop, end)
        if start < stop:
            shown = range(start, stop) if mirror is None else range(mirror - stop + 1, mirror - start + 1)
            stretches.append((range(start - wanted.start, stop - wanted.start), shown, mirror is not None))
    return stretches


def view(images: Tensor, area: Area) -> Tensor:
    """Return an area of all images (N, C, H, W), without copying."""
    rows, columns = area
    return images[:, :, rows.start : rows.stop, columns.start : columns.stop]


def _cut(size: int, longest: int) -> list[range]:
    """Cut into equal stretches, or nearly so."""
    count = math.ceil(size / longest)
    return [range(start, stop) for start, stop in pairwise(size * i // count for i in range(count + 1))]
