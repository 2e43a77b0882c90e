"""What can be read of the features of some latents, wherever they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from hdgan.checks import whole_numbers
from hdgan.features.patch import Floats, Patch, gather, upsample
from tiling.errors import InputError
from tiling.wording import counted

_BLOCK = 512  # px: single pixels are gathered block by block, so that a few of them do not read a whole map


class Features(Protocol):
    """Features of N latents, read by window or by pixel: stored, or synthesised again when they are asked for.

    Attributes
    ----------
    path
        The folder that tells of them.
    layers
        {layer: channels}, from low to high resolution: the order of channels wherever layers are joined.
    shape
        (H, W) of the images in px.
    seeds
        (N,) int64: the latents' seeds.
    latents
        Fingerprints of the N latents, see :meth:`hdgan.Latents.fingerprint`.
    generator
        Fingerprint of the generator whose features they are.
    """

    path: Path
    layers: dict[str, int]
    shape: tuple[int, int]
    seeds: npt.NDArray[np.int64]
    latents: tuple[str, ...]
    generator: str

    def patch(self, i: int, *, y: int, x: int, h: int, w: int) -> dict[str, Patch]:
        """The native pixels of every layer that the window at (y, x) of (h, w) image px needs."""
        ...

    def native(self, i: int, layer: str) -> npt.NDArray[np.floating[Any]]:
        """One layer of latent `i`, whole: (C, h', w') float16 or float32."""
        ...

    def __len__(self) -> int:
        return len(self.latents)

    def __repr__(self) -> str:
        of = f"{counted(len(self), 'latent')}: {self.channels} channels of {counted(len(self.layers), 'layer')}"
        return f"{type(self).__name__}({str(self.path)!r}, {of}, {self.shape[0]} x {self.shape[1]} px)"

    @property
    def channels(self) -> int:
        """Channels of all layers together."""
        return sum(self.layers.values())

    def window(self, i: int, *, y: int, x: int, h: int, w: int) -> Floats:
        """(C, h, w) float32: the upsampled features of a window, layers in order."""
        patches = self.patch(i, y=y, x=x, h=h, w=w)
        return np.concatenate([upsample(patch, y=y, x=x, h=h, w=w) for patch in patches.values()])

    def pixels(self, i: int, ys: npt.ArrayLike, xs: npt.ArrayLike) -> Floats:
        """(n, C) float32: the upsampled features of single pixels, gathered from the native maps.

        `ys` and `xs` are whole numbers (n,), of pixels in the image; others are an :class:`InputError`.
        """
        rows, columns = whole_numbers("ys", ys), whole_numbers("xs", xs)
        if rows.ndim != 1 or rows.shape != columns.shape:
            raise InputError(f"ys and xs must be two lists of one length, not {rows.shape} and {columns.shape}")
        result = np.empty((len(rows), self.channels), np.float32)
        block = rows // _BLOCK * (self.shape[1] // _BLOCK + 1) + columns // _BLOCK
        for number in np.unique(block):
            chosen = np.flatnonzero(block == number)
            y, x = rows[chosen], columns[chosen]
            patches = self._around(i, y, x)
            result[chosen] = np.concatenate([gather(patch, y, x) for patch in patches.values()]).T
        return result

    def _around(self, i: int, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> dict[str, Patch]:
        """Patches from which pixels of one block can be gathered."""
        top, left = int(y.min()), int(x.min())
        return self.patch(i, y=top, x=left, h=int(y.max()) - top + 1, w=int(x.max()) - left + 1)

    def _check(self, i: int, layer: str | None = None) -> None:
        if not 0 <= i < len(self):
            raise InputError(f"latent {i} is not in {self.path}, which holds 0 to {len(self) - 1}")
        if layer is not None and layer not in self.layers:
            raise InputError(f"layer {layer!r} is not in {self.path}, which holds {', '.join(self.layers)}")
