"""From latents to image-mask pairs, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from hdgan.features.patch import cut
from hdgan.labels import ClassList, Image, LabelMap
from hdgan.latents import Latents
from hdgan.pairs.formats import PairFormat, pair_format
from hdgan.pairs.manifest import (
    MANIFEST,
    PairRecord,
    append_to_ledger,
    mend_ledger,
    read_ledger,
    write_manifest,
)
from hdgan.pairs.pairset import CLASSES, PairSet
from hdgan.provenance import digest
from hdgan.stylegan2 import to_uint8
from tiling.errors import InputError
from tiling.progress import track
from tiling.stage import Stage

if TYPE_CHECKING:
    from hdgan.pixels import PixelEnsemble
    from hdgan.stylegan2 import Generator

Uncertainty = npt.NDArray[np.float32]


def synthesize(
    generator: Generator,
    ensemble: PixelEnsemble,
    latents: Latents,
    out: str | Path,
    *,
    format: str = "zarr",
    window: int = 512,
    classes: ClassList | None = None,
    inputs: Mapping[str, Path] | None = None,
    redo: bool = False,
) -> PairSet:
    """Make the image of every latent and the mask that the ensemble gives it.

    A killed synthesis goes on with the same call at the pair where it was. A call with more latents, the first of
    which are the same, adds the new ones to a finished set.

    Parameters
    ----------
    generator, ensemble
        On the devices where they are; the ensemble was fitted on this generator's features.
    latents
        One pair each; noise is the stored one ("const").
    out
        Folder for the pairs, `manifest.parquet` (seed, psi, uncertainty, class fractions, licence) and `classes.json`.
    format
        "zarr", "ome-tiff" or "png".
    window
        Edge in px of the windows that are labelled at a time.
    classes
        Names and colours to write; default: the ensemble's.
    inputs
        Folders of the stages that generator, ensemble and latents come from; their fingerprints and licences are
        recorded, the latter beside those that generator and ensemble carry themselves.
    redo
        Discard what is there.
    """
    if window < 1:
        raise InputError(f"window must be at least 1 px, not {window}")
    if len(latents) == 0:
        raise InputError("there are no latents to make pairs of; draw some with `hdgan sample`")
    folder, named = Path(out), classes or ensemble.class_list
    if len(named) != len(ensemble.class_list):
        raise InputError(f"the ensemble tells {len(ensemble.class_list)} classes apart, and {len(named)} are named")
    _blocks(generator, ensemble)
    pairs = pair_format(format, folder, named)
    if not redo:
        _check_made(folder, latents)
    config = {
        "n": len(latents),
        "format": format,
        "window": window,
        "classes": named.names,
        "generator": digest(generator.state_dict()),
        "ensemble": digest(ensemble.state_dict()),
    }
    with Stage.begin(
        folder, name="synthesize", config=config, inputs=inputs or {}, grows=("n", "window"), redo=redo
    ) as stage:
        if not stage.complete:
            named.save(folder / CLASSES)
            _make_missing(generator, ensemble, latents, folder, pairs, window)
            licence = sorted({*stage.record["licence"], *generator.licence, *ensemble.licence})
            records = read_ledger(folder)
            write_manifest(folder, records, named.names, "; ".join(licence))
            stage.finish(principal=[folder / MANIFEST], summary={"pairs": len(records)}, licence=licence)
    return PairSet.open(folder)


def _blocks(generator: Generator, ensemble: PixelEnsemble) -> int:
    """How many of the generator's last blocks the ensemble knows; refused if they are not of this generator's shape."""
    layout = generator.synthesis.layout
    blocks = len({layer.split(".")[0] for layer in ensemble.layers})
    channels = {resolution: layout.channels(resolution) for resolution in layout.resolutions[-blocks:]}
    layers = {f"b{r}.{conv}": n for r, n in channels.items() for conv in ("conv0", "conv1") if r > 4 or conv == "conv1"}
    if layers != ensemble.layers:
        raise InputError(
            f"the ensemble was fitted on the layers {', '.join(ensemble.layers)}; "
            f"this generator has others: {', '.join(layers)}, or of other widths"
        )
    return blocks


def _check_made(folder: Path, latents: Latents) -> None:
    """Refuse to go on with pairs that are not those of the first latents, before anything is touched."""
    for record in read_ledger(folder):
        if record.index >= len(latents):
            raise InputError(
                f"{folder} holds pair {record.index} already, and {len(latents)} are asked for; "
                "ask for more, or open the set and take a subset"
            )
        if record.latent != _latent_digest(latents, record.index):
            raise InputError(
                f"pair {record.index} in {folder} was made from another latent (seed {record.seed}); "
                "add --redo to replace the set, or use another study"
            )


def _make_missing(
    generator: Generator, ensemble: PixelEnsemble, latents: Latents, folder: Path, pairs: PairFormat, window: int
) -> None:
    mend_ledger(folder)
    made = {record.index for record in read_ledger(folder)}
    pairs.prepare(len(latents), generator.resolution)
    for i in track([i for i in range(len(latents)) if i not in made], "pairs"):
        image, mask, uncertainty = make_pair(generator, ensemble, latents.w[i], window=window)
        pairs.write(i, image, mask, uncertainty.astype(np.float16))
        fractions = np.bincount(mask.ravel(), minlength=len(ensemble.class_list)) / mask.size
        record = PairRecord(
            index=i,
            seed=int(latents.seed[i]),
            psi=float(latents.psi[i]),
            latent=_latent_digest(latents, i),
            uncertainty=image_score(uncertainty),
            fractions=tuple(fractions.tolist()),
        )
        append_to_ledger(folder, record)


@torch.inference_mode()
def make_pair(
    generator: Generator, ensemble: PixelEnsemble, w: npt.NDArray[np.float32], *, window: int = 512
) -> tuple[Image, LabelMap, Uncertainty]:
    """Image (H, W, 3) uint8, mask (H, W) uint8 and uncertainty (H, W) float32 of one latent w (num_ws, w_dim)."""
    device = next(generator.parameters()).device
    blocks = _blocks(generator, ensemble)
    image, features = generator.image_and_features(torch.as_tensor(w)[None].to(device), blocks=blocks, noise="const")
    size = generator.resolution
    mask = np.empty((size, size), np.uint8)
    uncertainty = np.empty((size, size), np.float32)
    for y in range(0, size, window):
        for x in range(0, size, window):
            h, w_ = min(window, size - y), min(window, size - x)
            patches = {
                name: cut(values[0], scale=size // values.shape[2], y=y, x=x, h=h, w=w_)
                for name, values in features.items()
            }
            here = np.s_[y : y + h, x : x + w_]
            mask[here], uncertainty[here] = ensemble.predict(patches)
    return to_uint8(image)[0], mask, uncertainty


def image_score(uncertainty: Uncertainty) -> float:
    """Mean over the most uncertain tenth of the pixels, in nats (Zhang et al. 2021, section 3.2)."""
    count = max(uncertainty.size // 10, 1)
    return float(np.partition(uncertainty.ravel(), -count)[-count:].mean(dtype=np.float64))


def _latent_digest(latents: Latents, i: int) -> str:
    return digest({"w": latents.w[i]})[:16]
