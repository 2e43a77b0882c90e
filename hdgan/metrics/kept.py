"""Features of tiles that are kept in files: they take long to compute, and are the same in the next comparison."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from hdgan.labels import Image
from hdgan.metrics.comparison import Chosen, FeatureSpace, Images, embed_images
from tiling.files import remove, replacing, sweep_partials

_TOGETHER = 1024  # images whose features are in one file: what a killed comparison loses at most


class KeptFeatures:
    """Features of some images by number, computed once, a file of 1024 at a time: what was killed goes on from there.

    Parameters
    ----------
    folder
        Where the files are. They may be deleted at any time.
    images
        What tells these images from all others: a fingerprint, and how they are prepared; JSON-able.
    """

    def __init__(self, folder: Path, images: Mapping[str, Any]) -> None:
        self._folder, self._about = folder, dict(images)
        self._used: set[Path] = set()

    def embed(
        self, images: Images | Iterable[Image], space: FeatureSpace, *, what: str, like: Image | None = None
    ) -> npt.NDArray[np.float32]:
        """What :func:`embed_images` gives; kept if the images are :class:`Chosen` ones of those by number."""
        if not isinstance(images, Chosen):
            return embed_images(images, space, what=what, like=like)
        parts = [np.empty((0, space.dimensions), np.float32)]
        for start in range(0, len(images), _TOGETHER):
            indices = images.indices[start : start + _TOGETHER]
            path = self._file(space, indices)
            self._used.add(path)
            if not path.exists():
                part = Chosen(images.images, indices)
                stretch = f" {start + 1} to {start + len(part)}" if len(images) > len(part) else ""
                features = embed_images(part, space, what=what + stretch, like=like)
                with replacing(path) as partial, partial.open("wb") as file:
                    np.save(file, features)
            parts.append(np.load(path))
        return np.concatenate(parts)

    def forget_others(self) -> None:
        """Remove the features that were not asked for: those of other tiles, spaces and crops."""
        sweep_partials(self._folder)
        for path in self._folder.glob("*.npy"):
            if path not in self._used:
                remove(path)

    def _file(self, space: FeatureSpace, indices: Sequence[int]) -> Path:
        """Where the features of these images are, dimensions telling whether all orientations of them are."""
        key = {**self._about, "space": [space.name, space.dimensions], "indices": [int(index) for index in indices]}
        return self._folder / f"{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]}.npy"
