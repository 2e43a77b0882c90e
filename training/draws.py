"""Random draws that depend on what they are for, not on what was drawn before.

A draw keyed by (seed, purpose, step) is the same after a resume, and the same in one process as in many, each of
which takes its rows of the global batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch


def _key(seed: int, purpose: str, step: int) -> bytes:
    return hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()


def torch_draws(seed: int, purpose: str, step: int = 0, *, device: torch.device | None = None) -> torch.Generator:
    """A generator for one purpose of one step, on the CPU if no device is given."""
    return torch.Generator(device or "cpu").manual_seed(
        int.from_bytes(_key(seed, purpose, step)[:8], "little", signed=True)
    )


def sample_draws(
    seed: int, purpose: str, step: int, samples: Iterable[int], *, device: torch.device | None = None
) -> list[torch.Generator]:
    """A generator for each sample of the global batch, by its place there: the same however the batch is cut."""
    return [torch_draws(seed, f"{purpose} of sample {sample}", step, device=device) for sample in samples]


def numpy_draws(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """The same for numpy."""
    return np.random.default_rng(list(_key(seed, purpose, step)))


@contextmanager
def drawing(seed: int, purpose: str, step: int = 0, *, device: torch.device | None = None) -> Iterator[None]:
    """Inside, PyTorch's own draws are those for a purpose; afterwards they go on as if nothing had been drawn."""
    on_gpu, key = device is not None and device.type == "cuda", torch_draws(seed, purpose, step).initial_seed()
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(key)  # torch.manual_seed would change those of all GPUs
        if on_gpu:
            with torch.cuda.device(device):  # else it would seed the present one
                torch.cuda.manual_seed(key)
        yield
