"""The device of this process, and the other processes of the same training.

Started alone, a training has one process. `torchrun --nproc-per-node 4 -m hdgan train ...` or `accelerate launch` start
several. They share the samples of every batch, and all keep the same weights; or, where several networks are trained
independently of each other, the networks. The group of processes, and which device each has, are accelerate's, which a
process alone does not need.
"""

from __future__ import annotations

import atexit
import functools
import os
import time
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from torch import Tensor

from tiling.errors import InputError
from training.devices import choose_device
from training.errors import ElsewhereError

T = TypeVar("T")

_SETTLED = 0.2  # seconds
_PATIENCE = timedelta(hours=6)
"""How long processes wait for one that checks tiles, or measures a generator, alone."""


def processes() -> int:
    """How many processes were started to train together, as `torchrun` and `accelerate launch` tell each."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@functools.cache
def _from_cpu_to_cpu() -> torch.distributed.ProcessGroup:
    """The same processes, for messages that pass by their GPUs; all of them ask for it at once."""
    group: torch.distributed.ProcessGroup = torch.distributed.new_group(timeout=_PATIENCE, backend="gloo")
    return group


def _leave() -> None:
    """Leave the group of processes, before the interpreter ends.

    Gloo's threads let go of the tensors of a message a moment after it was sent, for which they need the interpreter;
    one that comes when it has ended aborts the process (seen with PyTorch 2.13).
    """
    if torch.distributed.is_initialized():
        time.sleep(_SETTLED)
        torch.distributed.destroy_process_group()


class Host:
    """This process among those of a training.

    Parameters
    ----------
    device
        "auto" (a GPU if there is one), "cpu", "cuda", or the device itself. With several processes on GPUs each takes
        its own.

    Attributes
    ----------
    device
        Where this process computes.
    index, count
        Its number among the processes, from 0, and how many there are.
    """

    def __init__(self, device: str | torch.device = "auto") -> None:
        self.device: torch.device = choose_device(device)
        self.index, self.count = 0, processes()
        if self.count > 1:
            from accelerate import PartialState

            state = PartialState(cpu=self.device.type == "cpu", timeout=_PATIENCE)
            atexit.register(_leave)
            self.index, self.count, self.device = state.process_index, state.num_processes, state.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes what all have computed."""
        return self.index == 0

    def share(self, batch: int) -> int:
        """How many samples of a batch are this process's."""
        if batch % self.count:
            raise InputError(
                f"a batch of {batch} cannot be shared by {self.count} processes; use a multiple of {self.count}"
            )
        return batch // self.count

    def part(self, count: int) -> range:
        """Which of so many things are this process's: the same number as another's, or one more or less."""
        return range(self.index * count // self.count, (self.index + 1) * count // self.count)

    def joined(self, own: Tensor, count: int) -> Tensor:
        """(count, ...): the rows of all processes, of which each gives those of its :meth:`part`."""
        if self.count == 1:
            return own
        rows, mine = own.new_zeros(count, *own.shape[1:]), self.part(count)
        rows[mine.start : mine.stop] = own
        return self.sum(rows)  # exact: to each row all processes but one add zeros

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes."""
        if self.count == 1:
            return value
        from accelerate.utils import reduce

        mean: Tensor = reduce(value, reduction="mean")
        return mean

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count == 1:
            return value
        from accelerate.utils import reduce

        total: Tensor = reduce(value, reduction="sum")
        return total

    def sum_gradients(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Replace the gradient of each parameter by its sum over all processes, in one message."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if self.count == 1 or not gradients:
            return
        from accelerate.utils import reduce

        flat = reduce(torch.cat([gradient.flatten() for gradient in gradients]), reduction="sum")
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            gradient.copy_(part.view_as(gradient))

    def any(self, flag: bool) -> bool:
        """Whether it is so in any process, told from CPU to CPU: none waits for what its GPU was told to do."""
        if self.count == 1:
            return flag
        of_all = torch.tensor(int(flag))
        torch.distributed.all_reduce(of_all, torch.distributed.ReduceOp.MAX, group=_from_cpu_to_cpu())
        return bool(of_all)

    def told(self, value: Any = None) -> Any:
        """What the main process gives here; the others wait for it."""
        if self.count == 1:
            return value
        from accelerate.utils import broadcast_object_list

        values = [value]
        broadcast_object_list(values)
        return values[0]

    def led(self, begin: Callable[[], T]) -> T | None:
        """What the main process gets by doing something, and None in the others, which wait for it.

        Where that raises an error, the others raise :class:`training.errors.ElsewhereError`.
        """
        if not self.is_main:
            if not self.told():
                raise ElsewhereError("the main process could not begin")
            return None
        begun = None
        try:
            begun = begin()
        finally:
            self.told(begun is not None)
        return begun
