"""How far a generator is from tiles that it is not trained on, while it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hdgan.checks import check_number
from hdgan.latents import Latents
from hdgan.metrics import Chosen, FeatureSpace, Moments, embed_images, frechet_distance, kernel_distance
from hdgan.stylegan2.data import Tiles
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.rendering import Rendered
from tiling.errors import InputError
from training.metrics import Level


class DistanceToHeldOut:
    """Frechet and kernel distance of a generator's images to held-out tiles, the same images whenever it is called.

    What it returns depends on the generator alone: it draws from no generator of random numbers that others use, and
    has no state to be kept with a checkpoint. Features of the tiles are computed at the first call and held in memory.

    Parameters
    ----------
    tiles
        Tiles by number, of the images' size: :class:`hdgan.stylegan2.data.PreparedTiles` gives them as a training shows
        them.
    indices
        Those that are held out.
    space
        What makes features, see :mod:`hdgan.embedding`.
    images
        How many images are drawn, at truncation psi 1, each with its own noise, by seeds from 0 on.
    c
        (images, c_dim) float32: what a conditional generator is asked for. `Conditions(counts).of_seeds(range(images))`
        (:mod:`hdgan.conditions`) asks for classes as often as tiles have them. By default it is that, where the
        generator knows the counts of its classes, as one that was loaded from a file does.
    seed
        Of the kernel distance's subsets.

    Raises
    ------
    InputError
        For fewer than two tiles or images, and a `c` for another number of images.
    """

    def __init__(
        self,
        tiles: Tiles,
        indices: Sequence[int],
        *,
        space: FeatureSpace,
        images: int = 1000,
        c: npt.NDArray[np.float32] | None = None,
        seed: int = 0,
    ) -> None:
        check_number("images", images, 2, 1_000_000)
        if len(indices) < 2:
            raise InputError(f"a distance takes at least 2 held-out tiles, not {len(indices)}; hold out another fold")
        if c is not None and len(c) != images:
            raise InputError(f"c must be for the {images} images that are drawn, not for {len(c)}")
        self._tiles, self._space = Chosen(tiles, indices), space
        self._images, self._c, self._seed = images, c, seed
        self._real: npt.NDArray[np.float32] | None = None

    def __call__(self, generator: Generator) -> dict[str, float]:
        """{"fd SPACE": ..., "kid SPACE": ...} of a generator in evaluation mode, on its device; levels, not means.

        An :class:`InputError` if its images are not of the tiles' size, or if it is conditional, no `c` was given, and
        it does not know how frequent its classes are.
        """
        if self._real is None:
            self._real = embed_images(self._tiles, self._space, what="held-out tiles")
        drawn = draw_latents(generator, range(self._images), c=self._c)
        like = self._tiles.read(0)
        fake = embed_images(Rendered(generator, drawn), self._space, what="generated images", like=like)
        return {
            f"fd {self._space.name}": Level(frechet_distance(Moments.of(self._real), Moments.of(fake))),
            f"kid {self._space.name}": Level(kernel_distance(self._real, fake, seed=self._seed).mean),
        }


def draw_latents(
    generator: Generator,
    seeds: Sequence[int],
    *,
    psi: float = 1.0,
    noise: str = "random",
    c: npt.NDArray[np.float32] | None = None,
) -> Latents:
    """Latents to judge a generator by; an :class:`InputError` if neither `c` nor the generator tells the classes."""
    width = generator.config.c_dim
    if c is None and width and not generator.classes:
        raise InputError(
            f"the generator is conditional, and does not know how frequent its classes are: say what to draw by c, "
            f"({len(seeds)}, {width}) float32"
        )
    return Latents.sample(generator, seeds, psi=psi, noise=noise, c=c)
