"""Where the work on an archive is done: in this process, on workers of this machine, or on any dask scheduler."""

from __future__ import annotations

import logging
import os
import queue
import signal
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from tiling.errors import InputError
from tiling.progress import note
from tiling.traces import without_places

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T", bound="Task")
_SECONDS_TO_CONNECT = 10
_SECONDS_OF_SILENCE = 20


class Task(Protocol):
    """A function with its arguments, given to a worker; picklable."""

    def __call__(self) -> Any:
        """Do it."""


@dataclass(frozen=True)
class Done(Generic[T]):
    """A task that ended, and its result or the error that it ended with on its last attempt."""

    task: T
    result: Any = None
    error: BaseException | None = None
    trace: str = ""


@dataclass
class Workers:
    """Does tasks, several at a time; made by :func:`start_workers`.

    `count` tells how many at present. No more are handed out: a task that waits beside one that brings down its worker
    would be taken for the culprit as well.
    """

    count: Callable[[], int]
    _submit: Callable[[Task], Any]
    _ended: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def run(self, tasks: deque[T], *, retries: int) -> Iterator[Done[T]]:
        """Do tasks, first come first served, and give each as it ends.

        They are taken out of `tasks`, to which more may be added while this is iterated. One that raises is tried
        again `retries` times: a shared disk has hiccups, a worker may have been killed.
        """
        waiting: dict[Any, tuple[T, int]] = {}
        while True:
            while tasks and len(waiting) < max(1, self.count()):
                self._start(tasks.popleft(), retries, waiting)
            if not waiting:
                return
            future = self._next()
            task, left = waiting.pop(future)
            error = future.exception()
            if error is not None and left:
                self._start(task, left - 1, waiting)
            elif error is not None:
                yield Done(task, error=error, trace=_trace(future, error))
            else:
                yield Done(task, result=future.result())

    def _next(self) -> Any:
        """The next future that ends; says so if nobody is there any more who could end one."""
        told = False
        while True:
            try:
                return self._ended.get(timeout=_SECONDS_OF_SILENCE)
            except queue.Empty:
                if not told and not self.count():
                    note("all workers are gone: waiting for others, which go on where these were")
                    told = True

    def _start(self, task: T, retries: int, waiting: dict[Any, tuple[T, int]]) -> None:
        future = self._submit(task)
        waiting[future] = task, retries
        future.add_done_callback(self._ended.put)


@contextmanager
def start_workers(*, scheduler: str | None, count: int | None, memory: str) -> Iterator[Workers]:
    """Start workers, or find those of a scheduler; they end with the block.

    Parameters
    ----------
    scheduler
        Address of a dask scheduler (`tcp://host:8786`), whose workers see the same files under the same paths and
        have this package installed. None starts workers on this machine.
    count
        How many on this machine, one core each; 0 works in this process, None takes a worker per core.
    memory
        What a worker on this machine may take, as dask writes it: `1GiB`. One that takes more is restarted.

    Raises
    ------
    InputError
        If the scheduler does not answer, or the memory is no amount of memory.
    """
    if scheduler is not None:
        with _connected(scheduler) as client:
            if not client.nthreads():
                note(f"the scheduler at {scheduler} has no workers yet: waiting for the first")
                client.wait_for_workers(1)
            yield Workers(lambda: sum(client.nthreads().values()), _submission(client))
    elif count == 0:
        with ThreadPoolExecutor(1) as pool:
            try:
                yield Workers(lambda: 1, pool.submit)
            finally:
                pool.shutdown(cancel_futures=True)
    else:
        number = os.cpu_count() or 1 if count is None else count
        with _local_cluster(number, memory) as client:
            yield Workers(lambda: number, _submission(client))


def _submission(client: Client) -> Callable[[Task], Any]:
    return lambda task: client.submit(task, pure=False)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError) as error:  # nobody answers, or this is no address
        reason = " ".join(str(error).split())
        raise InputError(
            f"no dask scheduler answers at {address} ({reason}); give its address as it prints it, tcp://HOST:PORT"
        ) from error
    with client:
        yield client


@contextmanager
def _local_cluster(count: int, memory: str) -> Iterator[Client]:
    import dask
    from dask.utils import parse_bytes
    from distributed import Client, LocalCluster

    try:
        parse_bytes(memory)
    except ValueError as error:
        raise InputError(f"memory is an amount like 1GiB or 800MB, not {memory!r}") from error
    settings = {
        "distributed.scheduler.allowed-failures": 0,  # who gets a worker killed is tried again by Workers.run alone
        "distributed.worker.memory.pause": False,  # one task at a time: a paused worker would never go on
        "distributed.worker.memory.spill": False,
        "distributed.worker.memory.target": False,
    }
    with dask.config.set(settings), _deaf_to_interrupts():
        cluster = LocalCluster(
            n_workers=count,
            threads_per_worker=1,
            memory_limit=memory,
            dashboard_address="127.0.0.1:0",
            preload=["tiling.worker_process"],
            silence_logs=logging.CRITICAL,
        )
    with cluster, Client(cluster, set_as_default=False) as client:
        yield client


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started within do not hear Ctrl-C: it is this process that stops them."""
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except ValueError:  # not in the main thread, where no Ctrl-C arrives either
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _trace(future: Any, error: BaseException) -> str:
    """The traceback of an error; dask keeps it beside the error, futures of this process in it."""
    trace = future.traceback() if hasattr(future, "traceback") else error.__traceback__
    return without_places("".join(traceback.format_exception(type(error), error, trace)))
