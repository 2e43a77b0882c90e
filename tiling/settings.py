"""What tiles are wanted of every slide."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from tiling.errors import InputError
from tiling.grid import Edge, make_grid, parse_edge


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
        Micrometres per px.
    power
        Magnification of the objective that tiles are to look as if taken with; another way to say the resolution.
    level
        Level to read as it is, if neither `mpp` nor `power` is asked for.
    overlap
        Of neighbouring tiles, px.
    edge
        What happens at the right and lower edge, see :class:`tiling.grid.Edge`.
    tissue
        Least fraction of a tile that is tissue, 0 to 1; None takes :func:`default_tissue`.
    keep_classes
        Names of annotation classes: only tiles that touch a region of one of them are kept. Empty keeps all.
    limit
        Most tiles of one slide, drawn at random; None takes all.
    seed
        Of that draw.
    """

    size: int = 4096
    mpp: float | None = None
    power: float | None = None
    level: int = 0
    overlap: int = 0
    edge: Edge | str = Edge.WITHIN
    tissue: float | None = None
    keep_classes: tuple[str, ...] = ()
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
        if self.power is not None and not (self.power > 0 and math.isfinite(self.power)):
            raise InputError(f"power is the magnification of an objective, 20 or 40, say, not {self.power}")
        ways = {"mpp": self.mpp, "power": self.power, "level": self.level or None}
        if len(given := {name: value for name, value in ways.items() if value is not None}) > 1:
            told = ", ".join(f"{name} {value:g}" for name, value in given.items())
            raise InputError(f"give {' or '.join(given)}, not {'both' if len(given) == 2 else 'all'} ({told})")
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
