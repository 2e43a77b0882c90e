"""From latents to a feature store, one latent at a time, window by window."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hdgan.features.features import Features
from hdgan.features.patch import Patch
from hdgan.features.resynthesis import LATENTS, checked_blocks, open_features
from hdgan.features.store import STORES, attributes_of, stored_latents
from hdgan.features.writing import WINDOW, MapPlan, NativeMaps, write_latent
from hdgan.provenance import digest
from tiling.errors import InputError
from tiling.files import replacing, sweep_partials
from tiling.progress import track
from tiling.stage import Stage

if TYPE_CHECKING:
    from torch import Tensor

    from hdgan.latents import Latents
    from hdgan.stylegan2 import Generator

DTYPES = ("float16", "float32", "int8")


def extract(
    generator: Generator,
    latents: Latents,
    out: str | Path,
    *,
    blocks: int | None = None,
    dtype: str | None = None,
    store: str = "zarr",
    inputs: Mapping[str, Path] | None = None,
    redo: bool = False,
) -> Features:
    """Store the outputs of both convolutions of the generator's last blocks (Rizvi et al. 2022) for every latent.

    Each with its own noise (see :class:`hdgan.Latents`), so that the features belong to the image that the expert
    labelled. They are written window by window, and neither an image nor one of its maps is ever whole in memory. A
    killed extraction goes on with the same call at the latent where it was. A call with more latents, in any order,
    computes the features of those that are new; it ends with the same store as if all had been asked for at once.

    Parameters
    ----------
    generator, latents
        What to run, on the device where the generator is, and on which w.
    out
        Folder to write.
    blocks
        How many blocks, counted from the image's resolution down. Default: 5, or all there are.
    dtype
        "float16" (default, as HDGAN's authors stored them), "float32", or "int8": with a scale per channel and latent.
        Without a store there is none: windows are synthesised as float32.
    store
        "zarr": `features.zarr` with a group per latent and an array (C, h', w') per layer, of one shard. "zarr-zstd":
        the same, compressed without loss. "memmap": `maps/LATENT/LAYER.npy` of (h', w', C) for
        `numpy.load(mmap_mode="r")`; beside it `LAYER.scale.npy` for int8. "none": nothing but the latents, and windows
        are synthesised again when they are read.
    inputs
        Folders of the stages that generator and latents come from; their fingerprints and licences are recorded.
    redo
        Discard what is there.

    Returns
    -------
    Features
        A :class:`FeatureStore`, or without a store :class:`ResynthesisedFeatures`.

    Raises
    ------
    InputError
        For blocks that the generator lacks, a dtype without a store, no latents, fewer latents than there are in
        `out`, or features that float16 cannot hold; and as :meth:`tiling.stage.Stage.begin`.
    """
    if store not in STORES:
        raise InputError(f"store must be {', '.join(STORES)}, not {store!r}")
    kept_as = _checked_dtype(dtype, store)
    blocks = checked_blocks(generator, latents, blocks)
    folder, names = Path(out), [latents.fingerprint(i) for i in range(len(latents))]
    if not redo:
        _refuse_fewer(folder, names)
    whose = digest(generator.state_dict())
    config = {
        "blocks": blocks,
        **kept_as,
        "store": store,
        "generator": whose,
        "latents": digest({"names": np.array(names)}),
    }
    with Stage.begin(
        folder,
        name="features",
        config=config,
        inputs=inputs or {},
        origins={"generator": "another generator"},
        grows=("latents",),
        as_now=_as_now,
        redo=redo,
    ) as stage:
        if not stage.complete:
            kind = STORES[store]
            root = folder / kind.folder
            if store == "none":
                latents.save(root / LATENTS)
            else:
                _extract_missing(generator, latents, names, root, blocks, kept_as["dtype"], store)
            attributes = attributes_of(
                layers=generator.synthesis.layout.feature_channels(blocks),
                shape=(generator.resolution, generator.resolution),
                seeds=latents.seed.tolist(),
                latents=names,
                generator=whose,
            )
            kind.describe(folder, attributes if store != "none" else attributes | {"blocks": blocks})
            # Latents are only added, and a fit's record names those that it is of: no files tell the output.
            stage.finish(summary={"latents": len(latents), "blocks": blocks})
    return open_features(out, lambda: generator)


def _checked_dtype(dtype: str | None, store: str) -> dict[str, str]:
    """The setting, where there is one."""
    if store == "none":
        if dtype is not None:
            raise InputError(
                f"dtype {dtype!r} is of stored features, and --store none stores nothing; leave one of the two out"
            )
        return {}
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype must be {', '.join(DTYPES[:-1])} or {DTYPES[-1]}, not {dtype!r}")
    return {"dtype": dtype or DTYPES[0]}


def _as_now(made: Mapping[str, Any]) -> dict[str, Any]:
    """Without the dtype that was once recorded where there is no store."""
    return {key: value for key, value in made.items() if key != "dtype" or made.get("store") != "none"}


def _refuse_fewer(folder: Path, names: list[str]) -> None:
    if others := len(stored_latents(folder) - set(names)):
        raise InputError(
            f"{folder} holds features of latents that are not asked for now ({others} of them); "
            "ask for these as well, add --redo to replace it, or use another study"
        )


def _extract_missing(
    generator: Generator, latents: Latents, names: list[str], root: Path, blocks: int, dtype: str, store: str
) -> None:
    """Write the folders of latents that are not there yet."""
    sweep_partials(root)
    size = generator.resolution
    plans = {
        layer: MapPlan.of(layer, channels, int(layer[1:].split(".")[0]), size, dtype)
        for layer, channels in generator.synthesis.layout.feature_channels(blocks).items()
    }
    missing = {name: i for i, name in enumerate(names) if not (root / name).exists()}
    try:
        for name, i in track(missing.items(), "features"):
            with replacing(root / name) as partial:
                windows = _windows(generator, latents, i, blocks)
                write_latent(partial, windows, plans, store, int(latents.seed[i]))
    finally:
        with contextlib.suppress(OSError):  # refused at the first latent, nothing stands in the way of another request
            root.rmdir()


def _windows(generator: Generator, latents: Latents, i: int, blocks: int) -> Iterator[NativeMaps]:
    """The features of a latent, window by window, each native pixel once."""
    from hdgan.stylegan2 import WindowSynthesis

    size, device = generator.resolution, next(generator.parameters()).device
    synthesis = WindowSynthesis(generator, **latents.synthesis(i, device=device), blocks=blocks)
    edge = min(max(WINDOW, 2 ** (blocks - 1)), size)  # whole pixels of the coarsest layer, too
    for y, x in itertools.product(range(0, size, edge), repeat=2):
        patches = synthesis.features(y=y, x=x, h=edge, w=edge)
        yield {layer: _own(patch, y // patch.scale, x // patch.scale, edge) for layer, patch in patches.items()}


def _own(patch: Patch, y: int, x: int, edge: int) -> tuple[Tensor, int, int]:
    """The native pixels that are in a window of `edge` image px, without those around it; they begin at y, x."""
    top, left, length = y - patch.y0, x - patch.x0, edge // patch.scale
    return patch.values[:, top : top + length, left : left + length].float(), y, x
