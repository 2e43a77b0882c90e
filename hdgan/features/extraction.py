"""From latents to a feature store, one latent at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from hdgan.features.store import ARRAYS, DESCRIPTION, FeatureStore, describe, stored_latents, write_latent
from hdgan.provenance import digest
from tiling.errors import InputError
from tiling.files import sweep_partials
from tiling.progress import track
from tiling.stage import Stage

if TYPE_CHECKING:
    from hdgan.latents import Latents
    from hdgan.stylegan2 import Generator

DTYPES = ("float16", "float32")


def extract(
    generator: Generator,
    latents: Latents,
    out: str | Path,
    *,
    blocks: int = 5,
    dtype: str = "float16",
    inputs: Mapping[str, Path] | None = None,
    redo: bool = False,
) -> FeatureStore:
    """Store the outputs of both convolutions of the generator's last blocks (Rizvi et al. 2022) for every latent.

    Each with its own noise (see :class:`hdgan.Latents`), so that the features belong to the image that the expert
    labelled. A killed extraction goes on with the same call at the latent where it was. A call with more latents, in
    any order, computes the features of those that are new; it ends with the same store as if all had been asked for
    at once.

    Parameters
    ----------
    generator, latents
        What to run, on the device where the generator is, and on which w.
    out
        Folder to write: `features.zarr` with a group per latent and an array (C, h', w') per layer.
    blocks
        How many blocks, counted from the image's resolution down.
    dtype
        "float16" (as HDGAN's authors stored them) or "float32".
    inputs
        Folders of the stages that generator and latents come from; their fingerprints and licences are recorded.
    redo
        Discard what is there.

    Raises
    ------
    InputError
        For blocks that the generator lacks, no latents, fewer latents than there are in `out`, or features that
        float16 cannot hold; and as :meth:`tiling.stage.Stage.begin`.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be {' or '.join(DTYPES)}, not {dtype!r}")
    most = sum(1 for _ in generator.synthesis.blocks())
    if not 1 <= blocks <= most:
        raise InputError(f"blocks must be 1 to {most}, of a generator of {generator.resolution} px, not {blocks}")
    if len(latents) == 0:
        raise InputError("there are no latents to extract features of; draw some with `hdgan sample`")
    folder, names = Path(out), [latents.fingerprint(i) for i in range(len(latents))]
    if not redo:
        _refuse_fewer(folder, names)
    whose = digest(generator.state_dict())
    config = {
        "blocks": blocks,
        "dtype": dtype,
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
        redo=redo,
    ) as stage:
        if not stage.complete:
            root = folder / ARRAYS
            _extract_missing(generator, latents, names, root, blocks, dtype)
            describe(
                root,
                layers=generator.synthesis.layout.feature_channels(blocks),
                shape=(generator.resolution, generator.resolution),
                seeds=latents.seed.tolist(),
                latents=names,
                generator=whose,
            )
            stage.finish(principal=[root / DESCRIPTION], summary={"latents": len(latents), "blocks": blocks})
    return FeatureStore.open(out)


def _refuse_fewer(folder: Path, names: list[str]) -> None:
    if others := len(stored_latents(folder) - set(names)):
        raise InputError(
            f"{folder} holds features of latents that are not asked for now ({others} of them); "
            "ask for these as well, add --redo to replace it, or use another study"
        )


def _extract_missing(
    generator: Generator, latents: Latents, names: list[str], root: Path, blocks: int, dtype: str
) -> None:
    """Write the groups that are not there yet."""
    sweep_partials(root)
    missing = {name: i for i, name in enumerate(names) if not (root / name).exists()}
    for name, i in track(missing.items(), "features"):
        write_latent(root, name, _features(generator, latents, i, blocks, dtype), int(latents.seed[i]))


@torch.inference_mode()
def _features(
    generator: Generator, latents: Latents, i: int, blocks: int, dtype: str
) -> dict[str, npt.NDArray[np.floating[Any]]]:
    device = next(generator.parameters()).device
    features = generator.features(**latents.synthesis(i, device=device), blocks=blocks)
    if dtype == "float16":
        _check_half(features, int(latents.seed[i]))
    return {name: values[0].float().cpu().numpy().astype(dtype) for name, values in features.items()}


def _check_half(features: Mapping[str, torch.Tensor], seed: int) -> None:
    """Refuse features that half precision cannot hold; a generator without `conv_clamp` may have such."""
    for name, values in features.items():
        largest = float(values.abs().max())
        if largest > torch.finfo(torch.float16).max:
            raise InputError(f'{name} of seed {seed} reaches {largest:.3g}, too large for float16; use dtype="float32"')
