"""Samples of a generator: latents, images, a contact sheet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from hdgan.labels import Image
from hdgan.latents import Latents
from hdgan.pictures import ImageFiles, contact_sheet, write_png
from hdgan.samples import LATENTS, image_path
from hdgan.stylegan2 import Generator, load_generator, to_uint8
from tiling.files import sweep_partials
from tiling.progress import track
from tiling.stage import RECORD, Stage

_SHEET_IMAGES = 96


@torch.no_grad()
def render(generator: Generator, latents: Latents) -> Iterator[Image]:
    """Images (R, R, 3) uint8 of latents, one at a time, with the noise that the generator stores."""
    device = next(generator.parameters()).device
    for w in latents.w:
        yield to_uint8(generator.synthesis(torch.from_numpy(w[None]).to(device), noise="const"))[0]


def sample(
    generator_file: Path,
    out: Path,
    *,
    seeds: Sequence[int],
    psi: float = 0.7,
    device: torch.device | str = "cpu",
    redo: bool = False,
) -> Latents:
    """Draw images of a generator and keep what they were made from; the same call continues a killed one.

    Parameters
    ----------
    generator_file
        What a training left, in its run folder or elsewhere.
    out
        Folder for `latents.npz`, `images/image_0000.png` (number = place in the latents), `contact-sheet.png`.
    seeds
        One image each; -1 is the mean w.
    psi
        Truncation (Karras et al. 2019, appendix B); HDGAN samples at 0.7.
    device
        Where to draw. The latents come from the CPU wherever that is, so that a seed's w is the same everywhere.
    redo
        Discard what is in `out`.
    """
    generator = load_generator(generator_file)
    latents = Latents.sample(generator, seeds, psi=psi)  # before anything is discarded
    config = {"seeds": _ranges(seeds), "psi": psi}
    inputs = {"generator": _made(generator_file)}
    with Stage.begin(out, name="sample", config=config, inputs=inputs, redo=redo) as stage:
        if not stage.complete:
            _draw_missing(generator.to(device), latents, out)
            shown = ImageFiles([image_path(out, index) for index in range(min(len(latents), _SHEET_IMAGES))])
            write_png(out / "contact-sheet.png", contact_sheet(shown, columns=12))
            latents.save(out / LATENTS)
            stage.finish(principal=[out / LATENTS], summary={"images": len(latents)}, licence=generator.licence)
    return latents


def _draw_missing(generator: Generator, latents: Latents, out: Path) -> None:
    """Write the images that are not there yet."""
    sweep_partials(image_path(out, 0).parent)
    missing = [index for index in range(len(latents)) if not image_path(out, index).exists()]
    images = render(generator, latents.subset(missing))
    for index, image in zip(missing, track(images, "sample", total=len(missing)), strict=True):
        write_png(image_path(out, index), image)


def _made(generator_file: Path) -> Path:
    """The stage folder of a generator file if it lies in one, else the file."""
    return generator_file.parent if (generator_file.parent / RECORD).exists() else generator_file


def _ranges(seeds: Sequence[int]) -> str:
    """Seeds in short: "-1,0-499"."""
    parts: list[list[int]] = []
    for seed in seeds:
        if parts and seed == parts[-1][1] + 1 and parts[-1][0] >= 0:
            parts[-1][1] = seed
        else:
            parts.append([seed, seed])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)
