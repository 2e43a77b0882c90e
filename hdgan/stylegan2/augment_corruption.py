"""Corruptions of the augmentation pipe: image-space filtering, noise and cutout.

Karras et al. 2020b, appendices B.4 and B.5.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hdgan.stylegan2.augment_draws import AugmentSet, Draws
from hdgan.stylegan2.augment_linear import Tile, apply_linear, samples_and_areas

NOISE = 0.1  # standard deviation of the noise's standard deviation
CUTOUT = 0.5  # of width and height
BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)  # expected power spectrum of an image, lowest band first


def _filter_bank() -> NDArray[np.float64]:
    """(4, 43) centred kernels, lowest band first, that sum to a single 1 in the middle.

    Made of the half-band low-pass L(z), the autocorrelation of the wavelet sym2, and its mirror H(z) = L(-z):
    L(z)L(z^2)L(z^4), L(z)L(z^2)H(z^4), L(z)H(z^2), H(z).
    """

    def spread(kernel: NDArray[np.float64], step: int) -> NDArray[np.float64]:
        spaced = np.zeros((len(kernel) - 1) * step + 1)
        spaced[::step] = kernel
        return spaced

    low = np.array([-1, 0, 9, 16, 9, 0, -1]) / 32
    high = np.array([1, 0, -9, 16, -9, 0, 1]) / 32
    lowest_half = np.convolve(low, spread(low, 2))
    bands = [
        np.convolve(lowest_half, spread(low, 4)),
        np.convolve(lowest_half, spread(high, 4)),
        np.convolve(low, spread(high, 2)),
        high,
    ]
    return np.stack([np.pad(band, (43 - len(band)) // 2) for band in bands])


FILTER_BANK = _filter_bank()


def draw_band_gains(draws: Draws, chances: AugmentSet) -> Tensor:
    """(N, 4) float64 gains of the bands, normalised to keep the expected power; 1 where none was drawn."""
    power = torch.tensor(BAND_POWER, dtype=torch.float64)
    gains = torch.ones(1, 4, dtype=torch.float64)
    for band, multiplier in enumerate(chances.imgfilter_bands):
        gain = torch.exp2(draws.gate(chances.imgfilter * multiplier) * draws.normal())
        one_band = torch.ones(len(gain), 4, dtype=torch.float64)
        one_band[:, band] = gain
        scale = (power * one_band.square()).sum(1, keepdim=True).rsqrt()
        # The gain 1 exactly where nothing was drawn: rounding would send the image through the filter.
        gains = gains * torch.where(gain[:, None] == 1, 1, one_band * scale)
    return gains


def apply_band_gains(images: Tensor, gains: Tensor) -> Tensor:
    """Amplify each frequency band of each image, along x and y alike."""
    filtered = (gains != 1).any(1).nonzero().squeeze(1)
    if not len(filtered):
        return images
    kernels = gains @ torch.from_numpy(FILTER_BANK)
    reach = kernels.shape[1] // 2
    tiles = []
    for samples, target in samples_and_areas(filtered, images):
        rows, columns = (range(stretch.start - reach, stretch.stop + reach) for stretch in target)
        filter_ = partial(_filter_separably, kernels=kernels[samples].to(images))
        tiles.append(Tile(samples.to(images.device), target, (rows, columns), filter_))
    return apply_linear(images, tiles)


def _filter_separably(source: Tensor, kernels: Tensor) -> Tensor:
    """Filter each image, along both axes, by its own kernel of the (n, taps)."""
    count, channels = source.shape[:2]
    across = kernels.repeat_interleave(channels, dim=0)[:, None, None]
    # Each sample has its own kernel: samples and channels become the groups of one convolution.
    rows = F.conv2d(source.flatten(0, 1)[None], across, groups=count * channels)
    filtered = F.conv2d(rows, across.transpose(2, 3), groups=count * channels)
    return filtered.view(count, channels, *filtered.shape[2:])


def draw_noise(draws: Draws, chances: AugmentSet) -> tuple[Tensor, Tensor]:
    """(N,) float64 standard deviations, zero where none was drawn, and (N,) int64 seeds of the noise itself."""
    sigma = NOISE * draws.gate(chances.noise) * draws.normal().abs()
    return sigma, (draws.uniform() * 2**53).long()


def apply_noise(images: Tensor, sigma: Tensor, seeds: Tensor) -> Tensor:
    """Add Gaussian noise, independent for every value."""
    noisy = sigma.nonzero().squeeze(1)
    if not len(noisy):
        return images
    noise = torch.empty(len(noisy), *images.shape[1:])
    for one, deviation, seed in zip(noise, sigma[noisy], seeds[noisy], strict=True):
        one.normal_(generator=torch.Generator().manual_seed(int(seed))).mul_(deviation)
    return images.index_add(0, noisy.to(images.device), noise.to(images))


def draw_cutout(draws: Draws, chances: AugmentSet) -> tuple[Tensor, Tensor]:
    """(N,) float64 gates and (N, 2) float64 centres (x, y), as fractions of width and height."""
    gate = draws.gate(chances.cutout)
    return gate, torch.stack([draws.uniform(), draws.uniform()], dim=1)


def apply_cutout(images: Tensor, gate: Tensor, centres: Tensor) -> Tensor:
    """Set a rectangle of half the width and half the height to zero."""
    if not bool(gate.any()):
        return images
    height, width = images.shape[2:]
    x = (torch.arange(width, dtype=torch.float64) + 0.5) / width
    y = (torch.arange(height, dtype=torch.float64) + 0.5) / height
    in_columns = (x - centres[:, :1]).abs() < CUTOUT / 2  # (N, W)
    in_rows = (y - centres[:, 1:]).abs() < CUTOUT / 2  # (N, H)
    cut = in_rows[:, :, None] & in_columns[:, None, :] & gate.bool()[:, None, None]
    return images.masked_fill(cut[:, None].to(images.device), 0)
