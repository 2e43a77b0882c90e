"""One pair: strip by strip from the networks into its format. What a worker does, and what this process does itself."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from hdgan.labels import Image
from hdgan.latents import Latents
from hdgan.pairs.formats import PairFormat
from hdgan.pairs.strips import Strip, Tally
from hdgan.stylegan2 import load_generator, save_generator, synthesize_windows
from tiling.errors import InputError
from training.devices import choose_device

if TYPE_CHECKING:
    from hdgan.pixels import PixelEnsemble
    from hdgan.stylegan2 import Generator

_GENERATOR, _ENSEMBLE = "generator.safetensors", "ensemble.safetensors"


@dataclass(frozen=True)
class Made:
    """What is known of a pair that was written.

    Attributes
    ----------
    fractions
        Share of the pixels of each class.
    score
        How uncertain its mask is.
    thumbnail
        (t, t, 3) uint8, if it was asked for.
    """

    fractions: tuple[float, ...]
    score: float
    thumbnail: Image | None


@dataclass(frozen=True)
class Networks:
    """Generator and ensemble, in memory."""

    generator: Generator
    ensemble: PixelEnsemble

    def loaded(self) -> Networks:
        """These."""
        return self


@dataclass(frozen=True)
class NetworkFiles:
    """Generator and ensemble in a folder that workers see, too; each loads them once."""

    folder: Path
    device: str

    @classmethod
    def save(cls, networks: Networks, folder: Path) -> NetworkFiles:
        """Write them, to be loaded to a device of the kind where they are."""
        save_generator(networks.generator, folder / _GENERATOR)
        networks.ensemble.save(folder / _ENSEMBLE)
        return cls(folder.absolute(), _device(networks.generator).type)

    def loaded(self) -> Networks:
        """Read them, the first time."""
        return _loaded(self)


@dataclass(frozen=True)
class PairTask:
    """A pair to be made, by whom ever.

    Attributes
    ----------
    index
        Its number.
    latent
        One.
    networks
        What it is made with.
    target
        Where it goes.
    window
        Edge of the windows that are made at a time, px.
    label
        How its mask is decided, see :class:`hdgan.pixels.LabelRule`.
    thumbnail
        Edge of the thumbnail that is wanted, px.
    """

    index: int
    latent: Latents
    networks: Networks | NetworkFiles
    target: PairFormat
    window: int
    label: str
    thumbnail: int | None

    def __call__(self) -> Made:
        """Make it."""
        networks = self.networks.loaded()
        size = networks.generator.resolution
        tally = Tally(len(networks.ensemble.class_list), size, thumbnail=self.thumbnail)
        strips = pair_strips(networks.generator, networks.ensemble, self.latent, window=self.window, label=self.label)
        self.target.write(self.index, size, tally.watch(strips))
        return Made(tally.fractions, tally.score, tally.thumbnail)


@functools.lru_cache(maxsize=1)
def _loaded(files: NetworkFiles) -> Networks:
    from hdgan.pixels import PixelEnsemble

    device = choose_device(files.device)
    generator = load_generator(files.folder / _GENERATOR).to(device)
    return Networks(generator, PixelEnsemble.load(files.folder / _ENSEMBLE, device=device))


def pair_strips(
    generator: Generator, ensemble: PixelEnsemble, latent: Latents, *, window: int = 512, label: str = "vote"
) -> Iterator[Strip]:
    """Image, mask and uncertainty of one latent, from above, `window` rows at a time.

    Memory is set by a row of windows and by what `synthesize_windows` keeps: of no map of the image's resolution is
    more there at once.
    """
    size, device = generator.resolution, _device(generator)
    latents, predictor = latent.synthesis(0, device=device), ensemble.predictor()
    windows = synthesize_windows(generator, **latents, window=window, blocks=blocks_of(generator, ensemble))
    for _, row in itertools.groupby(windows, key=lambda part: part.y):
        strip: Strip | None = None
        for part in row:
            height, width = part.image.shape[:2]
            if strip is None:
                strip = Strip.empty(height, size)
            here = np.s_[:, part.x : part.x + width]
            strip.image[here] = part.image
            strip.mask[here], strip.uncertainty[here] = predictor.predict(part.features, label=label)
        assert strip is not None
        yield strip


def blocks_of(generator: Generator, ensemble: PixelEnsemble) -> int:
    """How many of the generator's last blocks the ensemble knows; refused if they are not of this generator's shape."""
    blocks = len({layer.split(".")[0] for layer in ensemble.layers})
    layers = generator.synthesis.layout.feature_channels(blocks)
    if layers != ensemble.layers:
        raise InputError(
            f"the ensemble was fitted on the layers {', '.join(ensemble.layers)}; "
            f"this generator has others: {', '.join(layers)}, or of other widths"
        )
    return blocks


def _device(generator: Generator) -> torch.device:
    return next(generator.parameters()).device
