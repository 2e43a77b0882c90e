"""A fitted network, applied to images of any size in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from hdgan.labels import ClassList, Image, LabelMap
from hdgan.segment.network import REACH, STRIDE, UNet
from hdgan.segment.precision import autocast
from tiling.errors import InputError
from training.checkpoint import build_network, load_weights, save_weights
from training.devices import choose_device

WEIGHTS = "network.safetensors"
_CLASSES = "classes.json"
_KIND = "segmenter"
_Rows = tuple[slice, slice]


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A segmentation network and the classes it knows.

    Large images go through the network window by window. Each window is read with the margin that its outputs
    depend on, so the result is that of the whole image.
    """

    network: UNet
    classes: ClassList

    @classmethod
    def load(cls, path: Path, *, device: str = "cpu") -> Segmenter:
        """Read the folder that :func:`~hdgan.segment.fit_segmenter` or :meth:`save` wrote."""
        classes = ClassList.load(path / _CLASSES)
        tensors, about = load_weights(path / WEIGHTS, kind=_KIND, needs=["width"])
        network = build_network(lambda: UNet(len(classes), width=about["width"]), tensors, path / WEIGHTS)
        return cls(place_network(network, choose_device(device)).eval(), classes)

    def save(self, path: Path) -> None:
        """Write weights (safetensors) and classes (JSON) into a folder."""
        self.classes.save(path / _CLASSES)
        about = {"width": self.network.head.in_channels}
        save_weights(path / WEIGHTS, self.network.state_dict(), kind=_KIND, about=about)

    def predict(self, image: Image, *, window: int = 1024) -> LabelMap:
        """The most probable class of every pixel.

        Parameters
        ----------
        image
            (H, W, 3) uint8, of the resolution and stain that the network was fitted on; any H and W. May be a
            memory map or a zarr array: it is read window by window.
        window
            Side of the windows, px, a multiple of 8.

        Returns
        -------
        LabelMap
            (H, W) uint8.
        """
        labels = np.empty(image.shape[:2], np.uint8)
        for place, logits in self._windows(image, window):
            labels[place] = logits.argmax(dim=0).cpu().numpy()
        return labels

    def probabilities(self, image: Image, *, window: int = 1024) -> npt.NDArray[np.float32]:
        """(K, H, W) float32: every class's probability at every pixel. Parameters as for :meth:`predict`."""
        probabilities = np.empty((len(self.classes), *image.shape[:2]), np.float32)
        for place, logits in self._windows(image, window):
            probabilities[:, *place] = logits.softmax(dim=0).cpu().numpy()
        return probabilities

    def _windows(self, image: Image, window: int) -> Iterator[tuple[_Rows, torch.Tensor]]:
        """Places in the image, and their logits (K, h, w) float32."""
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
            raise InputError(f"an image to segment is (H, W, 3) uint8, not {image.shape} {image.dtype}")
        if window < STRIDE or window % STRIDE:
            raise InputError(f"windows have a side that is a multiple of {STRIDE}, not {window}")
        height, width = image.shape[:2]
        for y in range(0, height, window):
            for x in range(0, width, window):
                place = slice(y, min(y + window, height)), slice(x, min(x + window, width))
                top, left = max(y - REACH, 0), max(x - REACH, 0)
                patch = np.asarray(image[top : y + window + REACH, left : x + window + REACH])
                logits = self._logits(patch)
                rows, columns = place
                inner = logits[:, rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
                yield place, inner

    @torch.inference_mode()
    def _logits(self, patch: Image) -> torch.Tensor:
        """(h, w, 3) uint8 -> (K, h, w) float32; h and w are padded to what the network takes."""
        height, width = patch.shape[:2]
        padded = np.pad(patch, ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")
        device = self.network.head.weight.device
        with autocast(device):
            logits: torch.Tensor = self.network(to_network(torch.from_numpy(padded).to(device)[None]))
        return logits[0, :, :height, :width].float()


def place_network(network: UNet, device: torch.device) -> UNet:
    """The network on a device, its weights channels last in memory: the layout that convolutions are fast in."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device)


def to_network(images: torch.Tensor) -> torch.Tensor:
    """(N, H, W, 3) uint8 -> (N, 3, H, W) float32 in [-1, 1], channels last in memory."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1
