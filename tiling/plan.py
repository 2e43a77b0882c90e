"""Which tiles one slide gives: the resolution, the grid, and the filters."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tiling.backends.base import Image
from tiling.damage import DamagedCell
from tiling.errors import InputError
from tiling.grid import Grid, make_grid
from tiling.masks import Mask, SlideMask
from tiling.quality import find_pen
from tiling.regions import Region, known_names, touching
from tiling.settings import TileSettings
from tiling.slide import Slide
from tiling.tissue import find_tissue
from tiling.wording import counted

_SAME_SCALE = 0.01  # a level within 1 % of the resolution asked for is taken as it is: resampling would only blur it
_MASK_PX_PER_TILE = 8
_MASK_SIZES = 1024, 4096


@dataclass(frozen=True)
class SlidePlan:
    """The tiles of one slide, and what became of the others.

    Attributes
    ----------
    grid
        The tiles that are kept.
    tissue, pen
        (n,) float64: the part of each tile that is tissue, and that is covered by pen marks.
    level
        Read from it.
    mpp
        Micrometres per tile px, if known.
    candidates
        How many tiles the grid had.
    dropped
        How many of them each filter dropped: `below_tissue`, `outside_classes`, `over_limit`.
    reason
        Why none is left; empty if there are some.
    thumbnail
        (h, w, 3) uint8: the picture on which tissue and pen were looked for.
    tissue_mask, pen_mask
        What was found on it.
    lost
        Cells that the thumbnail lacks, since no level of the slide has them: whether they hold tissue nobody knows.
    classes
        Names that occur in the slide's annotations.
    without_class
        How many of these have no name, so that no class that is asked for is theirs.
    """

    grid: Grid
    tissue: npt.NDArray[np.float64]
    pen: npt.NDArray[np.float64]
    level: int
    mpp: float | None
    candidates: int
    dropped: Mapping[str, int]
    reason: str
    thumbnail: Image
    tissue_mask: Mask
    pen_mask: Mask
    lost: tuple[DamagedCell, ...]
    classes: list[str]
    without_class: int


def plan_slide(
    slide: Slide,
    settings: TileSettings,
    *,
    name: str,
    key: str = "",
    mpp: float | None = None,
    tissue: SlideMask | None = None,
    annotations: Sequence[Region] = (),
) -> SlidePlan:
    """Lay a grid over a slide and keep the tiles with tissue.

    Parameters
    ----------
    slide
        The slide; only a thumbnail of it is read.
    settings
        What tiles are wanted.
    name
        Names the slide in messages.
    key
        Of the draw for `settings.limit`, so that it depends on the slide and not on others: its fingerprint.
    mpp
        Micrometres per level-0 px, if another than the slide says.
    tissue
        Where the tissue is, if somebody said so; else it is looked for.
    annotations
        Regions on the slide, for `settings.keep_classes`.

    Returns
    -------
    SlidePlan
        With no tiles where the slide gives none; its `reason` says which filter dropped what.

    Raises
    ------
    InputError
        If the slide cannot give tiles of the resolution that is asked for.
    """
    level, scale, tile_mpp = _resolution(slide, settings, name, slide.mpp if mpp is None else mpp)
    width, height, downsample = slide.levels[level]
    if scale != downsample:
        width, height = (math.floor(length / scale + 1e-6) for length in slide.dimensions)
    at = {"scale": scale, "downsample": downsample}
    grid = make_grid(width, height, size=settings.size, **at, overlap=settings.overlap, edge=settings.edge)
    thumbnail, lost = slide.salvage_thumbnail(_mask_size(slide, grid))
    if tissue is None:
        tissue = SlideMask(find_tissue(thumbnail, dark=slide.dark_background), *slide.dimensions)
    pen_mask = np.zeros(thumbnail.shape[:2], bool) if slide.dark_background else find_pen(thumbnail)
    fraction = tissue.fraction(grid)
    enough = fraction >= settings.least_tissue
    wanted = enough.copy()
    if settings.keep_classes:
        wanted[enough] = touching(_part(grid, enough), annotations, settings.keep_classes)
    kept = _drawn(np.flatnonzero(wanted), settings, key)
    dropped = {
        "below_tissue": int(len(grid) - enough.sum()),
        "outside_classes": int(enough.sum() - wanted.sum()),
        "over_limit": int(wanted.sum() - len(kept)),
    }
    tiles = _part(grid, kept)
    return SlidePlan(
        grid=tiles,
        tissue=fraction[kept],
        pen=SlideMask(pen_mask, *slide.dimensions).fraction(tiles),
        level=level,
        mpp=tile_mpp,
        candidates=len(grid),
        dropped=dropped,
        reason="" if len(kept) else _why_none(width, height, fraction, dropped, settings, annotations),
        thumbnail=thumbnail,
        tissue_mask=tissue.mask,
        pen_mask=pen_mask,
        lost=lost,
        classes=known_names(annotations),
        without_class=sum(not region.names for region in annotations),
    )


def _mask_size(slide: Slide, grid: Grid) -> int:
    smallest, largest = _MASK_SIZES
    return min(largest, max(smallest, math.ceil(_MASK_PX_PER_TILE * max(slide.dimensions) / grid.extent)))


def _part(grid: Grid, which: npt.NDArray[np.bool_] | npt.NDArray[np.int64]) -> Grid:
    return Grid(grid.x[which], grid.y[which], grid.size, grid.scale)


def _why_none(
    width: int,
    height: int,
    fraction: npt.NDArray[np.float64],
    dropped: Mapping[str, int],
    settings: TileSettings,
    annotations: Sequence[Region],
) -> str:
    """What each filter dropped, on one line, and what to do."""
    if not len(fraction):
        reason = f"image smaller than a tile: {width} x {height} px, and tiles of {settings.size} px; "
        return reason + "choose a smaller size, or edge pad"
    of, least = counted(len(fraction), "tile"), f"{settings.least_tissue:g}"
    if dropped["below_tissue"] == len(fraction):
        reason = f"no tissue found: of {of} none reaches tissue fraction {least} (highest {fraction.max():.3g}); "
        return reason + "lower tissue to keep them"
    present = known_names(annotations)
    there = (
        "its regions have no class: set theirs in the program that drew them"
        if annotations
        else "it has no annotations"
    )
    if present:
        there = f"its annotations have {', '.join(present)}"
    return (
        f"no tile of the classes asked for: of {of} {dropped['below_tissue']} are below tissue fraction {least} and "
        f"{dropped['outside_classes']} touch no {' or '.join(settings.keep_classes)}; {there}"
    )


def _resolution(slide: Slide, settings: TileSettings, name: str, mpp: float | None) -> tuple[int, float, float | None]:
    """The level to read, level-0 px per tile px, and the micrometres per tile px."""
    levels = slide.levels
    if settings.mpp is None and settings.power is None:
        if settings.level >= len(levels):
            raise InputError(f"{name} has levels 0 to {len(levels) - 1}, not {settings.level}")
        downsample = levels[settings.level].downsample
        return settings.level, downsample, None if mpp is None else mpp * downsample
    scale = _scale_by_power(slide, settings.power, name) if settings.power else _scale_by_mpp(settings.mpp, name, mpp)
    level = max(i for i, candidate in enumerate(levels) if candidate.downsample <= scale * (1 + _SAME_SCALE))
    downsample = levels[level].downsample
    if abs(downsample / scale - 1) <= _SAME_SCALE:
        scale = downsample
    return level, scale, settings.mpp if scale != downsample and settings.mpp else None if mpp is None else mpp * scale


def _scale_by_mpp(wanted: float | None, name: str, mpp: float | None) -> float:
    assert wanted is not None
    if mpp is None:
        raise InputError(
            f"{name} does not say its resolution, and tiles of {wanted:g} micrometres per pixel are asked for; "
            "give the slide's own with mpp_of (--mpp-of), or ask for a level instead"
        )
    if wanted / mpp < 1 - _SAME_SCALE:
        raise InputError(
            f"{name} has {mpp:g} micrometres per pixel and cannot give finer tiles of {wanted:g}; "
            f"ask for mpp {mpp:g} or more"
        )
    return wanted / mpp


def _scale_by_power(slide: Slide, wanted: float, name: str) -> float:
    power = slide.objective_power
    if power is None:
        raise InputError(
            f"{name} does not say its objective power, and tiles as of power {wanted:g} are asked for; "
            "ask for mpp instead, with mpp_of (--mpp-of) where the slide does not say that either, or for a level"
        )
    if power / wanted < 1 - _SAME_SCALE:
        raise InputError(
            f"{name} was scanned with an objective of {power:g} and cannot give tiles as of {wanted:g}; "
            f"ask for power {power:g} or less"
        )
    return power / wanted


def _drawn(candidates: npt.NDArray[np.int64], settings: TileSettings, key: str) -> npt.NDArray[np.int64]:
    """At most `limit` of the candidates, in their order."""
    if settings.limit is None or len(candidates) <= settings.limit:
        return candidates
    number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    return np.sort(np.random.default_rng([settings.seed, number]).choice(candidates, settings.limit, replace=False))
