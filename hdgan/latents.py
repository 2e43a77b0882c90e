"""Latents: what an image was made from."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hdgan.conditions import Conditions
from hdgan.provenance import digest
from tiling.errors import InputError
from tiling.files import replacing
from tiling.wording import first_few

if TYPE_CHECKING:
    import torch

    from hdgan.stylegan2.generator import Generator
    from hdgan.stylegan2.mapping import MappingNetwork

Floats = npt.NDArray[np.float32]
MEAN_SEED = -1
MAX_PSI = 2.0
STORED_NOISE = -1
NOISES = ("random", "const")
_FIELDS = ("seed", "z", "w", "psi", "c", "noise")
_BATCH = 32  # latents mapped at a time, filled up with zeros: matrix products of other sizes round otherwise


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
        (N, num_ws, w_dim) float32, truncated. Where the layers share one w it is held once, and read-only.
    psi
        (N,) float32: the truncation.
    c
        (N, c_dim) float32: the condition; (N, 0) for an unconditional generator.
    noise
        (N,) int64: seed of the noise that each image's synthesis draws; -1, the default, for the noise maps that the
        generator stores. All images with these have their fine structures in the same places.
    """

    seed: npt.NDArray[np.int64]
    z: Floats
    w: Floats
    psi: Floats
    c: Floats
    noise: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    def __post_init__(self) -> None:
        if len(self.noise) == 0:
            object.__setattr__(self, "noise", np.full(len(self.seed), STORED_NOISE, np.int64))
        counts = {name: len(getattr(self, name)) for name in _FIELDS}
        if len(set(counts.values())) != 1:
            raise InputError(f"latents need as many of each field, not {counts}")
        if self.w.ndim != 3:
            raise InputError(f"w must be (N, num_ws, w_dim), not {self.w.shape}")
        if self.w.strides[1] and (self.w == self.w[:, :1]).all():
            object.__setattr__(self, "w", _shared(self.w[:, 0].copy(), self.w.shape[1]))

    def __len__(self) -> int:
        return len(self.seed)

    def __repr__(self) -> str:
        if not len(self):
            return "Latents(none)"
        first, last = self.seed[0], self.seed[-1]
        counted_up = len(self) > 1 and np.array_equal(self.seed, np.arange(first, first + len(self)))
        seeds = f"{first} to {last}" if counted_up else first_few([str(seed) for seed in self.seed])
        least, most = self.psi.min(), self.psi.max()
        psi = f"{least:g}" if least == most else f"{least:g} to {most:g}"
        return f"Latents({len(self)}: seeds {seeds}; psi {psi})"

    def subset(self, indices: Sequence[int]) -> Latents:
        """Those of the given places, in the given order."""
        return Latents(**{name: getattr(self, name)[list(indices)] for name in _FIELDS})

    def followed_by(self, other: Latents) -> Latents:
        """These, then the others."""
        return Latents(**{name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _FIELDS})

    def fingerprint(self, i: int) -> str:
        """Of one latent's w and noise: what ties features, a mask or a pair to it, whatever its place."""
        noise = {} if self.noise[i] == STORED_NOISE else {"noise": self.noise[i : i + 1]}
        return digest({"w": self.w[i], **noise})[:16]

    def synthesis(self, i: int, *, device: torch.device) -> dict[str, Any]:
        """What the generator's `synthesis`, `features` and `image_and_features` take to make image i."""
        import torch

        from training.draws import torch_draws

        w = torch.tensor(self.w[i], device=device)[None]
        if self.noise[i] == STORED_NOISE:
            return {"w": w, "noise": "const"}
        return {"w": w, "noise": "random", "generator": torch_draws(int(self.noise[i]), "noise")}

    def save(self, path: Path | str) -> None:
        """Write an `.npz` file, atomically."""
        with replacing(Path(path)) as partial, partial.open("wb") as file:
            np.savez(file, **{name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def load(cls, path: Path | str) -> Latents:
        """Read what :meth:`save` wrote; anything else is an :class:`InputError`."""
        try:
            with np.load(path, allow_pickle=False) as file:
                return cls(**{name: file[name] for name in _FIELDS if name in file or name != "noise"})
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
        c: Floats | None = None,
        noise: str = "const",
    ) -> Latents:
        """Latents of the given seeds, truncated towards the mean w on all layers.

        Seed -1 gives the mean w itself: HDGAN's image 0. A latent does not depend on those it is drawn with. With
        noise "const" all images are made with the noise maps that the generator stores, as HDGAN's are; with "random"
        each draws its own by its seed, as in training (seed -1 has the stored maps).

        A conditional generator takes a condition `c` of (N, c_dim); by default each seed draws its class, as often as
        it was in the training (:meth:`hdgan.conditions.Conditions.of_seeds`, which also gives those of one class).
        """
        _check_request(seeds, psi, noise)
        condition = Conditions.of(generator).of_seeds(seeds) if c is None else c
        return _draw(generator.mapping, seeds, psi, condition, noise)


class SeededLatents:
    """Latents drawn when they are asked for, and held by nobody: however many there are, they take no memory.

    Parameters
    ----------
    generator
        Its mapping network is copied to the CPU, so that a seed's w is the same wherever the images are made.
    seeds
        As for :meth:`Latents.sample`; a range takes no memory either.
    psi
        The truncation.
    noise
        "const" or "random", as for :meth:`Latents.sample`.
    of_class
        Name or number of the class of all, where the generator has a condition; by default each seed draws its own.
    """

    def __init__(
        self,
        generator: Generator,
        seeds: Sequence[int],
        *,
        psi: float = 0.7,
        noise: str = "const",
        of_class: str | None = None,
    ) -> None:
        _check_request(seeds, psi, noise)
        self._conditions, self._class = Conditions.of(generator), of_class
        if of_class is not None:
            self._conditions.index(of_class)
        self._mapping, self._seeds = copy.deepcopy(generator.mapping).cpu(), seeds
        self._psi, self._noise = psi, noise

    def __len__(self) -> int:
        return len(self._seeds)

    def subset(self, indices: Sequence[int]) -> Latents:
        """Draw those of the given places, in the given order."""
        seeds = [self._seeds[i] for i in indices]
        return _draw(self._mapping, seeds, self._psi, self._conditions.of_seeds(seeds, self._class), self._noise)


def _check_request(seeds: Sequence[int], psi: float, noise: str) -> None:
    if noise not in NOISES:
        raise InputError(f"noise is {' or '.join(NOISES)}, not {noise!r}")
    if not 0 <= psi <= MAX_PSI:
        raise InputError(f"truncation psi is usually between 0 and 1, and at most {MAX_PSI}; not {psi}")
    if len(seeds) == 0:
        raise InputError("no seed was given; ask for at least one sample")
    lowest, highest = min(seeds), max(seeds)
    if lowest < MEAN_SEED or highest >= 2**32:
        raise InputError(f"seeds are -1 (the mean) or 0 to 2^32 - 1, not {lowest} to {highest}")


def _draw(mapping: MappingNetwork, seeds: Sequence[int], psi: float, c: Floats, noise: str) -> Latents:
    """Latents of checked seeds."""
    seed = np.asarray(seeds, np.int64)
    z = np.zeros((len(seed), mapping.z_dim), np.float32)
    for i in np.flatnonzero(seed != MEAN_SEED):
        z[i] = np.random.RandomState(seed[i]).randn(mapping.z_dim)
    condition = c.astype(np.float32)
    w = _map(mapping, z, condition, psi)
    w[seed == MEAN_SEED] = mapping.w_avg.cpu().numpy()
    drawn = seed.copy() if noise == "random" else np.full(len(seed), STORED_NOISE, np.int64)
    return Latents(seed, z, _shared(w, mapping.num_ws), np.full(len(seed), psi, np.float32), condition, drawn)


def _map(mapping: MappingNetwork, z: Floats, c: Floats, psi: float) -> Floats:
    """(N, w_dim): the w that all layers share, the same for a latent in any company."""
    import torch

    w = np.empty((len(z), mapping.w_avg.shape[0]), np.float32)
    with torch.inference_mode():
        for start in range(0, len(z), _BATCH):
            here = slice(start, start + _BATCH)
            filled = [np.pad(part[here], [(0, _BATCH - len(part[here])), (0, 0)]) for part in (z, c)]
            batch = [torch.from_numpy(part).to(mapping.w_avg.device) for part in filled]
            w[here] = mapping(*batch, psi=psi)[: len(z) - start, 0].cpu().numpy()
    return w


def _shared(w: Floats, num_ws: int) -> Floats:
    """(N, w_dim) seen as (N, num_ws, w_dim)."""
    return np.broadcast_to(w[:, None], (len(w), num_ws, w.shape[1]))
