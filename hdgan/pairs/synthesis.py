"""From latents to image-mask pairs: each made window by window, in this process or by workers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hdgan.checks import check_window_edge
from hdgan.labels import ClassList
from hdgan.latents import Latents, SeededLatents
from hdgan.pairs.crew import Crew
from hdgan.pairs.formats import UNMADE, pair_format
from hdgan.pairs.making import Networks, blocks_of
from hdgan.pairs.manifest import (
    MANIFEST,
    mend_ledger,
    read_ledger,
    settle_ledger,
    write_failures,
    write_manifest,
)
from hdgan.pairs.pairset import CLASSES, GROWS, PairSet
from hdgan.pairs.production import Production
from hdgan.pixels import LabelRule
from hdgan.provenance import digest
from tiling.choices import chosen
from tiling.errors import InputError
from tiling.progress import track
from tiling.stage import RECORD, Stage, read_record
from tiling.wording import counted

if TYPE_CHECKING:
    from hdgan.pairs.memorisation import TrainingTiles
    from hdgan.pixels import PixelEnsemble
    from hdgan.stylegan2 import Generator

_COMPARED = 1024  # latents that are held at a time to compare them with those of pairs that are there


def synthesize(
    generator: Generator,
    ensemble: PixelEnsemble,
    latents: Latents | SeededLatents,
    out: str | Path,
    *,
    format: str = "zarr",
    window: int = 512,
    label: str = "vote",
    classes: ClassList | None = None,
    tiles: TrainingTiles | None = None,
    inputs: Mapping[str, Path] | None = None,
    scheduler: str | None = None,
    workers: int = 0,
    memory: str | None = None,
    retries: int = 2,
    redo: bool = False,
) -> PairSet:
    """Make the image of every latent and the mask that the ensemble gives it.

    Images, masks and uncertainties go into their files window by window: none is ever whole in memory. A killed
    synthesis goes on with the same call at the pair where it was. A call with more latents, the first of which are the
    same, adds the new ones to a finished set.

    Parameters
    ----------
    generator, ensemble
        On the devices where they are; the ensemble was fitted on this generator's features.
    latents
        One pair each. Any number of `SeededLatents` takes no memory.
    out
        Folder for the pairs, `manifest.parquet` (seed, psi, uncertainty, class fractions, nearest training tile,
        licence) and `classes.json`.
    format
        "zarr", "ome-tiff" or "png".
    window
        Edge of the windows that are made at a time, 8 to 4096 px; the whole image at once, if that is no larger.
    label
        How a pixel's class is decided where the members differ: "vote" (of most members) or "mean" (of the highest mean
        probability), see :class:`hdgan.pixels.LabelRule`.
    classes
        Names and colours to write; default: the ensemble's.
    tiles
        What the generator was trained on, see :func:`hdgan.pairs.training_tiles`: of each image the nearest tile and
        its distance are then noted.
    inputs
        Folders of the stages that generator, ensemble and latents come from; their fingerprints and licences are
        recorded, the latter beside those that generator and ensemble carry themselves.
    scheduler, workers, memory
        Who makes the pairs, see :func:`tiling.workers.start_workers`: the workers of a dask scheduler, or so many
        processes of this machine of at most 4 GiB each; by default this process. The result is the same but for
        rounding, which depends on the number of threads: a worker of this machine has one.
    retries
        How often a worker tries a pair again that ended with an error.
    redo
        Discard what is there.

    Returns
    -------
    PairSet
        All pairs, but those that workers could not make: `failed.jsonl` lists them with their errors, and the same call
        tries them again. In this process an error ends the call.

    Raises
    ------
    InputError
        For settings that make no sense, latents other than those of the pairs that are there, an ensemble of another
        generator, or if workers could make no pair at all.
    """
    check_window_edge(window)
    rule = chosen(LabelRule, label, option="label")
    crew = Crew(scheduler, workers, memory, retries)
    if len(latents) == 0:
        raise InputError("there are no latents to make pairs of; draw some with `hdgan sample`")
    folder, named = Path(out), classes or ensemble.class_list
    if len(named) != len(ensemble.class_list):
        raise InputError(f"the ensemble tells {len(ensemble.class_list)} classes apart, and {len(named)} are named")
    blocks_of(generator, ensemble)
    whose = digest(generator.state_dict())
    if ensemble.fitted_on not in ("", whose):
        raise InputError(
            "the ensemble was fitted on the features of another generator (this one was trained on, or again); "
            "draw samples, annotate and fit anew, or use the generator that it was fitted on"
        )
    pairs = pair_format(format, folder.absolute(), named, generator.mpp)  # workers may be in other folders
    if not redo and _format_of(folder) in (None, format):  # another format is refused below, with both named
        _check_made(folder, latents)
    config = {
        "n": len(latents),
        "format": format,
        "window": window,
        "label": rule,
        "classes": named.names,
        "generator": whose,
        "ensemble": digest(ensemble.state_dict()),
        "first latent": latents.subset([0]).fingerprint(0),  # the others are compared one by one
        **({} if tiles is None else {"nearest": tiles.about}),
        **({} if generator.mpp is None else {"mpp": generator.mpp}),
    }
    origins = {
        "generator": "another generator",
        "ensemble": "another ensemble",
        "first latent": "other latents",
        "nearest": "a comparison with other training tiles, or with none, or in another feature space",
    }
    with Stage.begin(
        folder,
        name="synthesize",
        config=config,
        inputs=inputs or {},
        origins=origins,
        grows=GROWS,
        unsettled=lambda summary: summary.get("failed", 0) > 0,
        as_now=lambda made: {"label": "vote", **made},  # before there was a choice
        redo=redo,
    ) as stage:
        if not stage.complete:
            named.save(folder / CLASSES)
            production = Production(Networks(generator, ensemble), latents, folder, pairs, window, rule, tiles)
            _complete(stage, production, crew, named)
    return PairSet.open(folder)


def _complete(stage: Stage, production: Production, crew: Crew, classes: ClassList) -> None:
    """Make what the ledger lacks, list what could not be made, and put the manifest together."""
    folder, networks = production.folder, production.networks
    mend_ledger(folder)
    missing = np.ones(len(production.latents), bool)
    missing[read_ledger(folder)["index"].to_numpy()] = False
    failed = production.make(np.flatnonzero(missing).tolist(), crew)
    write_failures(folder, failed)
    records = settle_ledger(folder)
    if not len(records):
        raise InputError(f"none of {counted(len(failed), 'pair')} could be made: {failed[0].error}")
    licence = sorted({*stage.record["licence"], *networks.generator.licence, *networks.ensemble.licence})
    index, seed = np.full((2, len(production.latents)), UNMADE)
    made = records["index"].to_numpy()
    index[made], seed[made] = made, records["seed"].to_numpy()
    production.target.settle(index, seed)
    write_manifest(folder, records, classes.names, "; ".join(licence), networks.generator.mpp)
    summary = {"pairs": len(records), **({"failed": len(failed)} if failed else {})}
    stage.finish(principal=[folder / MANIFEST], summary=summary, licence=licence)


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
