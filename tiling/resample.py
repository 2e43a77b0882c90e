"""Area averaging: a smaller picture each of whose pixels is the mean of the area that it covers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import scipy.sparse

from tiling.backends.base import Image

# Source pixels that are asked for at once, and that are averaged at once: bands that are read begin and end within rows
# of cells, which are then decoded twice, so few of them are better; averaging takes 30 bytes for each pixel.
_READ, _BAND = 8 << 20, 1 << 20


def area_resample(read_rows: Callable[[int, int], Image], extent: tuple[float, float], size: tuple[int, int]) -> Image:
    """Average a picture down, band by band.

    Each output pixel is the mean over its footprint, pixels that it covers in part weighing in by the part; for
    integer factors this is the mean of a block of pixels, rounded once.

    Parameters
    ----------
    read_rows
        Called with (start, stop) for bands of rows of the source, in order: (stop - start, w, 3) uint8.
    extent
        Height and width of the source's area in source px, from its upper left corner. May be fractional: the
        last row and column then count in part.
    size
        Height and width of the result; no larger than the extent.

    Returns
    -------
    (height, width, 3) uint8

    Examples
    --------
    >>> picture = np.array([[0, 2, 4, 6], [2, 4, 6, 8]], np.uint8)[..., None].repeat(3, axis=2)
    >>> area_resample(lambda start, stop: picture[start:stop], (2.0, 4.0), (1, 2))[..., 0]
    array([[2, 6]], dtype=uint8)
    """
    height, width = size
    down, across = _coverage(extent[0], height), _coverage(extent[1], width)
    area = (extent[0] / height) * (extent[1] / width)
    result = np.empty((height, width, 3), np.uint8)
    per_row = math.ceil(extent[1]) * extent[0] / height
    for first, last in _bands(0, height, _READ / per_row):
        start, stop = _reach(down[first:last])
        source = read_rows(start, stop)
        for top, bottom in _bands(first, last, _BAND / per_row):
            low, high = _reach(down[top:bottom])
            rows = source[low - start : high - start].astype(np.float32)
            band = down[top:bottom, low:high] @ rows.reshape(high - low, -1)
            band = across @ band.reshape(bottom - top, -1, 3).transpose(1, 0, 2).reshape(across.shape[1], -1)
            mean = band.reshape(width, bottom - top, 3).transpose(1, 0, 2) / area
            result[top:bottom] = np.rint(np.clip(mean, 0, 255))
    return result


def rows_of(picture: Image) -> Callable[[int, int], Image]:
    """The `read_rows` of :func:`area_resample` for a picture that is held in memory."""
    return lambda start, stop: picture[start:stop]


def _bands(start: int, stop: int, rows: float) -> Iterator[tuple[int, int]]:
    """Rows from `start` to `stop`, so many at a time, at least one."""
    step = max(1, math.floor(rows))
    return ((top, min(top + step, stop)) for top in range(start, stop, step))


def _reach(weights: scipy.sparse.csr_array) -> tuple[int, int]:
    """First and last (exclusive) of the source rows that have weights."""
    return int(weights.indices.min()), int(weights.indices.max()) + 1


def _coverage(extent: float, size: int) -> scipy.sparse.csr_array:
    """(size, ceil(extent)) float32: how much of each source pixel lies under each output pixel, along one axis."""
    edges = np.linspace(0.0, extent, size + 1)
    first = np.floor(edges[:-1]).astype(np.int64)
    reach = np.arange(math.ceil(extent / size) + 1)
    source = first[:, None] + reach
    covered = np.minimum(source + 1, edges[1:, None]) - np.maximum(source, edges[:-1, None])
    output = np.broadcast_to(np.arange(size)[:, None], source.shape)
    kept: npt.NDArray[np.bool_] = (covered > 1e-9) & (source < math.ceil(extent))
    entries = (covered[kept].astype(np.float32), (output[kept], source[kept]))
    return scipy.sparse.csr_array(entries, shape=(size, math.ceil(extent)))
