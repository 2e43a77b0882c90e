"""How a training is computed: nothing here changes what is trained, beyond rounding."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tiling.errors import InputError

_CHOICES = {"precision": ("auto", "fp32", "bf16", "fp16"), "recompute": ("auto", "always", "never")}
_LARGE = 1024  # px from which on what is inside the blocks is not kept


@dataclass(frozen=True)
class Execution:
    """Where and how to compute a training.

    Attributes
    ----------
    device
        "auto" (a GPU if there is one), "cpu" or "cuda".
    precision
        Of the four highest resolutions; all else is float32. "auto" is bf16 on GPUs that have it, fp32 elsewhere.
        Weights, image sums and losses are float32 in any case.
    micro_batch
        Images that go through the networks at a time in each process; their gradients are added up. A multiple of the
        group of the minibatch deviation. None: all at once.
    recompute
        Keep only what passes between blocks and compute the rest again for the gradients. "auto" does so in the
        regularisation phases, which are rare and would need the most memory, and in all phases from 1024 px on.
    """

    device: str = "auto"
    precision: str = "auto"
    micro_batch: int | None = None
    recompute: str = "auto"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}")
        if self.micro_batch is not None and self.micro_batch < 1:
            raise InputError(f"micro_batch must be at least 1, not {self.micro_batch}")

    def low_precision(self, device: torch.device) -> torch.dtype:
        """The type of the highest resolutions on a device."""
        if self.precision == "auto":
            return torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float32
        if self.precision == "fp16" and device.type == "cpu":
            raise InputError("precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def recomputes(self, resolution: int, *, regularisation: bool) -> bool:
        """Whether the blocks of a phase are computed again for their gradients."""
        if self.recompute == "auto":
            return regularisation or resolution >= _LARGE
        return self.recompute == "always"

    def parts(self, share: range, group: int) -> list[range]:
        """The samples of a process's share that go through the networks together.

        `group` is that of the minibatch deviation, which must not be cut.
        """
        size = len(share) if self.micro_batch is None else min(self.micro_batch, len(share))
        if len(share) % size:
            raise InputError(f"the {len(share)} images of a process cannot be cut into parts of {size}: micro_batch")
        if size % min(group, size) or (size < group and size < len(share)):
            raise InputError(
                f"micro_batch {size} would cut the groups of {group} images that the minibatch deviation compares; "
                f"use a multiple of {group}"
            )
        return [share[start : start + size] for start in range(0, len(share), size)]

    def regularisation_parts(self, parts: list[range], group: int, device: torch.device) -> list[range]:
        """The same samples for the regularisation phases, which need the most memory.

        On a CPU, which is as fast with few images as with many, group by group; else the parts as they are.
        """
        if device.type != "cpu":
            return parts
        return [part[at : at + max(group, 1)] for part in parts for at in range(0, len(part), max(group, 1))]
