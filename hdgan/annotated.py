"""A study's annotated samples with their features: checked to belong together, and brought to the store's positions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from hdgan.annotations import load_masks, mask_indices
from hdgan.features import Features, extract, open_features, stored_latents
from hdgan.labels import ClassList, Image, LabelMap
from hdgan.lazy import LazyMapping
from hdgan.pictures import read_image
from hdgan.samples import load_samples
from hdgan.study import Study
from hdgan.stylegan2 import load_generator
from hdgan.stylegan2.run import GENERATOR
from tiling.errors import InputError
from tiling.wording import counted, quoted


@dataclass(frozen=True, eq=False)
class AnnotatedSamples:
    """What :func:`hdgan.pixels.fit` learns from.

    Attributes
    ----------
    store
        The features.
    masks
        {position in the store: (H, W) uint8}, of those that are annotated, read when asked for.
    images
        {position in the store: (H, W, 3) uint8}, of all, read when asked for.
    classes
        What the labels mean.
    """

    store: Features
    masks: Mapping[int, LabelMap]
    images: Mapping[int, Image]
    classes: ClassList


def extract_annotated(
    study: Study,
    *,
    blocks: int | None = None,
    dtype: str | None = None,
    store: str = "zarr",
    all_samples: bool = False,
    device: str | torch.device = "cpu",
    redo: bool = False,
) -> Features:
    """Store the features of a study's annotated samples, or of all; those that are stored already stay.

    Raises
    ------
    InputError
        If the samples are of another generator than the study's is now, or the masks were drawn on other samples; and
        as :func:`hdgan.features.extract`.
    """
    study.require("train")
    study.require_samples()
    study.check_annotations()
    latents = load_samples(study.latents)[0]
    wanted = set(range(len(latents)) if all_samples else mask_indices(study.annotations))
    there = set() if redo else stored_latents(study.features)
    indices = [i for i in range(len(latents)) if i in wanted or latents.fingerprint(i) in there]
    # Not the samples' folder: the features know their latents one by one, so that it may grow.
    inputs = {"generator": study.generator}
    generator = load_generator(study.generator / GENERATOR).to(device)
    return extract(
        generator,
        latents.subset(indices),
        study.features,
        blocks=blocks,
        dtype=dtype,
        store=store,
        inputs=inputs,
        redo=redo,
    )


def annotated_samples(study: Study, *, device: str | torch.device = "cpu") -> AnnotatedSamples:
    """The annotated samples of a study; an :class:`InputError` if one has no features, or its mask another image.

    Features without a store are synthesised on `device` when they are read.
    """
    store = open_features(
        study.require("features"), lambda: load_generator(study.require("train") / GENERATOR).to(device)
    )
    latents, paths = load_samples(study.require("sample"))
    study.check_annotations()
    masks, _ = load_masks(study.annotations)
    sample_named = {latents.fingerprint(i): i for i in range(len(latents))}
    sample_of = {position: sample_named[name] for position, name in enumerate(store.latents) if name in sample_named}
    position_of = {sample: position for position, sample in sample_of.items()}
    if missing := len(masks.keys() - position_of.keys()):
        raise InputError(
            f"{counted(missing, 'annotated sample')} without features: run `hdgan features --study {study.root}`"
        )
    images = LazyMapping(sample_of, lambda position: _image(paths[sample_of[position]], study))
    of_masks = LazyMapping([position_of[i] for i in masks], lambda position: masks[sample_of[position]])
    return AnnotatedSamples(store, of_masks, images, study.classes())


def _image(path: Path, study: Study) -> Image:
    if not path.exists():
        raise InputError(
            f"{path} is not there any more: `hdgan sample --redo --study {quoted(study.root)}` draws it again, the same"
        )
    return read_image(path)
