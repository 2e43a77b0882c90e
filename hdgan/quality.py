"""How good a generator is: its images against the tiles that it was trained on, and those that it was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from hdgan.checks import check_number
from hdgan.metrics import Chosen, DistributionReport, FeatureSpace, compare_distributions
from hdgan.stylegan2 import Rendered, load_generator
from hdgan.stylegan2.checkpoint import GENERATOR_KIND
from hdgan.stylegan2.distance import draw_latents
from hdgan.stylegan2.run import told_tiles
from tiling import TileSet
from tiling.errors import InputError
from tiling.files import fingerprint, write_json
from tiling.progress import note
from tiling.stage import versions
from training.checkpoint import load_weights
from training.draws import numpy_draws


@dataclass(frozen=True)
class TileSplit:
    """Which tiles a generator was trained on.

    Attributes
    ----------
    training, held_out
        Indices of tiles; none are held out where it was trained on all.
    fold
        The fold that was held out, or None.
    """

    training: Sequence[int]
    held_out: Sequence[int]
    fold: int | None

    def thinned(self, most: int, seed: int) -> TileSplit:
        """With at most so many tiles of each kind, drawn by the seed."""

        def some(indices: Sequence[int], purpose: str) -> Sequence[int]:
            drawn = numpy_draws(seed, purpose).permutation(len(indices))[:most]
            return [indices[i] for i in sorted(drawn)]

        return TileSplit(some(self.training, "training tiles"), some(self.held_out, "held-out tiles"), self.fold)


def training_split(generator_file: Path, tiles: TileSet, *, hold_out: int | None = None) -> TileSplit:
    """Which tiles a generator was trained on, by what its file says of its training.

    Parameters
    ----------
    generator_file
        Made by a training.
    tiles
        The tiles as they were then. Of others it is not known whether the generator saw them: without `hold_out` they
        are all taken to be trained on, and a note says so.
    hold_out
        The fold that was left out of the training, if the file cannot tell.

    Raises
    ------
    InputError
        If there is no such fold, or the training did not leave it out.
    """
    folds = tiles.table()["fold"].to_pylist()
    if hold_out is not None and not 0 < folds.count(hold_out) < len(folds):
        there = ", ".join(map(str, sorted(set(folds))))
        raise InputError(f"fold {hold_out} cannot have been held out: the tiles are in folds {there}")
    recorded = load_weights(generator_file, kind=GENERATOR_KIND)[1].get("training", {}).get("tiles")
    splits = [_split(folds, fold) for fold in (None, *sorted(set(folds)))]
    found = next((split for split in splits if told_tiles(split.training) == recorded), None)
    if found is None:
        if hold_out is None:
            note(f"{generator_file} was trained on other tiles than these: they are all taken to be its training tiles")
        return _split(folds, hold_out)
    if hold_out not in (None, found.fold):
        on = "all tiles" if found.fold is None else f"all tiles but those of fold {found.fold}"
        raise InputError(
            f"fold {hold_out} was not held out: {generator_file} was trained on {on}; leave out --hold-out, or train "
            f"another one with --hold-out {hold_out}"
        )
    return found


def _split(folds: Sequence[int], fold: int | None) -> TileSplit:
    training = [i for i, of in enumerate(folds) if of != fold]
    return TileSplit(training, [i for i, of in enumerate(folds) if of == fold], fold)


def compare_generator(
    generator_file: Path,
    tiles: TileSet,
    out: Path,
    *,
    space: FeatureSpace,
    n: int = 1000,
    psi: float = 1.0,
    noise: str = "random",
    first_seed: int = 0,
    c: npt.NDArray[np.float32] | None = None,
    hold_out: int | None = None,
    most: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> DistributionReport:
    """Compare a generator's images with tiles, and keep the numbers with what they were made from in a JSON file.

    They are compared with the fold that the training left out, and then it is judged, too, whether training tiles were
    learnt by heart; or with all tiles, if it left none out.

    Parameters
    ----------
    generator_file
        What a training left.
    tiles
        Tiles with folds.
    out
        The JSON file; one that is there is replaced.
    space
        What makes features, see :mod:`hdgan.embedding`.
    n, psi, noise, first_seed
        How many images, their truncation, noise and seeds, as for :meth:`hdgan.Latents.sample`.
    c
        (n, c_dim) float32: what a conditional generator is asked for.
    hold_out
        See :func:`training_split`.
    most
        How many held-out and how many training tiles are read at most, drawn by `seed`; None: all.
    seed
        Of the tiles that are drawn, and of the kernel distance's subsets.
    device
        Where to make images.

    Raises
    ------
    InputError
        For settings that cannot be, images of another size than the tiles, and too few of either.
    """
    generator = load_generator(generator_file)
    latents = draw_latents(generator, range(first_seed, first_seed + n), psi=psi, noise=noise, c=c)
    split = training_split(generator_file, tiles, hold_out=hold_out)
    if most is not None:
        check_number("most", most, 1, 1_000_000_000)
        split = split.thinned(most, seed)
    report = compare_distributions(
        Chosen(tiles, split.held_out or split.training),
        Rendered(generator.to(device), latents),
        space=space,
        training=Chosen(tiles, split.training) if split.held_out else None,
        seed=seed,
    )
    about: dict[str, Any] = {
        "generator": fingerprint(generator_file),
        "licence": list(generator.licence),
        "images": {"n": n, "first_seed": first_seed, "psi": psi, "noise": noise},
        "tiles": {"fingerprint": fingerprint(tiles.path), "held_out_fold": split.fold, "most": most},
        "seed": seed,
        "versions": versions(),
    }
    write_json(out, about | {"report": report.to_dict()})
    return report
