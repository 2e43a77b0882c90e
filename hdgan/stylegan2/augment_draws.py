"""What the augmentation pipe draws: the sets of transforms, and the random numbers of a batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import chain
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from tiling.errors import InputError

DRAWS_PER_SAMPLE = 52


@dataclass(frozen=True)
class AugmentSet:
    """How likely each transform is, relative to the pipe's strength `p`.

    A transform is applied to a sample with probability `p` times its multiplier here, which lies in [0, 1]; flips are
    a further toss of a coin. All but `stain` are those of Karras et al. 2020b (appendix B); `imgfilter` is tried for
    each of its four bands, lowest first, with a further multiplier of the band's own.
    """

    xflip: float = 0.0
    rotate90: float = 0.0
    xint: float = 0.0
    scale: float = 0.0
    rotate: float = 0.0
    aniso: float = 0.0
    xfrac: float = 0.0
    brightness: float = 0.0
    contrast: float = 0.0
    lumaflip: float = 0.0
    hue: float = 0.0
    saturation: float = 0.0
    imgfilter: float = 0.0
    imgfilter_bands: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    noise: float = 0.0
    cutout: float = 0.0
    stain: float = 0.0

    def __post_init__(self) -> None:
        if len(self.imgfilter_bands) != 4:
            raise InputError(
                f"imgfilter_bands has {len(self.imgfilter_bands)} values; give one for each of the 4 bands"
            )
        for field in fields(self):
            received = getattr(self, field.name)
            for multiplier in received if field.name == "imgfilter_bands" else (received,):
                if not 0 <= multiplier <= 1:
                    raise InputError(f"multiplier of {field.name} is {received}; it must be from 0 to 1")


def _every(*groups: tuple[str, ...]) -> AugmentSet:
    multipliers: dict[str, Any] = dict.fromkeys(chain(*groups), 1.0)
    return AugmentSet(**multipliers)


_BLIT = ("xflip", "rotate90", "xint")
_GEOM = ("scale", "rotate", "aniso", "xfrac")
_COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")
_FILTER, _NOISE, _CUTOUT = ("imgfilter",), ("noise",), ("cutout",)

# The names of Karras et al. 2020b. `histology` leaves out what leaks into stained tissue (luma flip, full hue rotation,
# saturation) and jitters the stain instead, whichever stain that is.
PRESETS = MappingProxyType(
    {
        "blit": _every(_BLIT),
        "geom": _every(_GEOM),
        "color": _every(_COLOR),
        "filter": _every(_FILTER),
        "noise": _every(_NOISE),
        "cutout": _every(_CUTOUT),
        "bg": _every(_BLIT, _GEOM),
        "bgc": _every(_BLIT, _GEOM, _COLOR),
        "bgcf": _every(_BLIT, _GEOM, _COLOR, _FILTER),
        "bgcfn": _every(_BLIT, _GEOM, _COLOR, _FILTER, _NOISE),
        "bgcfnc": _every(_BLIT, _GEOM, _COLOR, _FILTER, _NOISE, _CUTOUT),
        "histology": _every(("xflip", "rotate90"), _GEOM, ("brightness", "contrast", "stain")),
    }
)


class Draws:
    """The random numbers of one batch, on the CPU, handed out transform by transform.

    Every sample takes exactly `DRAWS_PER_SAMPLE` uniform numbers, whichever transforms are in use, and sample after
    sample: a batch drawn in one go and the same batch drawn in parts, from one generator, are the same.

    Parameters
    ----------
    count
        Samples in the batch, N.
    strength
        Every gate's probability is its multiplier times this.
    generator
        On the CPU; or one generator per sample; or None for PyTorch's own.
    percentile
        Replaces every uniform number. A normal draw is then erfinv(2q - 1), without the factor sqrt(2), as in the
        published reference.

    """

    def __init__(
        self,
        count: int,
        *,
        strength: float,
        generator: torch.Generator | Sequence[torch.Generator] | None,
        percentile: float | None,
    ) -> None:
        shape = (count, DRAWS_PER_SAMPLE)
        if percentile is not None:
            table = torch.full(shape, percentile, dtype=torch.float64)
        elif isinstance(generator, Sequence):
            table = torch.cat([torch.rand((1, shape[1]), generator=one, dtype=torch.float64) for one in generator])
        else:
            table = torch.rand(shape, generator=generator, dtype=torch.float64)
        self.strength = strength
        self.at_percentile = percentile is not None
        self._columns = iter(table.unbind(1))

    def uniform(self) -> Tensor:
        """(N,) float64 from [0, 1)."""
        return next(self._columns)

    def gate(self, multiplier: float) -> Tensor:
        """(N,) float64: 1 with probability `strength * multiplier`, else 0."""
        return (self.uniform() < self.strength * multiplier).double()

    def gate_of_two(self, multiplier: float) -> Tensor:
        """(N,) gate of a transform that is tried twice: either opens with probability `strength * multiplier`."""
        return (self.uniform() < 1 - math.sqrt(1 - self.strength * multiplier)).double()

    def choice(self, options: int) -> Tensor:
        """(N,) float64: one of 0, ..., options - 1."""
        return torch.floor(self.uniform() * options)

    def signed(self) -> Tensor:
        """(N,) float64 from [-1, 1)."""
        return 2 * self.uniform() - 1

    def normal(self) -> Tensor:
        """(N,) float64, standard normal."""
        tiny = torch.finfo(torch.float64).eps
        return torch.erfinv(self.signed().clamp(min=tiny - 1)) * (1 if self.at_percentile else math.sqrt(2))
