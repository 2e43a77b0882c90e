"""How far a generator is from tiles that it is not trained on, while it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdgan.checks import check_number
from hdgan.conditions import Conditions, class_names
from hdgan.latents import Latents
from hdgan.metrics import (
    Chosen,
    FeatureSpace,
    Moments,
    embed_images,
    frechet_distance,
    kernel_distance,
    precision_recall_density_coverage,
)
from hdgan.provenance import told_tiles
from hdgan.stylegan2.data import PreparedTiles, Tiles
from hdgan.stylegan2.generator import Generator
from hdgan.stylegan2.presets import TrainConfig
from hdgan.stylegan2.rendering import Rendered
from tiling.errors import InputError
from training.metrics import Level

_FEW = 6  # images, of a class below which no distance is told for it: as many as `compare` needs


@dataclass(frozen=True)
class GeneratorEvaluation:
    """What a training measures of its average generator, and how often.

    Attributes
    ----------
    measure
        Gives metrics by name; the first of them is the score, which is to be low.
    kimg
        How often, in thousands of images; None: at the end.
    indices
        The tiles that it reads: looked at, like those to train on, before the training begins.
    about
        What else decides what it gives, such as how many images it draws: scores that differ in this are not compared.
    """

    measure: Callable[[Generator], Mapping[str, float]]
    kimg: float | None = None
    indices: Sequence[int] = ()
    about: str = ""


def steps_of(kimg: float | None, batch: int) -> int | None:
    """What is to be done every so many thousands of images as a number of steps of a batch; None if never."""
    if kimg is None:
        return None
    check_number("how often, kimg", kimg, 1e-3, 1e12, whole=False)
    return max(1, round(kimg * 1000 / batch))


def held_out_evaluation(
    tiles: Tiles,
    indices: Sequence[int],
    config: TrainConfig,
    *,
    space: FeatureSpace,
    condition: Sequence[str] = (),
    images: int = 1000,
    kimg: float | None = None,
) -> GeneratorEvaluation:
    """Measure the distance of a training to tiles that it leaves out, for all of them and for each class.

    Parameters
    ----------
    tiles
        What is trained on, see :func:`hdgan.stylegan2.train`; they are cropped and averaged down as it does it.
    indices
        Those that are held out.
    config
        Of the training.
    space, images
        See :class:`DistanceToHeldOut`.
    condition
        Names of the labels that the training is conditional on.
    kimg
        How often, in thousands of images; None: at the end.
    """
    prepared = PreparedTiles(tiles, config.resolution, crop=config.crop)
    classes = class_names(tiles, condition, indices) if condition else None
    measure = DistanceToHeldOut(prepared, indices, space=space, images=images, classes=classes)
    return GeneratorEvaluation(measure, kimg, indices, about=f"{images} images, tiles {told_tiles(indices)}")


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
    classes
        The class of each of `indices`, None where nobody knows it: the distances are then told of each class, too, that
        has six tiles and images or more.
    seed
        Of the kernel distance's subsets.

    Raises
    ------
    InputError
        For fewer than two tiles or images, a `c` for another number of images, and classes of other tiles.
    """

    def __init__(
        self,
        tiles: Tiles,
        indices: Sequence[int],
        *,
        space: FeatureSpace,
        images: int = 1000,
        c: npt.NDArray[np.float32] | None = None,
        classes: Sequence[str | None] | None = None,
        seed: int = 0,
    ) -> None:
        check_number("images", images, 2, 1_000_000)
        if len(indices) < 2:
            raise InputError(f"a distance takes at least 2 held-out tiles, not {len(indices)}; hold out another fold")
        if c is not None and len(c) != images:
            raise InputError(f"c must be for the {images} images that are drawn, not for {len(c)}")
        if classes is not None and len(classes) != len(indices):
            raise InputError(f"each of the {len(indices)} held-out tiles needs a class, not {len(classes)} of them")
        self._tiles, self._space = Chosen(tiles, indices), space
        self._classes = np.array(classes or [], object)
        self._images, self._c, self._seed = images, c, seed
        self._real: npt.NDArray[np.float32] | None = None

    def __call__(self, generator: Generator) -> dict[str, float]:
        """{"fd SPACE": ..., "kid SPACE": ...} of a generator in evaluation mode, on its device; levels, not means.

        Where there are six tiles and images, precision, recall, density and coverage are told, too, in the same way.
        The distances of a class are called "fd SPACE CLASS" and "kid SPACE CLASS".

        An :class:`InputError` if its images are not of the tiles' size, or if it is conditional, no `c` was given, and
        it does not know how frequent its classes are.
        """
        if self._real is None:
            self._real = embed_images(self._tiles, self._space, what="held-out tiles")
        drawn = draw_latents(generator, range(self._images), c=self._c)
        like = self._tiles.read(0)
        fake = embed_images(Rendered(generator, drawn), self._space, what="generated images", like=like)
        found = self._distances(self._real, fake)
        if min(len(self._real), len(fake)) >= _FEW:
            overlap = precision_recall_density_coverage(self._real, fake)
            found |= {
                f"{name} {self._space.name}": Level(getattr(overlap, name))
                for name in ("precision", "recall", "density", "coverage")
            }
        if not len(self._classes):
            return found
        of_fake = np.array(Conditions.of(generator).names_of(drawn.c), object)
        for name in sorted({name for name in self._classes if name is not None}):
            real_of, fake_of = self._real[self._classes == name], fake[of_fake == name]
            if min(len(real_of), len(fake_of)) >= _FEW:
                found |= self._distances(real_of, fake_of, f" {name}")
        return found

    def _distances(
        self, real: npt.NDArray[np.float32], fake: npt.NDArray[np.float32], of: str = ""
    ) -> dict[str, float]:
        return {
            f"fd {self._space.name}{of}": Level(frechet_distance(Moments.of(real), Moments.of(fake))),
            f"kid {self._space.name}{of}": Level(kernel_distance(real, fake, seed=self._seed).mean),
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
