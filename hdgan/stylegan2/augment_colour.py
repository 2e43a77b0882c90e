"""Colour transforms of the augmentation pipe: one affine map of RGB per sample, and a jitter of the stain."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hdgan.stylegan2.augment_draws import AugmentSet, Draws
from hdgan.stylegan2.augment_pixelwise import apply_pixelwise

# Standard deviations, Karras et al. 2020b, appendix B.3.
BRIGHTNESS = 0.2
LOG2_CONTRAST = 0.5
LOG2_SATURATION = 1.0

STAIN = 0.05  # standard deviation of each entry of the optical-density matrix about the identity
DENSITY_FLOOR = 0.02  # transmitted light below which the optical density levels off


def draw_colour(draws: Draws, chances: AugmentSet) -> Tensor:
    """(N, 4, 4) float64 matrices on homogeneous RGB in [-1, 1]; the identity where no transform was drawn."""
    brightness = BRIGHTNESS * draws.gate(chances.brightness) * draws.normal()
    contrast = torch.exp2(LOG2_CONTRAST * draws.gate(chances.contrast) * draws.normal())
    luma_flip = draws.gate(chances.lumaflip) * draws.choice(2)
    hue = math.pi * draws.gate(chances.hue) * draws.signed()
    saturation = torch.exp2(LOG2_SATURATION * draws.gate(chances.saturation) * draws.normal())

    identity = torch.eye(3, dtype=torch.float64)
    onto_grey = torch.full((3, 3), 1 / 3, dtype=torch.float64)  # vv' of the grey axis v
    cross_grey = torch.tensor([[0, -1, 1], [1, 0, -1], [-1, 1, 0]], dtype=torch.float64) / math.sqrt(3)

    contrast, luma_flip, hue, saturation = (x.view(-1, 1, 1) for x in (contrast, luma_flip, hue, saturation))
    turn = hue.cos() * identity + hue.sin() * cross_grey + (1 - hue.cos()) * onto_grey  # Rodrigues
    linear = contrast * (identity - 2 * luma_flip * onto_grey)
    linear = (onto_grey + saturation * (identity - onto_grey)) @ turn @ linear
    colour = torch.eye(4, dtype=torch.float64).repeat(len(linear), 1, 1)
    colour[:, :3, :3] = linear
    colour[:, :3, 3] = linear.sum(2) * brightness[:, None]
    return colour


def apply_colour(images: Tensor, colour: Tensor) -> Tensor:
    """Map the colour of each pixel; (N, 1, H, W) images take the mean of the matrix's three rows."""
    if bool((colour == torch.eye(4, dtype=colour.dtype)).all()):
        return images
    linear, offset = colour[:, :3, :3], colour[:, :3, 3:]
    if images.shape[1] == 1:
        linear, offset = linear.mean(1, keepdim=True).sum(2, keepdim=True), offset.mean(1, keepdim=True)
    return torch.baddbmm(offset.to(images), linear.to(images), images.flatten(2)).view_as(images)


def draw_stain(draws: Draws, chances: AugmentSet) -> Tensor:
    """(N, 3, 3) float64 matrices, J - I: what the jitter adds to the optical density; zero where none was drawn."""
    gate = STAIN * draws.gate(chances.stain)
    return torch.stack([gate * draws.normal() for _ in range(9)], dim=1).view(-1, 3, 3)


def apply_stain(images: Tensor, jitter: Tensor) -> Tensor:
    """Mix the optical densities of red, green and blue by a matrix near the identity.

    By Lambert-Beer, optical density is proportional to the amount of each dye, so a linear map of it looks like another
    staining or scanner, whichever the stain; no dye's own spectrum is assumed. White (1) has density zero and
    stays white, and an image with zero jitter stays as it is.

    With transmitted light t = (x + 1) / 2 and the floor e, density is -log of s(t) / s(1), s(t) = (t + sqrt(t^2 +
    4e^2)) / 2, which is t well above e, positive everywhere and infinitely differentiable; log s(t) = log e + asinh(t /
    2e) is accurate at any t, so pixels outside [-1, 1] are as welcome.

    Parameters
    ----------
    images
        (N, 3, H, W) or (N, 1, H, W) float, about [-1, 1]. Grey images take the mean of the matrix's three rows.
    jitter
        (N, 3, 3), J - I.

    """
    jittered = jitter.flatten(1).any(1).nonzero().squeeze(1)
    if not len(jittered):
        return images
    if images.shape[1] == 1:
        jitter = jitter.mean(1, keepdim=True).sum(2, keepdim=True)

    def jittered_pixels(pixels: Tensor, samples: Tensor) -> Tensor:
        log_light = torch.asinh((pixels + 1) / (4 * DENSITY_FLOOR))
        density = math.asinh(1 / (2 * DENSITY_FLOOR)) - log_light
        absorbed = (jitter[samples].to(pixels) @ density.flatten(2)).view_as(pixels)
        return pixels + 2 * DENSITY_FLOOR * log_light.exp() * torch.expm1(-absorbed)

    return apply_pixelwise(images, jittered, jittered_pixels)
