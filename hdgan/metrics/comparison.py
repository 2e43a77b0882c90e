"""Two sets of images compared in a feature space: the images are read one batch at a time, their features are kept."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from hdgan.labels import Image
from hdgan.metrics.distribution import Features, KernelDistance, Moments, frechet_distance, kernel_distance
from hdgan.metrics.neighbours import (
    Memorisation,
    Overlap,
    check_counts,
    memorisation,
    precision_recall_density_coverage,
)
from tiling.errors import InputError
from tiling.progress import track
from training.stream import prefetch

_PIXELS = 1 << 22  # of the images that are embedded together
_BATCH = 64
_ORIENTATIONS = 8

Labels = tuple[Sequence[str | None], Sequence[str | None]]


class FeatureSpace(Protocol):
    """What makes a vector of an image; :mod:`hdgan.embedding` has some."""

    @property
    def name(self) -> str:
        """What tells it from every other: numbers of one name may be compared."""

    @property
    def note(self) -> str:
        """What to know of its numbers, in a few words for reports; may be empty."""

    @property
    def dimensions(self) -> int:
        """D, the length of a vector."""

    def embed(self, images: Image) -> npt.NDArray[np.float32]:
        """(N, D) float32 of images (N, H, W, 3) uint8."""


@runtime_checkable
class Images(Protocol):
    """Images by number: a :class:`tiling.TileSet`, or anything like it."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> Image:
        """Image `index` as (H, W, 3) uint8."""


@dataclass(frozen=True)
class Chosen:
    """Some of many images, in the given order."""

    images: Images
    indices: Sequence[int]

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> Image:
        """Image `indices[index]` as (H, W, 3) uint8."""
        return self.images.read(self.indices[index])


