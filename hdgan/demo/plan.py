"""What the demo does at which size, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tiling.errors import InputError


@dataclass(frozen=True)
class DemoPlan:
    """Sizes of every stage.

    Attributes
    ----------
    slide_size, unseen_size
        Edges of the two phantom slides in px at 0.5 um per px: one to work on, one that only scores.
    tile, mpp, overlap
        Tiles in px, micrometres per px, px shared by neighbours.
    kimg
        Training of the generator; from the shipped one, or `kimg_from_scratch`.
    psi
        Truncation of samples and pairs: 1, none, since what is rare in the tissue is the first to go.
    split
        Annotated images for training, validation and test.
    """

    slide_size: int
    unseen_size: int
    tile: int
    mpp: float
    overlap: int
    preset: str
    gamma: float
    kimg: float
    kimg_from_scratch: float
    psi: float
    samples: int
    split: tuple[int, int, int]
    blocks: int
    members: int
    pairs: int
    expert_steps: int
    segmenter_steps: int

    @property
    def annotated(self) -> int:
        """Images that the stand-in labels."""
        return sum(self.split)


PLANS: Mapping[str, DemoPlan] = MappingProxyType(
    {
        "full": DemoPlan(
            slide_size=8192,
            unseen_size=6144,
            tile=64,
            mpp=4.0,
            overlap=32,
            preset="small",
            gamma=1.0,
            kimg=3.0,
            kimg_from_scratch=6.0,
            psi=1.0,
            samples=160,
            split=(16, 4, 16),
            blocks=5,
            members=10,
            pairs=128,
            expert_steps=400,
            segmenter_steps=300,
        ),
        "quick": DemoPlan(
            slide_size=2048,
            unseen_size=1536,
            tile=32,
            mpp=8.0,
            overlap=24,
            preset="tiny",
            gamma=0.05,
            kimg=0.12,
            kimg_from_scratch=0.12,
            psi=1.0,
            samples=16,
            split=(4, 2, 2),
            blocks=4,
            members=3,
            pairs=8,
            expert_steps=20,
            segmenter_steps=10,
        ),
    }
)


def plan_named(name: str) -> DemoPlan:
    """One of the plans."""
    if name not in PLANS:
        raise InputError(f"unknown demo plan {name!r}; there are: {', '.join(PLANS)}")
    return PLANS[name]
