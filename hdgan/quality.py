"""How good a generator is: its images against the tiles that it was trained on, and those that it was not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from hdgan.checks import check_number
from hdgan.conditions import Conditions, class_names
from hdgan.image_folder import ImageFolder
from hdgan.latents import Latents
from hdgan.metrics import (
    Chosen,
    DistributionReport,
    Embed,
    FeatureSpace,
    KeptFeatures,
    compare_distributions,
    embed_images,
)
from hdgan.provenance import told_tiles
from hdgan.stylegan2 import Generator, Rendered, load_generator
from hdgan.stylegan2.checkpoint import GENERATOR_KIND
from hdgan.stylegan2.data import PreparedTiles
from tiling import TileSet
from tiling.errors import InputError
from tiling.files import fingerprint, write_json
from tiling.lock import FolderLock, is_locked
from tiling.progress import note
from tiling.stage import versions
from training.checkpoint import load_weights
from training.draws import numpy_draws

RealTiles = TileSet | ImageFolder
"""What generators are trained on."""


@dataclass(frozen=True)
class TileSplit:
    """Which tiles a generator was trained on, and which part of each.

    Attributes
    ----------
    training, held_out
        Indices of tiles; none are held out where it was trained on all.
    fold
        The fold that was held out, or None.
    crop
        Edge of the squares that were cut out of them, px of the tile; None for whole tiles.
    """

    training: Sequence[int]
    held_out: Sequence[int]
    fold: int | None
    crop: int | None = None

    def thinned(self, most: int, seed: int) -> TileSplit:
        """With at most so many tiles of each kind, drawn by the seed."""

        def some(indices: Sequence[int], purpose: str) -> Sequence[int]:
            drawn = numpy_draws(seed, purpose).permutation(len(indices))[:most]
            return [indices[i] for i in sorted(drawn)]

        training, held_out = some(self.training, "training tiles"), some(self.held_out, "held-out tiles")
        return replace(self, training=training, held_out=held_out)

    def prepared(self, tiles: RealTiles, resolution: int, seed: int = 0) -> PreparedTiles:
        """The tiles as the training showed them, but not turned: of each one crop, whose place `seed` draws."""
        return PreparedTiles(tiles, resolution, crop=self.crop, seed=seed)


def training_of(generator_file: Path) -> dict[str, Any]:
    """The settings of the training that a generator's file tells of; none of one that was imported."""
    settings: dict[str, Any] = load_weights(generator_file, kind=GENERATOR_KIND)[1].get("training", {})
    return settings


def training_split(generator_file: Path, tiles: RealTiles, *, hold_out: int | None = None) -> TileSplit:
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
    folds = tiles.folds()
    if hold_out is not None and not 0 < folds.count(hold_out) < len(folds):
        there = ", ".join(map(str, sorted(set(folds))))
        raise InputError(f"fold {hold_out} cannot have been held out: the tiles are in folds {there}")
    settings = training_of(generator_file)
    crop = settings.get("crop")
    of_these = settings.get("images") == (tiles.fingerprint if isinstance(tiles, ImageFolder) else None)
    splits = [_split(folds, fold, crop) for fold in (None, *sorted(set(folds)))] if of_these else []
    found = next((split for split in splits if told_tiles(split.training) == settings.get("tiles")), None)
    if found is None:
        if hold_out is None:
            note(f"{generator_file} was trained on other tiles than these: they are all taken to be its training tiles")
        return _split(folds, hold_out, crop)
    if hold_out not in (None, found.fold):
        on = "all tiles" if found.fold is None else f"all tiles but those of fold {found.fold}"
        raise InputError(
            f"fold {hold_out} was not held out: {generator_file} was trained on {on}; leave out --hold-out, or train "
            f"another one with --hold-out {hold_out}"
        )
    return found


def _split(folds: Sequence[int], fold: int | None, crop: int | None) -> TileSplit:
    training = [i for i, of in enumerate(folds) if of != fold]
    return TileSplit(training, [i for i, of in enumerate(folds) if of == fold], fold, crop)


