"""How the records of fits tell which images they are of: by their latents, whatever else is stored beside these."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hdgan.features import Features
from hdgan.lazy import LazyMapping
from hdgan.provenance import digest


def names_of(split: Mapping[Any, Sequence[int]], store: Features) -> dict[str, list[str]]:
    """The images of every part of a split by the fingerprints of their latents, for JSON."""
    return {str(part): [store.latents[i] for i in images] for part, images in split.items()}


def digest_of(values: Mapping[int, Any], images: Iterable[int], store: Features) -> str:
    """Fingerprint of what belongs to some images of a store: the same wherever in the store they are."""
    ordered = sorted(images, key=lambda i: store.latents[i])
    return digest(LazyMapping(range(len(ordered)), lambda k: values[ordered[k]]))


def digest_by_place(values: Mapping[int, Any], images: Iterable[int]) -> str:
    """The fingerprint that earlier versions recorded: another one where the same images are elsewhere in the store."""
    return digest(LazyMapping(sorted(images), values.__getitem__))
