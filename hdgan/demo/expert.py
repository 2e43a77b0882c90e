"""Stand-ins for the pathologist, so that the demonstration runs from end to end without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.cluster.vq import kmeans2
from scipy.ndimage import gaussian_filter
from skimage.color import lab2rgb, rgb2lab

from hdgan.labels import KIDNEY, ClassList, Image, LabelClass, LabelMap
from hdgan.metrics import SegmentationReport, segmentation_report
from hdgan.segment import Segmenter, fit_segmenter
from tiling.errors import InputError
from tiling.wording import counted

_FITTED_PIXELS = 50_000
_SMOOTHING = 2.0  # px: nuclei and lumina smaller than this take the class around them
_STARTS = 4


def train_expert(
    tiles: npt.NDArray[np.uint8] | Sequence[Image],
    truths: npt.NDArray[np.uint8] | Sequence[LabelMap],
    out: Path,
    *,
    classes: ClassList = KIDNEY,
    steps: int = 400,
    seed: int = 0,
    redo: bool = False,
) -> Segmenter:
    """Train a segmenter on phantom tiles, whose truth is exact; it then labels generated images as an expert would.

    Parameters
    ----------
    tiles
        (N, H, W, 3) uint8, the tiles that the generator was trained on, or others of the same phantom.
    truths
        (N, H, W) uint8 class indices.
    out
        Folder of the trained expert; when it is complete already it is read back.
    classes
        The classes of the truth.
    steps
        Length of the training, in batches of 16 crops.
    seed
        Of the network and of every draw.
    redo
        Discard what is in `out`.
    """
    if len(tiles) != len(truths):
        raise InputError(
            f"every tile needs its truth: got {counted(len(tiles), 'tile')} and {counted(len(truths), 'truth')}"
        )
    crop = min(96, *(side // 8 * 8 for side in tiles[0].shape[:2])) if len(tiles) else 96
    return fit_segmenter(
        _Pairs(tiles, truths), out, classes=classes, steps=steps, crop=crop, seed=seed, redo=redo, width=16
    )


def score_expert(
    expert: Segmenter | ColourExpert,
    tiles: npt.NDArray[np.uint8] | Sequence[Image],
    truths: npt.NDArray[np.uint8] | Sequence[LabelMap],
) -> SegmentationReport:
    """How well an expert labels tiles it has not seen: (N, H, W, 3) uint8 against (N, H, W) uint8."""
    predicted: Iterator[LabelMap] = (expert.predict(tile) for tile in tiles)
    return segmentation_report(iter(truths), predicted, expert.classes)


@dataclass(frozen=True)
class _Pairs:
    tiles: npt.NDArray[np.uint8] | Sequence[Image]
    truths: npt.NDArray[np.uint8] | Sequence[LabelMap]

    def __len__(self) -> int:
        return len(self.tiles)

    def __getitem__(self, index: int, /) -> tuple[Image, LabelMap]:
        return self.tiles[index], self.truths[index]


@dataclass(frozen=True, eq=False)
class ColourExpert:
    """Labels each pixel by the nearest of a few colours: the stand-in where a slide has no truth."""

    centres: npt.NDArray[np.float64]
    """(K, 3) CIELAB, the brightest first."""

    classes: ClassList
    """One class per colour, named by its rank and shown in it."""

    def predict(self, image: Image) -> LabelMap:
        """(H, W, 3) uint8 -> (H, W) uint8: the index of the nearest colour, after smoothing over 2 px."""
        distances = [((_smooth_lab(image) - centre) ** 2).sum(axis=-1) for centre in self.centres]
        labels: LabelMap = np.argmin(distances, axis=0).astype(np.uint8)
        return labels


def kmeans_expert(images: npt.NDArray[np.uint8] | Sequence[Image], *, classes: int, seed: int) -> ColourExpert:
    """Find the colours that images consist of: k-means of smoothed CIELAB pixels.

    Parameters
    ----------
    images
        N images (H, W, 3) uint8; 50,000 of their pixels are used.
    classes
        How many colours, 2 to 16. Class 0 is the brightest: glass, on a bright-field slide.
    seed
        Of the pixels drawn and of the clusters' starts; the same seed finds the same colours.

    Raises
    ------
    InputError
        For another number of classes, or images that do not have so many different colours.
    """
    if not 2 <= classes <= 16:
        raise InputError(f"a colour expert tells 2 to 16 classes apart, not {classes}")
    if not len(images):
        raise InputError("a colour expert needs at least one image")
    generator = np.random.default_rng(seed)
    pixels = np.concatenate([_some_pixels(image, _FITTED_PIXELS // len(images) + 1, generator) for image in images])
    if len(np.unique(pixels.round(3), axis=0)) < classes:
        raise InputError(f"these images have fewer than {classes} colours; ask for fewer classes")
    fits = [kmeans2(pixels, classes, iter=50, minit="++", rng=generator) for _ in range(_STARTS)]
    centres = min((centres for centres, _ in fits), key=lambda centres: _misfit(pixels, centres))
    centres = centres[np.argsort(-centres[:, 0], kind="stable")]
    shown = np.rint(lab2rgb(centres[None])[0] * 255).astype(int).tolist()
    tones = [LabelClass(f"tone {rank} of {classes}", (r, g, b)) for rank, (r, g, b) in enumerate(shown, start=1)]
    return ColourExpert(centres, ClassList(tuple(tones)))


def _smooth_lab(image: Image) -> npt.NDArray[np.float64]:
    smoothed = gaussian_filter(image.astype(np.float64), (_SMOOTHING, _SMOOTHING, 0), mode="nearest")
    lab: npt.NDArray[np.float64] = rgb2lab(smoothed / 255)
    return lab


def _some_pixels(image: Image, n: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    pixels = _smooth_lab(image).reshape(-1, 3)
    return pixels[generator.choice(len(pixels), min(n, len(pixels)), replace=False)]


def _misfit(pixels: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]) -> float:
    return float(np.min([((pixels - centre) ** 2).sum(axis=1) for centre in centres], axis=0).sum())
