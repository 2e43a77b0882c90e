"""Pixel blitting and geometric transforms of the augmentation pipe: one affine resampling per sample.

Karras et al. 2020b, "Training Generative Adversarial Networks with Limited Data", appendix B.2. Coordinates are pixels
with the origin at the image's centre, x to the right and y down: pixel i lies at i - (size - 1) / 2.
"""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from hdgan.stylegan2.augment_draws import AugmentSet, Draws
from hdgan.stylegan2.augment_linear import Area, Tile, apply_linear, samples_and_areas

# The 12-tap decomposition low-pass filter of the wavelet sym6 (Daubechies 1992), of norm 1. It is not symmetric.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633, 0.4910559419267466,
    0.787641141030194, 0.3379294217276218, -0.07263752278646252, -0.021060292512300564, 0.04472490177066578,
    0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip

TRANSLATION = 0.125  # of the size; the largest whole-pixel shift and the standard deviation of the fractional one
LOG2_SCALE = 0.2  # standard deviation

# The up-sampling filter reaches 3 px to either side; one more is for the bilinear sampling.
_REACH = 4


def draw_affine(draws: Draws, chances: AugmentSet, *, width: int, height: int) -> Tensor:
    """(N, 3, 3) float64 matrices that move the image's content; the identity where no transform was drawn."""
    mirror = 1 - 2 * draws.gate(chances.xflip) * draws.choice(2)
    quarter_turns = draws.gate(chances.rotate90) * draws.choice(4)
    shift = draws.gate(chances.xint) * TRANSLATION
    shift_x, shift_y = torch.round(shift * draws.signed() * width), torch.round(shift * draws.signed() * height)

    scale = torch.exp2(LOG2_SCALE * draws.gate(chances.scale) * draws.normal())
    angle_before = math.pi * draws.gate_of_two(chances.rotate) * draws.signed()
    stretch = torch.exp2(LOG2_SCALE * draws.gate(chances.aniso) * draws.normal())
    angle_after = math.pi * draws.gate_of_two(chances.rotate) * draws.signed()
    if draws.at_percentile:  # one rotation shows the angle; two would show their sum
        angle_after = torch.zeros_like(angle_after)
    drift = draws.gate(chances.xfrac) * TRANSLATION
    drift_x, drift_y = drift * draws.normal() * width, drift * draws.normal() * height

    one = torch.ones_like(mirror)
    return (
        _translation(drift_x, drift_y)
        @ _rotation(angle_after.cos(), angle_after.sin())
        @ _scaling(stretch, 1 / stretch)
        @ _rotation(angle_before.cos(), angle_before.sin())
        @ _scaling(scale, scale)
        @ _translation(shift_x, shift_y)
        # Rounded: the cosine of a quarter turn is 6e-17 in floating point.
        @ _rotation((quarter_turns * math.pi / 2).cos().round(), (quarter_turns * math.pi / 2).sin().round())
        @ _scaling(mirror, one)
    )


def apply_affine(images: Tensor, affine: Tensor) -> Tensor:
    """Move the content of each image by its matrix; the outside shows the image's reflection.

    Images whose matrix is the identity are left as they are; the published reference filters them up and down, which
    changes them by less than 1e-5 (relative L2).

    Parameters
    ----------
    images
        (N, C, H, W) float.
    affine
        (N, 3, 3) float64 on the CPU.

    """
    moved = (affine != torch.eye(3, dtype=affine.dtype)).flatten(1).any(1).nonzero().squeeze(1)
    if not len(moved):
        return images
    height, width = images.shape[2:]
    sampling = affine.inverse()
    boxes = _boxes(sampling[moved], (range(height), range(width)), width=width, height=height)
    # A group of samples reads what its worst sample reads.
    order = moved[(boxes[:, 2:] - boxes[:, :2]).prod(1).argsort()]
    tiles = []
    for samples, target in samples_and_areas(order, images):
        boxes = _boxes(sampling[samples], target, width=width, height=height)
        (left, top), (right, bottom) = boxes[:, :2].amin(0).tolist(), boxes[:, 2:].amax(0).tolist()
        source = range(top, bottom), range(left, right)
        theta = _theta(sampling[samples], source, target, width=width, height=height)
        resample = partial(_resample, theta=theta.to(images), target=target)
        tiles.append(Tile(samples.to(images.device), target, source, resample))
    return apply_linear(images, tiles)


