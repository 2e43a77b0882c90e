"""Latents: what an image was made from."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tiling.errors import InputError
from tiling.files import replacing

if TYPE_CHECKING:
    from hdgan.stylegan2.generator import Generator

MEAN_SEED = -1
MAX_PSI = 2.0
_FIELDS = ("seed", "z", "w", "psi", "c")


@dataclass(frozen=True)
class Latents:
    """Latents of N images.

    Attributes
    ----------
    seed
        (N,) int64; -1 stands for the mean of w, which no seed gives.
    z
        (N, z_dim) float32: `numpy.random.RandomState(seed).randn(1, z_dim)`; zero for the mean.
    w
        (N, num_ws, w_dim) float32, truncated.
    psi
        (N,) float32: the truncation.
    c
        (N, c_dim) float32: the condition; (N, 0) for an unconditional generator.
    """

    seed: npt.NDArray[np.int64]
    z: npt.NDArray[np.float32]
    w: npt.NDArray[np.float32]
    psi: npt.NDArray[np.float32]
    c: npt.NDArray[np.float32]

    def __post_init__(self) -> None:
        counts = {name: len(getattr(self, name)) for name in _FIELDS}
        if len(set(counts.values())) != 1:
            raise InputError(f"latents need as many of each field, not {counts}")
        if self.w.ndim != 3:
            raise InputError(f"w must be (N, num_ws, w_dim), not {self.w.shape}")

    def __len__(self) -> int:
        return len(self.seed)

    def subset(self, indices: Sequence[int]) -> Latents:
        """Those of the given places, in the given order."""
        return Latents(**{name: getattr(self, name)[list(indices)] for name in _FIELDS})

    def save(self, path: Path | str) -> None:
        """Write an `.npz` file, atomically."""
        with replacing(Path(path)) as partial, partial.open("wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def load(cls, path: Path | str) -> Latents:
        """Read what :meth:`save` wrote; anything else is an :class:`InputError`."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in _FIELDS})
        except FileNotFoundError as error:
            raise InputError(f"no such file: {path}") from error
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile, TypeError) as error:
            raise InputError(f"{path} is not a file of latents ({error}); make one with `hdgan sample`") from error

    @classmethod
    def sample(
        cls,
        generator: Generator,
        seeds: Sequence[int],
        *,
        psi: float = 0.7,
        c: npt.NDArray[np.float32] | None = None,
    ) -> Latents:
        """Latents of the given seeds, truncated towards the mean w on all layers.

        Seed -1 gives the mean w itself: HDGAN's image 0.
        """
        import torch

        z_dim, c_dim = generator.config.z_dim, generator.config.c_dim
        if not 0 <= psi <= MAX_PSI:
            raise InputError(f"truncation psi is usually between 0 and 1, and at most {MAX_PSI}; not {psi}")
        if not seeds:
            raise InputError("no seed was given; ask for at least one sample")
        if any(seed < MEAN_SEED or seed >= 2**32 for seed in seeds):
            raise InputError(f"seeds are -1 (the mean) or 0 to 2^32 - 1, not {min(seeds)} to {max(seeds)}")
        drawn = [np.zeros((1, z_dim)) if s == MEAN_SEED else np.random.RandomState(s).randn(1, z_dim) for s in seeds]
        z = np.concatenate(drawn).astype(np.float32)
        conditions = np.zeros((len(seeds), c_dim), np.float32) if c is None else c.astype(np.float32)
        with torch.no_grad():
            mapping = generator.mapping
            device = mapping.w_avg.device
            w = (
                mapping(torch.from_numpy(z).to(device), torch.from_numpy(conditions).to(device), psi=psi)
                .cpu()
                .numpy()
                .copy()
            )
            for i, seed in enumerate(seeds):
                if seed == MEAN_SEED:
                    w[i] = mapping.w_avg.cpu().numpy()
        return cls(np.asarray(seeds, np.int64), z, w, np.full(len(seeds), psi, np.float32), conditions)