@contextlib.contextmanager
def keeping_features(tiles: RealTiles, prepared: PreparedTiles, folder: Path | None) -> Iterator[Embed]:
    """What computes features of tiles and keeps them in a folder, if one is given; in the end no others are there.

    While another process keeps features there, none are kept.
    """
    if folder is None or is_locked(folder):
        yield embed_images
        return
    seed = None if prepared.crop is None else prepared.seed
    about = {"tiles": identity_of(tiles), "resolution": prepared.resolution, "crop": prepared.crop, "seed": seed}
    features, lock = KeptFeatures(folder, about), FolderLock(folder)
    try:
        yield features.embed
        features.forget_others()
    finally:
        lock.release()


def identity_of(tiles: RealTiles) -> str:
    """A fingerprint of a tile set's manifest, or of the names and sizes of images."""
    return tiles.fingerprint if isinstance(tiles, ImageFolder) else fingerprint(tiles.path)


def compare_generator(
    generator_file: Path,
    tiles: RealTiles,
    out: Path,
    *,
    space: FeatureSpace,
    n: int = 1000,
    psi: float = 1.0,
    noise: str = "random",
    first_seed: int = 0,
    hold_out: int | None = None,
    most: int | None = None,
    seed: int = 0,
    kept: Path | None = None,
    device: torch.device | str = "cpu",
) -> DistributionReport:
    """Compare a generator's images with tiles, and keep the numbers with what they were made from in a JSON file.

    They are compared with the fold that the training left out, and then it is judged, too, whether training tiles were
    learnt by heart; or with all tiles, if it left none out. Tiles are cropped and averaged down as the training did it,
    each at one place. Images of a conditional generator are of classes drawn as often as they were in the training, and
    each class is compared with the tiles of its name, too.

    Parameters
    ----------
    generator_file
        What a training left.
    tiles
        A tile set or a folder of images.
    out
        The JSON file; one that is there is replaced.
    space
        What makes features, see :mod:`hdgan.embedding`.
    n, psi, noise, first_seed
        How many images, their truncation, noise and seeds, as for :meth:`hdgan.Latents.sample`.
    hold_out
        See :func:`training_split`.
    most
        How many held-out and how many training tiles are read at most, drawn by `seed`; None: all.
    seed
        Of the tiles that are drawn, of the places of crops, and of the kernel distance's subsets.
    kept
        Folder in which features of tiles are kept, so that a comparison that was killed goes on, and the next one is
        quicker: those of this comparison, no others. None: nowhere.
    device
        Where to make images.

    Raises
    ------
    InputError
        For settings that cannot be, tiles too small to have been trained on, and too few tiles or images.
    """
    generator = load_generator(generator_file)
    latents = Latents.sample(generator, range(first_seed, first_seed + n), psi=psi, noise=noise)
    split = training_split(generator_file, tiles, hold_out=hold_out)
    if most is not None:
        check_number("most", most, 1, 1_000_000_000)
        split = split.thinned(most, seed)
    real, shown = split.held_out or split.training, split.prepared(tiles, generator.resolution, seed)
    with keeping_features(tiles, shown, kept) as embed:
        report = compare_distributions(
            Chosen(shown, real),
            Rendered(generator.to(device), latents),
            space=space,
            training=Chosen(shown, split.training) if split.held_out else None,
            labels=_labels(generator, training_of(generator_file), latents, tiles, real),
            seed=seed,
            embed=embed,
        )
    about: dict[str, Any] = {
        "generator": fingerprint(generator_file),
        "licence": list(generator.licence),
        "images": {"n": n, "first_seed": first_seed, "psi": psi, "noise": noise},
        "tiles": {"fingerprint": identity_of(tiles), "held_out_fold": split.fold, "crop": split.crop, "most": most},
        "seed": seed,
        "versions": versions(),
    }
    write_json(out, about | {"report": report.to_dict()})
    return report


def _labels(
    generator: Generator, settings: Mapping[str, Any], latents: Latents, tiles: RealTiles, real: Sequence[int]
) -> tuple[list[str | None], list[str | None]] | None:
    """The classes of real tiles and of images, where the generator's are labels of tiles that these have."""
    if "condition" not in settings:
        return None
    try:
        of_real = class_names(tiles, settings["condition"].split(","), real)
    except InputError as error:
        note(f"no comparison of each class: {error}")
        return None
    return of_real, Conditions.of(generator).names_of(latents.c)
