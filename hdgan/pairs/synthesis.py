"""From latents to image-mask pairs, one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from hdgan.features.patch import cut
from hdgan.labels import ClassList, Image, LabelMap
from hdgan.latents import Latents, SeededLatents
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
from tiling.stage import RECORD, Stage, read_record
from tiling.wording import counted

if TYPE_CHECKING:
    from hdgan.pixels import PixelEnsemble
    from hdgan.stylegan2 import Generator

Uncertainty = npt.NDArray[np.float32]
_COMPARED = 1024  # latents that are held at a time to compare them with those of pairs that are there


def synthesize(
    generator: Generator,
    ensemble: PixelEnsemble,
    latents: Latents | SeededLatents,
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
        One pair each. Any number of `SeededLatents` takes no memory.
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
    whose = digest(generator.state_dict())
    if ensemble.fitted_on not in ("", whose):
        raise InputError(
            "the ensemble was fitted on the features of another generator (this one was trained on, or again); "
            "draw samples, annotate and fit anew, or use the generator that it was fitted on"
        )
    pairs = pair_format(format, folder, named)
    if not redo and _format_of(folder) in (None, format):  # another format is refused below, with both named
        _check_made(folder, latents)
    config = {
        "n": len(latents),
        "format": format,
        "window": window,
        "classes": named.names,
        "generator": whose,
        "ensemble": digest(ensemble.state_dict()),
        "first latent": latents.subset([0]).fingerprint(0),  # the others are compared one by one
    }
    with Stage.begin(
        folder,
        name="synthesize",
        config=config,
        inputs=inputs or {},
        origins={"generator": "another generator", "ensemble": "another ensemble", "first latent": "other latents"},
        grows=("n", "window"),
        redo=redo,
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
    blocks = len({layer.split(".")[0] for layer in ensemble.layers})
    layers = generator.synthesis.layout.feature_channels(blocks)
    if layers != ensemble.layers:
        raise InputError(
            f"the ensemble was fitted on the layers {', '.join(ensemble.layers)}; "
            f"this generator has others: {', '.join(layers)}, or of other widths"
        )
    return blocks


def _format_of(folder: Path) -> str | None:
    """In which format the pairs of a folder are; None if there are none."""
    return str(read_record(folder)["config"].get("format")) if (folder / RECORD).exists() else None


def _check_made(folder: Path, latents: Latents | SeededLatents) -> None:
    """Refuse to go on with pairs that are not those of the first latents, before anything is touched."""
    made = read_ledger(folder).select(["index", "seed", "psi", "latent"])
    indices = made["index"].to_numpy()
    if (indices >= len(latents)).any():
        raise InputError(
            f"{folder} holds {counted(len(indices), 'pair')} already, and {len(latents)} are asked for; "
            "ask for more, or open the set and take a subset"
        )
    for start in track(range(0, len(indices), _COMPARED), "comparing latents"):
        asked = latents.subset(indices[start : start + _COMPARED].tolist())
        for i, pair in enumerate(made.slice(start, _COMPARED).to_pylist()):
            if differs := _difference(pair, asked, i):
                raise InputError(
                    f"pair {pair['index']} in {folder} was made {differs}; "
                    "repeat the first request, add --redo to replace the set, or use another study"
                )


def _difference(pair: Mapping[str, Any], asked: Latents, i: int) -> str:
    """How a pair that was made differs from what is asked for, in words; empty if it does not."""
    for name, now in (("seed", asked.seed[i]), ("psi", asked.psi[i])):
        if pair[name] != now:
            return f"with {name} = {type(now)(pair[name])!s}, and now {now!s} is asked for"
    if pair["latent"] != asked.fingerprint(i):
        return f"from another latent of seed {pair['seed']}: with other noise, or by another generator"
    return ""


def _make_missing(
    generator: Generator,
    ensemble: PixelEnsemble,
    latents: Latents | SeededLatents,
    folder: Path,
    pairs: PairFormat,
    window: int,
) -> None:
    mend_ledger(folder)
    missing = np.ones(len(latents), bool)
    missing[read_ledger(folder)["index"].to_numpy()] = False
    pairs.prepare(len(latents), generator.resolution)
    for i in track(np.flatnonzero(missing).tolist(), "pairs"):
        latent = latents.subset([i])
        image, mask, uncertainty = make_pair(generator, ensemble, latent, window=window)
        pairs.write(i, image, mask, uncertainty.astype(np.float16))
        fractions = np.bincount(mask.ravel(), minlength=len(ensemble.class_list)) / mask.size
        record = PairRecord(
            index=i,
            seed=int(latent.seed[0]),
            psi=float(latent.psi[0]),
            latent=latent.fingerprint(0),
            uncertainty=image_score(uncertainty),
            fractions=tuple(fractions.tolist()),
        )
        append_to_ledger(folder, record)


@torch.inference_mode()
def make_pair(
    generator: Generator, ensemble: PixelEnsemble, latent: Latents, *, window: int = 512
) -> tuple[Image, LabelMap, Uncertainty]:
    """Image (H, W, 3) uint8, mask (H, W) uint8 and uncertainty (H, W) float32 of one latent."""
    device = next(generator.parameters()).device
    blocks = _blocks(generator, ensemble)
    image, features = generator.image_and_features(**latent.synthesis(0, device=device), blocks=blocks)
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
