"""Which tiles one slide gives: the resolution, the grid, and the filters."""

from __future__ import annotations

import hashlib
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.grid import Edge, Grid, make_grid, parse_edge
from tiling.masks import SlideMask
from tiling.slide import Slide
from tiling.tissue import find_tissue
from tiling.wording import counted

_SAME_MPP = 0.01  # a level within 1 % of the resolution asked for is taken as it is: resampling would only blur it
_MASK_PX_PER_TILE = 8
_MASK_SIZES = 1024, 4096


def default_tissue(size: int) -> float:
    """The least tissue fraction of a tile that suits its size.

    A threshold made for small tiles loses the tissue of large ones: a needle core is 0.5 to 1 mm wide, and fills a
    quarter to a half of a 4096 px tile of 0.5 micrometres per pixel (2 mm) where it lies well. So: a quarter of a
    tile up to 1024 px, less in proportion to the edge above that, and a tenth from 2560 px on.

    Examples
    --------
    >>> [default_tissue(size) for size in (256, 2048, 4096)]
    [0.25, 0.125, 0.1]
    """
    return min(0.25, max(0.1, 0.25 * 1024 / size))


@dataclass(frozen=True)
class TileSettings:
    """What tiles are wanted of every slide.

    Attributes
    ----------
    size
        Edge, px.
    mpp
        Micrometres per px; None takes `level` as it is.
    level
        Level to read, if no `mpp` is asked for.
    overlap
        Of neighbouring tiles, px.
    edge
        What happens at the right and lower edge, see :class:`tiling.grid.Edge`.
    tissue
        Least fraction of a tile that is tissue, 0 to 1; None takes :func:`default_tissue`.
    limit
        Most tiles of one slide, drawn at random; None takes all.
    seed
        Of that draw.
    """

    size: int = 4096
    mpp: float | None = None
    level: int = 0
    overlap: int = 0
    edge: Edge | str = Edge.WITHIN
    tissue: float | None = None
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        make_grid(0, 0, size=self.size, overlap=self.overlap, edge=self.edge)  # raises for what no grid can have
        object.__setattr__(self, "edge", parse_edge(self.edge))
        if self.tissue is None:
            object.__setattr__(self, "tissue", default_tissue(self.size))
        if not 0 <= self.least_tissue <= 1:
            raise InputError(f"tissue is a fraction from 0 to 1, not {self.tissue}")
        if self.mpp is not None and not (self.mpp > 0 and math.isfinite(self.mpp)):
            raise InputError(f"mpp is a positive number of micrometres per pixel, not {self.mpp}")
        if self.mpp is not None and self.level != 0:
            raise InputError(f"give mpp or level, not both (mpp {self.mpp}, level {self.level})")
        if self.level < 0:
            raise InputError(f"level counts from 0, not {self.level}")
        if self.seed < 0:
            raise InputError(f"seed is 0 or more, not {self.seed}")
        if self.limit is not None and self.limit < 1:
            raise InputError(f"limit is at least 1 tile per slide, not {self.limit}")

    @property
    def least_tissue(self) -> float:
        """The tissue fraction below which a tile is dropped."""
        assert self.tissue is not None
        return self.tissue

    def to_dict(self) -> dict[str, Any]:
        """JSON-able settings."""
        return asdict(self)


@dataclass(frozen=True)
class SlidePlan:
    """The tiles of one slide, and what became of the others.

    `grid` and `tissue` (n,) are those kept, read at `level` and of `mpp` micrometres per px. `candidates` is how
    many there were before the filters dropped those `below_tissue` and those `over_limit`. `reason` says why there
    are none, and is empty if there are some.
    """

    grid: Grid
    tissue: npt.NDArray[np.float64]
    level: int
    mpp: float | None
    candidates: int
    below_tissue: int
    over_limit: int
    reason: str


