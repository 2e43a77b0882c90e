"""How a training is computed: nothing here changes what is trained, beyond rounding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tiling.errors import InputError
from training.devices import fast_precision, suit_convolutions
from training.host import Host

_CHOICES = {"precision": ("auto", "fp32", "bf16", "fp16"), "recompute": ("auto", "always", "never")}
_FEW = 4  # images from which on a CPU gains nothing by more
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
        group of the minibatch deviation. None: all at once on a GPU, a few on a CPU.
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

    def host(self) -> Host:
        """This process among those of the training, set up for its convolutions before the first tensor is made."""
        host = Host(self.device)
        suit_convolutions(host.device)
        return host

    def low_precision(self, device: torch.device, conv_clamp: float | None) -> torch.dtype:
        """The type of the highest resolutions on a device, of networks whose activations are clamped so."""
        if self.precision == "auto":
            return fast_precision(device)
        if self.precision == "fp16" and device.type == "cpu":
            raise InputError("precision fp16 needs a GPU; use bf16 or fp32 on a CPU")
        if self.precision == "fp16" and conv_clamp is None:
            raise InputError("precision fp16 needs networks that clamp their activations; use bf16 or another preset")
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]

    def recomputes(self, resolution: int, *, regularisation: bool) -> bool:
        """Whether the blocks of a phase are computed again for their gradients."""
        if self.recompute == "auto":
            return regularisation or resolution >= _LARGE
        return self.recompute == "always"

    def cut(self, batch: int, group: int, host: Host) -> Cut:
        """How this process computes its share of a batch, with `group` images in a group of the minibatch deviation.

        On a CPU, which is as fast with four images as with more, parts are as small as that where nothing else is asked
        for, and the R1 phase goes group by group.
        """
        share = host.share(batch)
        group = max(min(group, share), 1)
        size = _small(share, group) if host.device.type == "cpu" else share
        size = min(self.micro_batch or size, share)
        if share % size:
            raise InputError(f"the {share} images of a process cannot be cut into parts of {size}: micro_batch")
        if size % group or share % group:
            raise InputError(
                f"the minibatch deviation compares groups of {group} images, which parts of {size} of a process's "
                f"{share} would cut; use a batch and a micro_batch that are multiples of {group}"
            )
        parts = _parts(batch, group, size, host)
        path = max(batch // 2, 1)
        mine = host.part(path)
        at_pace = mine or range(path - 1, path)
        at_once = group if host.device.type == "cpu" else size
        return Cut(
            group=group,
            parts=parts,
            r1_parts=_parts(batch, group, at_once, host),
            path_parts=[at_pace[at : at + max(at_once // 2, 1)] for at in range(0, len(at_pace), max(at_once // 2, 1))],
            path_samples=path,
            path_share=len(mine) / path,
        )


@dataclass(frozen=True)
class Cut:
    """Samples of the global batch that a process computes, in parts that go through the networks together.

    The groups of the minibatch deviation are those of the whole batch, whatever the parts and processes.

    Attributes
    ----------
    group
        Images in such a group: fewer than asked for where a process or a part has fewer.
    parts
        For the main phases.
    r1_parts
        The same samples for the R1 phase.
    path_parts, path_samples
        For the path length phase, which takes half of the batch, and how many these are in all processes.
    path_share
        How much of that phase is this process's. Where there are more processes than samples, one that has none
        computes the last one, too, and it counts nothing.
    """

    group: int
    parts: Sequence[Sequence[int]]
    r1_parts: Sequence[Sequence[int]]
    path_parts: Sequence[Sequence[int]]
    path_samples: int
    path_share: float


def _small(share: int, group: int) -> int:
    """The smallest part of some images that is made of whole groups and divides the share."""
    return min(
        (size for size in range(max(group, 1), share + 1, max(group, 1)) if size >= 4 and share % size == 0),
        default=share,
    )


def _parts(batch: int, group: int, size: int, host: Host) -> list[list[int]]:
    """Samples of a process, `size` at a time. A group is of samples j, j + batch / group, j + 2 batch / group, ..."""
    groups = batch // group
    mine = host.part(groups)
    at_once = size // group
    return [
        [place * groups + j for place in range(group) for j in mine[at : at + at_once]]
        for at in range(0, len(mine), at_once)
    ]