def _resample(source: Tensor, theta: Tensor, target: Area) -> Tensor:
    """Double with sym6, sample bilinearly where `theta` says, halve with sym6."""
    filter_ = torch.tensor(SYM6, dtype=torch.float64)
    filter_ = (filter_ / filter_.sum()).to(source)
    # channels_last: several times faster filtering on the CPU.
    doubled = _double(source.contiguous(memory_format=torch.channels_last), filter_)
    height, width = (2 * len(stretch) + 10 for stretch in target)
    grid = F.affine_grid(theta, [*source.shape[:2], height, width], align_corners=False)
    sampled = F.grid_sample(doubled, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return _halve(sampled.contiguous(memory_format=torch.channels_last), filter_)


def _theta(sampling: Tensor, source: Area, target: Area, *, width: int, height: int) -> Tensor:
    """(n, 2, 3) float64: from `grid_sample`'s coordinates of the doubled target to those of the doubled source."""
    rows, columns = target
    # Halving reads the doubled target from index -5 to 2 * size + 4.
    wanted = _pixels_from_grid(
        2 * len(columns) + 10,
        2 * len(rows) + 10,
        origin_x=2 * columns.start - 5 - (width - 1),
        origin_y=2 * rows.start - 5 - (height - 1),
    )
    rows, columns = source
    found = _pixels_from_grid(
        2 * len(columns),
        2 * len(rows),
        origin_x=2 * columns.start - (width - 1),
        origin_y=2 * rows.start - (height - 1),
    )
    return (found.inverse() @ sampling @ wanted)[:, :2]


def _pixels_from_grid(width: int, height: int, *, origin_x: int, origin_y: int) -> Tensor:
    """Matrix from `grid_sample`'s coordinates of a doubled image to pixels about the centre.

    `origin_x`, `origin_y` are twice the pixel coordinates of the doubled image's first sample. With `align_corners`
    off, sample j of n has the grid coordinate (2 * j + 1) / n - 1.
    """
    return torch.tensor(
        [
            [width / 4, 0, (width - 1) / 4 + origin_x / 2],
            [0, height / 4, (height - 1) / 4 + origin_y / 2],
            [0, 0, 1],
        ],
        dtype=torch.float64,
    )


def _boxes(sampling: Tensor, target: Area, *, width: int, height: int) -> Tensor:
    """(n, 4) int64: the left, top, right and bottom of the pixels that each sample's target is made of."""
    rows, columns = target
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=torch.float64)
    # The doubled target reaches 2.5 px past the first pixel and 3 px past the last.
    corners = torch.tensor(
        [[x, y] for x in (columns.start - 2.5, columns.stop + 2) for y in (rows.start - 2.5, rows.stop + 2)],
        dtype=torch.float64,
    )
    reached = sampling[:, None, :2, :2] @ (corners - centre)[:, :, None]  # (n, 4, 2, 1)
    reached = reached.squeeze(3) + sampling[:, None, :2, 2] + centre
    first, last = reached.amin(1).floor().long() - _REACH, reached.amax(1).ceil().long() + _REACH
    return torch.cat([first, last + 1], dim=1)


def _double(images: Tensor, filter_: Tensor) -> Tensor:
    """Up-sample by 2 along both axes; pixel i stays at index 2i."""
    channels = images.shape[1]
    across, down = _kernels(2 * filter_, channels)
    images = F.conv_transpose2d(images, across, stride=(1, 2), padding=(0, 5), groups=channels)
    return F.conv_transpose2d(images, down, stride=(2, 1), padding=(5, 0), groups=channels)


def _halve(images: Tensor, filter_: Tensor) -> Tensor:
    """Down-sample by 2 along both axes; pixel i reads from index 2i to 2i + 11."""
    channels = images.shape[1]
    across, down = _kernels(filter_, channels)
    images = F.conv2d(images, down, stride=(2, 1), groups=channels)
    return F.conv2d(images, across, stride=(1, 2), groups=channels)


def _kernels(filter_: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    across = filter_.expand(channels, 1, 1, -1)
    return across, across.transpose(2, 3)


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=1) for row in rows], dim=1)


def _translation(x: Tensor, y: Tensor) -> Tensor:
    """Right and down."""
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


def _scaling(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[x, zero, zero], [zero, y, zero], [zero, zero, one]])


def _rotation(cos: Tensor, sin: Tensor) -> Tensor:
    """Anticlockwise as seen on screen."""
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    return _matrix([[cos, sin, zero], [-sin, cos, zero], [zero, zero, one]])
