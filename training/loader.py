"""Batches made ahead of time in processes, in order and in bounded number."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch
from torch.utils.data import DataLoader, Dataset

from tiling.errors import InputError

T = TypeVar("T")


def prefetch_in_processes(
    make: Callable[[int], T], start: int, stop: int, *, workers: int, ahead: int = 2
) -> Iterator[T]:
    """Yield make(start), ..., make(stop - 1), each worker process computing up to `ahead` of them in advance.

    `make` and what it gives are pickled, so it must not need what only this process has. A script that is not
    imported by `hdgan` calls this below `if __name__ == "__main__":`, as always where Python starts processes.

    Raises
    ------
    InputError
        What `make` raised in a worker, in place of what it would have given.
    """
    loader = DataLoader(
        _Made(make),
        sampler=range(start, stop),
        batch_size=None,
        collate_fn=_as_it_is,  # arrays go through a pipe; tensors take shared memory, which containers have little of
        num_workers=workers,
        prefetch_factor=ahead,
        multiprocessing_context="spawn",  # fork copies no threads; what a server forked outlives a killed training
        worker_init_fn=_leave_interrupts,
        generator=torch.Generator(),  # else the loader takes a number from the draws of everybody
    )
    for made in loader:
        if isinstance(made, InputError):
            raise made
        yield made


class _Made(Dataset[T | InputError], Generic[T]):
    """What `make` gives for an index, or the error that it raised, which keeps its one line so."""

    def __init__(self, make: Callable[[int], T]) -> None:
        self._make = make

    def __getitem__(self, index: int) -> T | InputError:
        try:
            return self._make(index)
        except InputError as error:
            return error


def _as_it_is(made: T) -> T:
    return made


def _leave_interrupts(_worker: int) -> None:
    """Leave Ctrl-C, which a terminal sends to every process, to the one that trains: it ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