def plan_slide(slide: Slide, settings: TileSettings, *, name: str, mpp: float | None = None) -> SlidePlan:
    """Lay a grid over a slide and keep the tiles with tissue.

    Parameters
    ----------
    slide
        The slide; only a thumbnail of it is read.
    settings
        What tiles are wanted.
    name
        Names the slide in messages; also keys its random draw, so that it does not depend on other slides.
    mpp
        The slide's resolution, where the user knows better than the file.

    Raises
    ------
    InputError
        If the slide cannot give such tiles: it does not have the level, says no mpp, or is coarser than asked for.
    """
    level, scale, tile_mpp = _resolution(slide, settings, name, slide.mpp if mpp is None else mpp)
    width, height, downsample = slide.levels[level]
    if scale != downsample:
        width, height = (math.floor(length / scale + 1e-6) for length in slide.dimensions)
    grid = make_grid(width, height, size=settings.size, scale=scale, overlap=settings.overlap, edge=settings.edge)
    smallest, largest = _MASK_SIZES
    mask_size = math.ceil(_MASK_PX_PER_TILE * max(slide.dimensions) / grid.extent)
    thumbnail = slide.thumbnail(min(largest, max(smallest, mask_size)))
    tissue = SlideMask(find_tissue(thumbnail, dark=slide.dark_background), *slide.dimensions).fraction(grid)
    with_tissue = np.flatnonzero(tissue >= settings.least_tissue)
    kept = _drawn(with_tissue, settings, name)
    reason = ""
    if len(grid) == 0:
        reason = f"image smaller than a tile: {width} x {height} px, and tiles of {settings.size} px; "
        reason += "choose a smaller size, or edge pad"
    elif len(kept) == 0:
        reason = f"no tissue found: of {counted(len(grid), 'tile')} none reaches tissue fraction "
        reason += f"{settings.least_tissue:g} (highest {tissue.max():.3g}); lower tissue to keep them"
    return SlidePlan(
        grid=Grid(grid.x[kept], grid.y[kept], grid.size, grid.scale),
        tissue=tissue[kept],
        level=level,
        mpp=tile_mpp,
        candidates=len(grid),
        below_tissue=len(grid) - len(with_tissue),
        over_limit=len(with_tissue) - len(kept),
        reason=reason,
    )


def _resolution(slide: Slide, settings: TileSettings, name: str, mpp: float | None) -> tuple[int, float, float | None]:
    """The level to read, level-0 px per tile px, and the micrometres per tile px."""
    levels = slide.levels
    if settings.mpp is None:
        if settings.level >= len(levels):
            raise InputError(f"{name} has levels 0 to {len(levels) - 1}, not {settings.level}")
        downsample = levels[settings.level].downsample
        return settings.level, downsample, None if mpp is None else mpp * downsample
    if mpp is None:
        raise InputError(
            f"{name} does not say its resolution, and tiles of {settings.mpp:g} micrometres per pixel are asked for; "
            "give the slide's own with mpp_of (--mpp-of), or ask for a level instead"
        )
    scale = settings.mpp / mpp
    if scale < 1 - _SAME_MPP:
        raise InputError(
            f"{name} has {mpp:g} micrometres per pixel and cannot give finer tiles of {settings.mpp:g}; "
            f"ask for mpp {mpp:g} or more"
        )
    level = max(i for i, candidate in enumerate(levels) if candidate.downsample <= scale * (1 + _SAME_MPP))
    downsample = levels[level].downsample
    if abs(downsample / scale - 1) <= _SAME_MPP:
        return level, downsample, mpp * downsample
    return level, scale, settings.mpp


def _drawn(candidates: npt.NDArray[np.int64], settings: TileSettings, name: str) -> npt.NDArray[np.int64]:
    """At most `limit` of the candidates, in their order."""
    if settings.limit is None or len(candidates) <= settings.limit:
        return candidates
    key = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
    return np.sort(np.random.default_rng([settings.seed, key]).choice(candidates, settings.limit, replace=False))
