"""Batches made ahead of time in processes, in order and in bounded number."""

from __future__ import annotations

import atexit
import functools
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import active_children, resource_tracker
from multiprocessing.process import BaseProcess
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
        generator=torch.Generator(),  # else the loader takes a number from the draws of everybody
    )
    before = set(active_children())
    with _signals_held_back():
        batches = iter(loader)
    end = functools.partial(_kill, set(active_children()) - before)
    atexit.register(end)  # multiprocessing's own way would ask by the SIGTERM that they never see, and wait
    try:
        for made in batches:
            if isinstance(made, InputError):
                raise made
            yield made
    finally:
        del batches  # which asks them to end, here: an error's traceback would keep it, and them, for long
        end()
        atexit.unregister(end)


def _kill(processes: Iterable[BaseProcess]) -> None:
    for process in processes:
        process.kill()
        process.join()


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


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Processes that are started inside never see Ctrl-C and SIGTERM, which terminals and batch systems send to all.

    The one that trains does, and ends them when its step is done. Signals are held back rather than ignored, since that
    is inherited: they may come before a process has begun to run Python.
    """
    resource_tracker.ensure_running()  # which, when it starts, lets them through again
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
