"""Any PyTorch module as a feature space."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tiling.errors import InputError

_PIXELS = 1 << 20  # of the images that the module gets together
_IMAGES = 32


class ModuleSpace:
    """Features that a PyTorch module makes of images; a :class:`hdgan.metrics.FeatureSpace`.

    Real and generated images are taken as uint8, so that both are rounded alike.

    Parameters
    ----------
    module
        Makes features (N, D) of images (N, 3, H, W) float32. A network is put on the device and in evaluation mode.
    name
        What tells the space from others, in reports. Numbers of one name are taken to be comparable: put the version of
        the weights into it.
    dimensions
        D.
    span
        The values that black and white have for the module: (-1, 1), or (0, 1), say.
    note
        What to know of the numbers, for reports.
    device
        Where to compute.

    Examples
    --------
    >>> colour = ModuleSpace(lambda images: images.mean(dim=(2, 3)), name="mean-colour", dimensions=3, span=(0, 1))
    >>> colour.embed(np.full((1, 8, 8, 3), 51, np.uint8)).round(3).tolist()
    [[0.20000000298023224, 0.20000000298023224, 0.20000000298023224]]
    """

    def __init__(
        self,
        module: Callable[[Tensor], Tensor],
        *,
        name: str,
        dimensions: int,
        span: tuple[float, float] = (-1.0, 1.0),
        note: str = "",
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.note, self.dimensions = name, note, dimensions
        self._module = module.to(device).eval() if isinstance(module, nn.Module) else module
        self._low, self._high = span
        self._device = torch.device(device)

    @torch.inference_mode()
    def embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(N, D) float32 of images (N, H, W, 3) uint8; an :class:`InputError` for others, and for other features."""
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise InputError(f"images must be (N, H, W, 3) uint8, not {images.shape} {images.dtype}")
        together = min(max(_PIXELS // (images.shape[1] * images.shape[2]), 1), _IMAGES)
        parts = [self._embed(images[start : start + together]) for start in range(0, len(images), together)]
        return np.concatenate([np.empty((0, self.dimensions), np.float32), *parts])

    def _embed(self, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        pixels = torch.from_numpy(images).to(self._device).permute(0, 3, 1, 2).float()
        features = self._module(pixels * ((self._high - self._low) / 255) + self._low)
        if features.shape != (len(images), self.dimensions):
            raise InputError(
                f"{self.name} gives features of shape {tuple(features.shape)} for {len(images)} images, not "
                f"{(len(images), self.dimensions)}; pool what the module returns, or correct `dimensions`"
            )
        return features.float().cpu().numpy()
