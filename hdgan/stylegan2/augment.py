"""Adaptive discriminator augmentation: the pipe that everything the discriminator sees passes through.

Karras et al. 2020b, "Training Generative Adversarial Networks with Limited Data", section 2 and appendix B.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hdgan.stylegan2.augment_colour import apply_colour, apply_stain, draw_colour, draw_stain
from hdgan.stylegan2.augment_corruption import (
    apply_band_gains,
    apply_cutout,
    apply_noise,
    draw_band_gains,
    draw_cutout,
    draw_noise,
)
from hdgan.stylegan2.augment_draws import PRESETS, AugmentSet, Draws
from hdgan.stylegan2.augment_geometry import apply_affine, draw_affine
from tiling.errors import InputError

__all__ = ["PRESETS", "AugmentPipe", "AugmentSet"]


class AugmentPipe(nn.Module):
    """Transforms each image at random, differentiably (twice), so that a discriminator cannot learn the few reals.

    Parameters
    ----------
    preset
        A name of `PRESETS`, an `AugmentSet`, or the fields of one as a mapping.

    Raises
    ------
    InputError
        An unknown preset or transform, or a multiplier outside [0, 1].

    Examples
    --------
    >>> import torch
    >>> pipe = AugmentPipe("histology")
    >>> pipe(torch.zeros(4, 3, 64, 64), p=0.3, generator=torch.Generator().manual_seed(0)).shape
    torch.Size([4, 3, 64, 64])

    """

    def __init__(self, preset: str | AugmentSet | Mapping[str, Any] = "bgc") -> None:
        super().__init__()
        self.chances = _parse_set(preset)

    def forward(
        self,
        images: Tensor,
        *,
        p: float | Tensor,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        percentile: float | None = None,
    ) -> Tensor:
        """Augment a batch.

        Parameters
        ----------
        images
            (N, 3, H, W) or (N, 1, H, W) float, about [-1, 1]. The pipe computes in float32, or in float64 for float64
            images, whatever autocast says.
        p
            Strength: the probability of each transform, from 0 (the images come back as they are) to 1. A tensor on
            an accelerator costs a synchronisation.
        generator
            Of the CPU, or one for each sample, so that a sample's draws do not depend on how batches are cut. Every
            sample takes the same count of numbers whatever the preset.
        percentile
            Fixes every draw (gates included) at this percentile of its distribution, in (0, 1): to look at a
            transform. Only the pattern of the noise stays arbitrary.

        Returns
        -------
        Tensor
            (N, C, H, W), the type of `images`.

        Raises
        ------
        InputError
            Images of another shape or type, or a number out of its range.

        """
        strength = float(p)
        _check(images, strength, generator, percentile)
        if strength == 0:
            return images
        count, _, height, width = images.shape
        draws = Draws(count, strength=strength, generator=generator, percentile=percentile)
        affine = draw_affine(draws, self.chances, width=width, height=height)
        stain = draw_stain(draws, self.chances)
        colour = draw_colour(draws, self.chances)
        gains = draw_band_gains(draws, self.chances)
        sigma, seeds = draw_noise(draws, self.chances)
        gate, centres = draw_cutout(draws, self.chances)

        with torch.autocast(images.device.type, enabled=False):
            x = images if images.dtype == torch.float64 else images.float()
            x = apply_affine(x, affine)
            # Before brightness and contrast, while values still say how much light came through.
            x = apply_stain(x, stain)
            x = apply_colour(x, colour)
            x = apply_band_gains(x, gains)
            x = apply_noise(x, sigma, seeds)
            return apply_cutout(x, gate, centres).to(images.dtype)


def _parse_set(preset: str | AugmentSet | Mapping[str, Any]) -> AugmentSet:
    if isinstance(preset, AugmentSet):
        return preset
    if isinstance(preset, str):
        if preset not in PRESETS:
            raise InputError(f"unknown augmentation preset {preset!r}; choose one of {', '.join(PRESETS)}")
        return PRESETS[preset]
    known = AugmentSet.__dataclass_fields__
    unknown = [name for name in preset if name not in known]
    if unknown:
        raise InputError(f"unknown augmentation {unknown[0]!r}; choose from {', '.join(known)}")
    return AugmentSet(**preset)


def _check(
    images: Tensor,
    strength: float,
    generator: torch.Generator | Sequence[torch.Generator] | None,
    percentile: float | None,
) -> None:
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(f"images to augment have shape {tuple(images.shape)}; give (N, 3, H, W) or (N, 1, H, W)")
    if not images.is_floating_point():
        raise InputError(f"images to augment are {images.dtype}; give floating point values in about [-1, 1]")
    if not 0 <= strength <= 1:
        raise InputError(f"augmentation strength p is {strength}; it must be from 0 to 1")
    if percentile is not None and not 0 < percentile < 1:
        raise InputError(f"percentile is {percentile}; it must lie between 0 and 1")
    if isinstance(generator, Sequence) and len(generator) != len(images):
        raise InputError(f"{len(generator)} generators for {len(images)} images; give one, or one for each image")
    for one in generator if isinstance(generator, Sequence) else (generator,):
        if one is not None and one.device.type != "cpu":
            raise InputError(f"the generator is on {one.device}; augmentation draws on the CPU, give a generator there")
