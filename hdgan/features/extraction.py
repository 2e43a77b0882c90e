"""From latents to a feature store, one latent at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from hdgan.features.store import ARRAYS, FeatureStore, describe, group_name, write_latent
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

    Noise is the stored one ("const"), so that the features belong to the image that the expert labelled. A killed
    extraction goes on with the same call at the latent where it was.

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
        For blocks that the generator lacks, no latents, or features that float16 cannot hold; and as
        :meth:`tiling.stage.Stage.begin`.
    """
    if dtype not in DTYPES:
        raise InputError(f"dtype must be {' or '.join(DTYPES)}, not {dtype!r}")
    most = sum(1 for _ in generator.synthesis.blocks())
    if not 1 <= blocks <= most:
        raise InputError(f"blocks must be 1 to {most}, of a generator of {generator.resolution} px, not {blocks}")
    if len(latents) == 0:
        raise InputError("there are no latents to extract features of; draw some with `hdgan sample`")
    config = {
        "blocks": blocks,
        "dtype": dtype,
        "generator": digest(generator.state_dict()),
        "latents": digest({"w": latents.w}),
    }
    with Stage.begin(Path(out), name="features", config=config, inputs=inputs or {}, redo=redo) as stage:
        if not stage.complete:
            _extract_missing(generator, latents, stage.folder / ARRAYS, blocks, dtype)
            stage.finish(summary={"latents": len(latents), "blocks": blocks})
    return FeatureStore.open(out)


def _extract_missing(generator: Generator, latents: Latents, root: Path, blocks: int, dtype: str) -> None:
    """Write the groups that are not there yet."""
    sweep_partials(root)
    seeds = [int(seed) for seed in latents.seed]
    missing = [i for i in range(len(latents)) if not (root / group_name(i)).exists()]
    for i in track(missing, "features"):
        layers = _features(generator, latents, i, blocks, dtype)
        if i == missing[0]:
            channels = {name: values.shape[0] for name, values in layers.items()}
            describe(root, layers=channels, shape=(generator.resolution, generator.resolution), seeds=seeds)
        write_latent(root, i, layers, seeds[i])


@torch.inference_mode()
def _features(
    generator: Generator, latents: Latents, i: int, blocks: int, dtype: str
) -> dict[str, npt.NDArray[np.floating[Any]]]:
    device = next(generator.parameters()).device
    w = torch.as_tensor(latents.w[i : i + 1]).to(device)
    features = generator.features(w, blocks=blocks, noise="const")
    if dtype == "float16":
        _check_half(features, int(latents.seed[i]))
    return {name: values[0].float().cpu().numpy().astype(dtype) for name, values in features.items()}


def _check_half(features: Mapping[str, torch.Tensor], seed: int) -> None:
    """Refuse features that half precision cannot hold; a generator without `conv_clamp` may have such."""
    for name, values in features.items():
        largest = float(values.abs().max())
        if largest > torch.finfo(torch.float16).max:
            raise InputError(f'{name} of seed {seed} reaches {largest:.3g}, too large for float16; use dtype="float32"')
