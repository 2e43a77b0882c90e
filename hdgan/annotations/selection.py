"""The samples chosen for the expert: a stage in a folder of its own, so that choosing anew touches no mask."""

from __future__ import annotations

from pathlib import Path

from hdgan.annotations.pick import check_number, pick
from hdgan.pictures import ImageFiles, contact_sheet, write_png
from tiling.errors import InputError
from tiling.files import read_json, write_json
from tiling.stage import Stage, completed, fingerprint_of

PICKED, SHEET = "picked.json", "contact-sheet.png"


def pick_samples(
    images: ImageFiles, out: Path, *, samples: Path, n: int, seed: int = 0, redo: bool = False
) -> list[int]:
    """Choose a diverse subset of a study's samples, see :func:`hdgan.annotations.pick`, and show it.

    Parameters
    ----------
    images
        Of all samples, in order.
    out
        Folder for `picked.json` and `contact-sheet.png`; when it is complete already it is read back.
    samples
        The folder that the samples lie in, made by `hdgan sample`: its fingerprint, which does not depend on how many
        samples there are, is recorded.
    n, seed
        How many to choose, and the seed of the choice.
    redo
        Discard what is in `out`. Exported images and imported masks lie elsewhere and stay.

    Returns
    -------
    list of int
        n different indices of samples, ascending.

    Raises
    ------
    InputError
        When there are fewer than n samples, or `out` was made with other settings or from other samples.
    """
    check_number(n, len(images))  # before anything is discarded
    config = {"n": n, "seed": seed}
    with Stage.begin(out, name="annotate pick", config=config, inputs={"samples": samples}, redo=redo) as stage:
        if not stage.complete:
            chosen = pick(images, n, seed=seed)
            captions = [f"image_{index:04d}" for index in chosen]
            write_png(out / SHEET, contact_sheet(images.subset(chosen), captions=captions))
            write_json(out / PICKED, {"indices": chosen})
            stage.finish(principal=[out / PICKED], summary={"images": n})
    return picked_samples(out, samples)


def picked_samples(folder: Path, samples: Path, *, made_by: str = "hdgan annotate pick") -> list[int]:
    """The indices that :func:`pick_samples` left in a folder.

    Raises
    ------
    InputError
        With the command `made_by` to run, when none were chosen yet, or among other samples than those of the folder
        `samples`, or when `picked.json` does not list them.
    """
    if completed(folder, made_by=made_by)["inputs"].get("samples") != fingerprint_of(samples):
        raise InputError(f"{folder} was chosen among other samples: choose again with `{made_by} --redo`")
    path = folder / PICKED
    indices = read_json(path).get("indices") if path.exists() else None
    if not isinstance(indices, list) or not all(isinstance(index, int) and index >= 0 for index in indices):
        raise InputError(f'{path} lists no samples as "indices": choose again with `{made_by} --redo`')
    return indices