@dataclass(frozen=True)
class Turned:
    """A feature space in which an image has the features of all its eight orientations, one after the other.

    The first are its own. A generator that was shown turned and mirrored tiles may repeat them so; distances to tiles
    are then those of the nearest orientation.
    """

    space: FeatureSpace

    @property
    def name(self) -> str:
        """The space's own."""
        return self.space.name

    @property
    def note(self) -> str:
        """The space's own."""
        return self.space.note

    @property
    def dimensions(self) -> int:
        """8 D."""
        return _ORIENTATIONS * self.space.dimensions

    def embed(self, images: Image) -> npt.NDArray[np.float32]:
        """(N, 8 D) float32 of images (N, H, W, 3) uint8."""
        turned = [np.rot90(each, turn, axes=(1, 2)) for each in (images, images[:, :, ::-1]) for turn in range(4)]
        return np.concatenate([self.space.embed(np.ascontiguousarray(each)) for each in turned], axis=1)

    def apart(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(N, 8, D): what it gave, the orientations by themselves."""
        return features.reshape(len(features), _ORIENTATIONS, self.space.dimensions)


def embed_images(
    images: Images | Iterable[Image], space: FeatureSpace, *, what: str, like: Image | None = None
) -> npt.NDArray[np.float32]:
    """Features (N, D) float32 of images, in order.

    Parameters
    ----------
    images
        Images by number, which are read ahead, or an iterable of (H, W, 3) uint8; all of one size.
    space
        What makes features of them.
    what
        What they are, for the progress and for errors: "training tiles".
    like
        An image that they are to be as large as.

    Raises
    ------
    InputError
        For images of other or several sizes, and features that are not finite.
    """
    if isinstance(images, Images):
        tracked = track(prefetch(images.read, 0, len(images), ahead=8, threads=2), what, len(images))
    else:
        tracked = track(images, what)
    rows = [space.embed(batch) for batch in _batches(tracked, None if like is None else like.shape)]
    features = np.concatenate([np.empty((0, space.dimensions), np.float32), *rows])
    if not np.isfinite(features).all():
        raise InputError(f"{space.name} gives features of {what} that are not finite; take another feature space")
    return features


def _batches(images: Iterable[Image], size: tuple[int, ...] | None) -> Iterator[Image]:
    """Stacks (n, H, W, 3), smaller ones of larger images."""
    batch: list[Image] = []
    for image in images:
        size = size or image.shape
        if image.shape != size:
            raise InputError(f"images differ in size: {size} and {image.shape}; compare those of one size")
        batch.append(image)
        if len(batch) == min(max(_PIXELS // (image.shape[0] * image.shape[1]), 1), _BATCH):
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


class Embed(Protocol):
    """A function like :func:`embed_images`."""

    def __call__(
        self, images: Images | Iterable[Image], space: FeatureSpace, *, what: str, like: Image | None = None
    ) -> npt.NDArray[np.float32]:
        """Features (N, D) float32 of images, in order."""


@dataclass(frozen=True)
class DistributionReport:
    """How far generated images are from real ones.

    Attributes
    ----------
    space, note, dimensions
        In which feature space, what to know of its numbers, and the length of its vectors.
    real, fake
        How many images were compared.
    frechet
        See :func:`frechet_distance`.
    kernel
        See :func:`kernel_distance`.
    overlap
        See :func:`precision_recall_density_coverage`.
    memorisation
        See :func:`hdgan.metrics.memorisation`; None where no training images were given.
    per_class
        The same for the images of each label, if labels were given; None for one with too few images on either side.
    """

    space: str
    note: str
    dimensions: int
    real: int
    fake: int
    frechet: float
    kernel: KernelDistance
    overlap: Overlap
    memorisation: Memorisation | None = None
    per_class: Mapping[str, DistributionReport | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return asdict(self)


def compare_distributions(
    real: Images | Iterable[Image],
    fake: Images | Iterable[Image],
    *,
    space: FeatureSpace,
    training: Images | Iterable[Image] | None = None,
    labels: Labels | None = None,
    k: int = 5,
    subsets: int = 100,
    subset_size: int | None = None,
    seed: int = 0,
    embed: Embed = embed_images,
) -> DistributionReport:
    """Compare generated images with real ones. Features are held in memory, images a batch at a time.

    Images are (H, W, 3) uint8, all of one size: by number (anything with `len()` and `read(i)`, as a
    :class:`tiling.TileSet`), in a sequence or an array (N, H, W, 3), or from an iterator, which is gone through once.

    Parameters
    ----------
    real
        Real images: best those that were held out from the training.
    fake
        Generated images, of the same size.
    space
        What makes features of both.
    training
        The images that the generator was trained on, none of which is in `real`: whether it learnt them by heart, in
        any orientation, is then judged, too.
    labels
        For a conditional generator, the label of every real and of every generated image; None where nobody knows it.
    k
        Neighbour of :func:`precision_recall_density_coverage`.
    subsets, subset_size, seed
        Of :func:`kernel_distance`.
    embed
        What computes the features, those of real images first: :meth:`hdgan.metrics.KeptFeatures.embed` keeps them.

    Raises
    ------
    InputError
        For images of several sizes, labels that are not as many as the images, and fewer than `k + 1` images.
    """
    measure = functools.partial(_measure, space=space, k=k, subsets=subsets, subset_size=subset_size, seed=seed)
    if isinstance(real, Sized) and isinstance(fake, Sized):
        _check_numbers(len(real), len(fake), labels, k)  # before anything takes long
    like, real = _first_of(real)
    turned = Turned(space)
    embedding = space if training is None else turned
    all_real = embed(real, embedding, what="real tiles", like=like)
    of_training = None if training is None else embed(training, space, what="training tiles", like=like)
    all_fake = embed(fake, embedding, what="generated images", like=like)
    _check_numbers(len(all_real), len(all_fake), labels, k)
    of_real, of_fake = all_real[:, : space.dimensions], all_fake[:, : space.dimensions]
    report = measure(of_real, of_fake)
    if of_training is not None:
        learnt = memorisation(turned.apart(all_fake), turned.apart(all_real), of_training)
        report = replace(report, memorisation=learnt)
    if labels is not None:
        real_labels, fake_labels = (np.asarray(each, object) for each in labels)
        names = sorted({name for name in labels[0] if name is not None})
        parts = {name: (of_real[real_labels == name], of_fake[fake_labels == name]) for name in names}
        per_class = {name: measure(*both) if min(map(len, both)) > k else None for name, both in parts.items()}
        report = replace(report, per_class=per_class)
    return report


def _first_of(images: Images | Iterable[Image]) -> tuple[Image | None, Images | Iterable[Image]]:
    """The first of the images, None if there is none, and all of them."""
    if isinstance(images, Images):
        return (images.read(0) if len(images) else None), images
    iterator = iter(images)
    first = next(iterator, None)
    if iterator is not images or first is None:
        return first, images
    return first, itertools.chain([first], iterator)


def _check_numbers(real: int, fake: int, labels: Labels | None, k: int) -> None:
    """An :class:`InputError` for too few images, and for labels of others."""
    check_counts(real, fake, k)
    if labels is not None and (given := tuple(map(len, labels))) != (real, fake):
        raise InputError(
            f"every image needs a label: {real} real and {fake} generated images, {given[0]} and {given[1]} labels"
        )


def _measure(
    real: Features, fake: Features, *, space: FeatureSpace, k: int, subsets: int, subset_size: int | None, seed: int
) -> DistributionReport:
    return DistributionReport(
        space=space.name,
        note=space.note,
        dimensions=space.dimensions,
        real=len(real),
        fake=len(fake),
        frechet=frechet_distance(Moments.of(real), Moments.of(fake)),
        kernel=kernel_distance(real, fake, subsets=subsets, subset_size=subset_size, seed=seed),
        overlap=precision_recall_density_coverage(real, fake, k=k),
    )
