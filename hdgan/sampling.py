"""Samples of a generator: latents, images, a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from hdgan.conditions import Conditions
from hdgan.latents import Latents
from hdgan.pictures import ImageFiles, contact_sheet, write_png
from hdgan.samples import LATENTS, NEAREST_SHEET, NEAREST_TABLE, image_path
from hdgan.stylegan2 import Generator, load_generator, render
from hdgan.stylegan2.run import GENERATOR
from tiling.errors import InputError
from tiling.files import remove, sweep_partials
from tiling.progress import note, track
from tiling.stage import RECORD, Stage

_SHEET_IMAGES = 96


def sample(
    generator_file: Path,
    out: Path,
    *,
    seeds: Sequence[int],
    psi: float = 0.7,
    noise: str = "const",
    of_class: str | None = None,
    device: torch.device | str = "cpu",
    redo: bool = False,
) -> Latents:
    """Draw images of a generator and keep what they were made from; the same call continues a killed one.

    A call with more seeds that count on from the last adds their samples, and leaves those that are there as they are:
    what was made of them (masks, features) stays valid, as the folder's fingerprint does not depend on their number.
    Only the table of their nearest training tiles is removed, as it no longer has all of them.

    Parameters
    ----------
    generator_file
        What a training left, in its run folder or elsewhere.
    out
        Folder for `latents.npz`, `images/image_0000.png` (number = place in the latents), `contact-sheet.png` (the
        first 96, by class if the generator has a condition).
    seeds
        One image each; -1 is the mean w.
    psi
        Truncation (Karras et al. 2019, appendix B); HDGAN samples at 0.7.
    noise
        "const" or "random", as for :meth:`hdgan.Latents.sample`.
    of_class
        Name or number of the class of all images, where the generator has a condition; by default each seed draws its
        own, as often as they were in the training.
    device
        Where to draw. The latents come from the CPU wherever that is, so that a seed's w is the same everywhere.
    redo
        Discard what is in `out`.
    """
    generator = load_generator(generator_file)
    conditions = Conditions.of(generator)
    c = conditions.of_seeds(seeds, of_class)
    latents = Latents.sample(generator, seeds, psi=psi, c=c, noise=noise)  # before anything is discarded
    if not redo:
        _refuse_fewer(out, len(seeds))
    config = {"seeds": _beginning(seeds), "n": len(seeds), "psi": psi, "noise": noise}
    config |= {} if of_class is None else {"class": list(conditions.counts)[conditions.index(of_class)]}
    inputs = {"generator": _made(generator_file)}
    with Stage.begin(out, name="sample", config=config, inputs=inputs, grows=("n",), redo=redo) as stage:
        if not stage.complete:
            latents = _with_those_there(out, latents)
            _drop_nearest(out)
            latents.save(out / LATENTS)  # before any image: it tells what the images are of
            _draw_missing(generator.to(device), latents, out)
            _write_sheet(out, conditions.names_of(latents.c[:_SHEET_IMAGES]))
            stage.finish(summary={"images": len(latents)}, licence=generator.licence)
    return Latents.load(out / LATENTS)


def _write_sheet(out: Path, classes: Sequence[str | None]) -> None:
    """Thumbnails of the first samples, whose classes these are: those of each class together, and with its name."""
    order = sorted(range(len(classes)), key=lambda index: classes[index] or "")
    captions = [f"{index} {classes[index] or ''}".rstrip() for index in order]
    images = ImageFiles([image_path(out, index) for index in order])
    write_png(out / "contact-sheet.png", contact_sheet(images, columns=12, captions=captions))


def _drop_nearest(out: Path) -> None:
    """Remove what tells of the nearest training tiles of fewer samples than there will be."""
    if (out / NEAREST_TABLE).exists():
        note(
            f"{out / NEAREST_TABLE} and {NEAREST_SHEET} are removed, as they tell of fewer images than there are now; "
            "`hdgan sample --nearest` makes them again"
        )
    for name in (NEAREST_TABLE, NEAREST_SHEET):
        remove(out / name)


def _refuse_fewer(out: Path, n: int) -> None:
    if image_path(out, n).exists():
        there = sum(1 for _ in image_path(out, 0).parent.glob("image_*.png"))
        raise InputError(
            f"{out} holds {there} samples already, and {n} are asked for; ask for more, or use another study"
        )


def _with_those_there(out: Path, latents: Latents) -> Latents:
    """`latents`, the first of which are those that the folder holds, to the last bit, wherever they were drawn."""
    if not (out / LATENTS).exists():
        return latents
    there = Latents.load(out / LATENTS)
    kept = min(len(there), len(latents))
    return there.subset(range(kept)).followed_by(latents.subset(range(kept, len(latents))))


def _draw_missing(generator: Generator, latents: Latents, out: Path) -> None:
    """Write the images that are not there yet."""
    sweep_partials(image_path(out, 0).parent)
    missing = [index for index in range(len(latents)) if not image_path(out, index).exists()]
    images = render(generator, latents.subset(missing))
    for index, image in zip(missing, track(images, "sample", total=len(missing)), strict=True):
        write_png(image_path(out, index), image)


def _made(generator_file: Path) -> Path:
    """The stage folder of a generator that is the stage's result, else the file: that of the best one, say."""
    folder = generator_file.parent
    return folder if generator_file.name == GENERATOR and (folder / RECORD).exists() else generator_file


def _beginning(seeds: Sequence[int]) -> str:
    """Seeds in short, without the last, up to which they count: "-1,0-". With their number it tells them all."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and seed == runs[-1][1] + 1 and runs[-1][0] >= 0:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    closed = [str(a) if a == b else f"{a}-{b}" for a, b in runs[:-1]]
    return ",".join([*closed, f"{runs[-1][0]}-"])
