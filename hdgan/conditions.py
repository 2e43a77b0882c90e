"""What a conditional generator is conditioned on: classes of tiles, by their labels. Needs no torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.wording import counted, first_few

if TYPE_CHECKING:
    from hdgan.stylegan2.generator import Generator

Floats = npt.NDArray[np.float32]
_JOINT = "+"


@runtime_checkable
class Labelled(Protocol):
    """What has labels: a :class:`tiling.TileSet`, a :class:`hdgan.image_folder.ImageFolder`, or anything like them."""

    def labels(self, name: str) -> list[str | None]:
        """A label of every tile; None where nobody knows."""


@runtime_checkable
class Named(Protocol):
    """Tiles that have names: an :class:`hdgan.image_folder.ImageFolder`."""

    @property
    def names(self) -> Sequence[str]:
        """Of every tile, in order."""


@dataclass(frozen=True)
class Conditions:
    """The classes of a conditional generator, in the order of its c.

    Attributes
    ----------
    counts
        Their names, and how many tiles of each it was trained on.
    """

    counts: Mapping[str, int]

    @classmethod
    def of(cls, generator: Generator) -> Conditions:
        """Those of a generator; where it does not name any, they are called by numbers and equally frequent."""
        return cls(generator.classes or {str(place): 1 for place in range(generator.config.c_dim)})

    def __len__(self) -> int:
        return len(self.counts)

    def index(self, text: str) -> int:
        """The place of a class, from its name or else from the number of its place."""
        names = list(self.counts)
        if text in names:
            return names.index(text)
        if text.isdecimal() and int(text) < len(names):
            return int(text)
        if not names:
            raise InputError(f"the generator has no condition, so no class {text!r}: leave the class out (--class)")
        raise InputError(f"no class {text!r}; there are: {', '.join(names)}")

    def one_hot(self, classes: npt.NDArray[np.int64]) -> Floats:
        """(N,) places of classes as (N, number of classes) float32."""
        return np.eye(len(self), dtype=np.float32)[classes]

    def of_seeds(self, seeds: Sequence[int], only: str | None = None) -> Floats:
        """The condition of the image of each seed, (N, number of classes) float32.

        `only` is the class of all, by name or number. Without it each seed draws its own, as often as they were in the
        training; a seed's class does not depend on those it is drawn with. The mean w, seed -1, is of no class.
        """
        from training.draws import numpy_draws

        if only is not None:
            classes = np.full(len(seeds), self.index(only), np.int64)
        elif not len(self):
            return np.zeros((len(seeds), 0), np.float32)
        else:
            upper = np.cumsum(list(self.counts.values()))
            drawn = [numpy_draws(seed, "class").integers(upper[-1]) for seed in seeds]
            classes = np.searchsorted(upper, drawn, side="right")
        c = self.one_hot(classes)
        c[np.asarray(seeds) < 0] = 0
        return c

    def names_of(self, c: Floats) -> list[str | None]:
        """The class of each row of c, (N, number of classes) one-hot; None for a row of zeros, or of nothing."""
        names = list(self.counts)
        return [names[row.argmax()] if row.any() else None for row in c]


def class_names(tiles: object, columns: Sequence[str], indices: Sequence[int]) -> list[str | None]:
    """What :func:`classes_of` calls the class of each tile, whether it was trained on or not.

    Returns
    -------
    list
        A name for each of the indices; None where a label of the tile is not known.

    Raises
    ------
    InputError
        If a label is not there.
    """
    values = _values(tiles, columns)
    of = [[known[index] for known in values] for index in indices]
    return [_JOINT.join(map(str, labels)) if all(labels) else None for labels in of]


def classes_of(
    tiles: object, columns: Sequence[str], indices: Sequence[int]
) -> tuple[Conditions, npt.NDArray[np.int64]]:
    """The classes of tiles: one for each value of a label, or each combination of values of several that occurs.

    Parameters
    ----------
    tiles
        What has the labels, see :class:`Labelled`.
    columns
        Names of labels. A class of several is called like "PAS+sclerosed".
    indices
        The tiles to train on.

    Returns
    -------
    conditions
        Classes by name, with their numbers of tiles.
    classes
        (len(indices),) int64: the place of each tile's class.

    Raises
    ------
    InputError
        If a label is not there, or not known of every tile, or if there is a single class.
    """
    values = _values(tiles, columns)
    lacking = {
        column: missing
        for column, known in zip(columns, values, strict=True)
        if (missing := sum(not known[index] for index in indices))
    }
    if lacking:
        told = [f"{column} ({counted(count, 'tile')} of {len(indices)})" for column, count in lacking.items()]
        index = next(index for index in indices if not all(known[index] for known in values))
        first = tiles.names[index] if isinstance(tiles, Named) else f"tile {index}"
        raise InputError(
            f"labels to condition on that are not known of every tile: {', '.join(told)}, {first} the first; "
            "complete the labels, or leave these tiles out"
        )
    of = [tuple(str(known[index]) for known in values) for index in indices]
    names = {combination: _JOINT.join(combination) for combination in sorted(set(of))}
    if len(names) < 2:
        raise InputError(
            f"all tiles are of one class, {', '.join(names.values())}: there is nothing to condition on; "
            "train without --condition"
        )
    if twice := [name for name, count in Counter(names.values()).items() if count > 1]:
        raise InputError(f"two combinations of labels would be called {first_few(twice)}; rename one of their values")
    tally = Counter(of)
    places = {combination: place for place, combination in enumerate(names)}
    return (
        Conditions({name: tally[combination] for combination, name in names.items()}),
        np.array([places[combination] for combination in of], np.int64),
    )


def _values(tiles: object, columns: Sequence[str]) -> list[list[str | None]]:
    """For each label its value of every tile."""
    if not isinstance(tiles, Labelled):
        raise InputError(f"{type(tiles).__name__} has no labels to condition on, which a tile set or image folder has")
    return [tiles.labels(column) for column in columns]
