"""Features without a store: the windows that are asked for are synthesised."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from hdgan.features.features import Features
from hdgan.features.patch import Floats, Patch, check_window
from hdgan.features.store import FeatureStore, kind_of
from hdgan.latents import Latents
from hdgan.provenance import digest
from hdgan.stylegan2 import WindowSynthesis
from tiling.errors import InputError
from tiling.stage import completed
from tiling.wording import quoted

if TYPE_CHECKING:
    from hdgan.stylegan2 import Generator

LATENTS = "latents.npz"
_WINDOWS = 4  # kept, of up to 32 MiB each at 496 channels of 512 px
_EDGE = 512  # px of the windows that pixels are gathered from
_BLOCKS = 5  # unless others are asked for: those of HDGAN


class ResynthesisedFeatures(Features):
    """Features of latents whose windows are synthesised when they are asked for, and the last few kept.

    They are those that :func:`hdgan.features.extract` would store as float32. Memory is that of
    :func:`hdgan.stylegan2.synthesize_windows`, and at most some 130 MiB for windows that are kept; time is that of the
    window's share of the image, and of the coarse blocks for every latent that is not the one before.

    Parameters
    ----------
    generator, latents
        What to run, on the device where the generator is, and on which w.
    blocks
        How many blocks, counted from the image's resolution down. Default: 5, or all there are.
    path
        The folder that tells of them, where they belong to a study.

    Raises
    ------
    InputError
        For blocks that the generator lacks, or no latents.
    """

    def __init__(
        self, generator: Generator, latents: Latents, blocks: int | None = None, *, path: Path = Path()
    ) -> None:
        blocks = checked_blocks(generator, latents, blocks)
        self._generator, self._latents, self._blocks = generator, latents, blocks
        self.path = path
        self.layers = dict(generator.synthesis.layout.feature_channels(blocks))
        self.shape = (generator.resolution, generator.resolution)
        self.seeds: npt.NDArray[np.int64] = latents.seed
        self.latents = tuple(latents.fingerprint(i) for i in range(len(latents)))
        self.generator = digest(generator.state_dict())
        self._synthesis = functools.lru_cache(1)(self._begin)
        self._window = functools.lru_cache(_WINDOWS)(self._synthesise)

    def patch(self, i: int, *, y: int, x: int, h: int, w: int) -> dict[str, Patch]:
        """The native pixels of every layer that the window at (y, x) of (h, w) image px needs, float32."""
        self._check(i)
        check_window(y, x, h, w, self.shape)
        return dict(self._window(i, y, x, h, w))

    def native(self, i: int, layer: str) -> Floats:
        """One layer of latent `i`, whole: (C, h', w') float32, synthesised window by window."""
        self._check(i, layer)
        height, width = self.shape
        windows = [
            (y, x, min(_EDGE, height - y), min(_EDGE, width - x))
            for y in range(0, height, _EDGE)
            for x in range(0, width, _EDGE)
        ]
        scale = self.patch(i, y=0, x=0, h=1, w=1)[layer].scale
        values = np.empty((self.layers[layer], height // scale, width // scale), np.float32)
        for y, x, h, w in windows:
            patch = self.patch(i, y=y, x=x, h=h, w=w)[layer]
            (top, bottom), (left, right) = ((at // scale, -(-(at + size) // scale)) for at, size in ((y, h), (x, w)))
            values[:, top:bottom, left:right] = patch.values[
                :, top - patch.y0 : bottom - patch.y0, left - patch.x0 : right - patch.x0
            ]
        return values

    def _around(self, i: int, y: npt.NDArray[np.int64], x: npt.NDArray[np.int64]) -> dict[str, Patch]:
        top, left = (int(positions[0]) // _EDGE * _EDGE for positions in (y, x))
        h, w = (min(_EDGE, edge - start) for edge, start in zip(self.shape, (top, left), strict=True))
        return self.patch(i, y=top, x=left, h=h, w=w)

    def _begin(self, i: int) -> WindowSynthesis:
        asked = self._latents.synthesis(i, device=next(self._generator.parameters()).device)
        return WindowSynthesis(self._generator, blocks=self._blocks, **asked)

    def _synthesise(self, i: int, y: int, x: int, h: int, w: int) -> dict[str, Patch]:
        patches = self._synthesis(i).features(y=y, x=x, h=h, w=w)
        return {
            layer: Patch(patch.values.float().cpu().numpy(), patch.y0, patch.x0, patch.scale)
            for layer, patch in patches.items()
        }


def checked_blocks(generator: Generator, latents: Latents, blocks: int | None) -> int:
    """How many blocks: as asked for, else the default. Blocks that the generator lacks are refused, and no latents."""
    most = sum(1 for _ in generator.synthesis.blocks())
    if blocks is None:
        blocks = min(_BLOCKS, most)
    elif not 1 <= blocks <= most:
        raise InputError(
            f"blocks must be 1 to {most}, of a generator of {generator.resolution} px, not {blocks}; take "
            f"{min(_BLOCKS, most)}"
        )
    if len(latents) == 0:
        raise InputError("there are no latents to extract features of; draw some with `hdgan sample`")
    return blocks


def open_features(path: str | Path, generator: Callable[[], Generator] | None = None) -> Features:
    """Open the folder of a finished extraction, whichever way it keeps features.

    Parameters
    ----------
    path
        What `extract` made.
    generator
        Gives the generator that they are of, on the device where it is to run; called if there is no store.

    Raises
    ------
    InputError
        For a folder that is half made; or one without a store, if there is no generator, or another.
    """
    folder = Path(path)
    completed(folder, made_by=f"hdgan features --study {quoted(folder.parent)}")
    kind = kind_of(folder)
    if kind is None or kind.read is not None:
        return FeatureStore(folder)
    if generator is None:
        raise InputError(f"{folder} has no store, and its features can be made again by their generator only; give it")
    attributes = kind.described(folder)
    latents = Latents.load(folder / kind.folder / LATENTS)
    features = ResynthesisedFeatures(generator(), latents, attributes["blocks"], path=folder)
    if features.generator != attributes["generator"]:
        raise InputError(f"{folder} is of another generator; run `hdgan features --redo` first")
    return features
