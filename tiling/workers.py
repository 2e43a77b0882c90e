"""Where the work on an archive is done: in this process, on workers of this machine, or on any dask scheduler."""

from __future__ import annotations

import logging
import math
import os
import queue
import signal
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar
from urllib.parse import urlsplit

from tiling.errors import InputError, is_passing
from tiling.progress import note
from tiling.traces import without_places
from tiling.wording import one_line

if TYPE_CHECKING:
    from distributed import Client

T = TypeVar("T", bound="Task")
MEMORY = "1GiB"  # that a worker of this machine may take
_LEAST_MEMORY = 100 << 20  # bytes: with less it is restarted for ever, before it has done anything
_SECONDS_TO_CONNECT = 10
_SECONDS_OF_SILENCE = 20
_SECONDS_OF_REST = 2.0  # before a disk is tried again for the first time
_LONGER = 5  # times, from rest to rest


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


@dataclass(frozen=True)
class _Attempt(Generic[T]):
    """A task that is tried, for the how manieth time (from 0) and not before when, by the monotonic clock."""

    task: T
    number: int = 0
    due: float = 0.0


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
        again `retries` times: at once, as a worker may have been killed, or after a rest that grows from time to time,
        where a disk or a network did not answer.

        Raises
        ------
        InputError
            If the scheduler is lost.
        """
        running: dict[Any, _Attempt[T]] = {}
        resting: list[_Attempt[T]] = []
        while True:
            for attempt in [attempt for attempt in resting if attempt.due <= time.monotonic()]:
                resting.remove(attempt)
                self._start(attempt, running)
            while tasks and len(running) < max(1, self.count()):
                self._start(_Attempt(tasks.popleft()), running)
            if not running and not resting:
                return
            future = self._next(min((attempt.due for attempt in resting), default=math.inf))
            if future is None:
                continue
            attempt = running.pop(future)
            if future.cancelled():
                raise InputError(
                    "the scheduler is lost, with what it was doing; run the same command again when it is back: what "
                    "was done is kept"
                )
            error = future.exception()
            if error is None:
                yield Done(attempt.task, result=future.result())
            elif attempt.number == retries:
                yield Done(attempt.task, error=error, trace=_trace(future, error))
            elif is_passing(error):
                rest = _SECONDS_OF_REST * _LONGER**attempt.number
                resting.append(_Attempt(attempt.task, attempt.number + 1, time.monotonic() + rest))
            else:
                self._start(_Attempt(attempt.task, attempt.number + 1), running)

    def _next(self, due: float) -> Any:
        """The next future that ends, None when it is `due`; says so if nobody is there any more who could end one."""
        told = False
        while True:
            left = max(0.0, due - time.monotonic())
            try:
                return self._ended.get(timeout=min(left, _SECONDS_OF_SILENCE))
            except queue.Empty:
                if left <= _SECONDS_OF_SILENCE:
                    return None
                if not told and not self.count():
                    note("all workers are gone: waiting for others, which go on where these were")
                    told = True

    def _start(self, attempt: _Attempt[T], running: dict[Any, _Attempt[T]]) -> None:
        future = self._submit(attempt.task)
        running[future] = attempt
        future.add_done_callback(self._ended.put)


def check_workers(*, scheduler: str | None, count: int | None, memory: str | None) -> None:
    """An :class:`InputError` for what :func:`start_workers` refuses before it starts or asks anybody."""
    if scheduler is not None:
        for name, value in (("workers", count), ("memory", memory)):
            if value is not None:
                raise InputError(
                    f"{name} (--{name}) {value} is about workers of this machine, and those of the scheduler "
                    f"{scheduler} are to do the work: tell it when you start them, and leave --{name} out"
                )
        _refuse_if_no_address(scheduler)
    if memory is not None:
        _refuse_if_no_memory(memory)


@contextmanager
def start_workers(*, scheduler: str | None, count: int | None, memory: str | None = None) -> Iterator[Workers]:
    """Start workers, or find those of a scheduler; they end with the block.

    Parameters
    ----------
    scheduler
        Address of a dask scheduler (`tcp://host:8786`), whose workers see the same files under the same paths and
        have this package installed. None starts workers on this machine.
    count
        How many on this machine, one core each; 0 works in this process, None takes a worker per core.
    memory
        What a worker on this machine may take, as dask writes it: by default `1GiB`. One that takes more is restarted.

    Raises
    ------
    InputError
        If the scheduler does not answer, the memory is no amount of memory, or workers of this machine are asked for
        beside a scheduler, which has its own.
    """
    check_workers(scheduler=scheduler, count=count, memory=memory)
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
        with _local_cluster(number, memory or MEMORY) as client:
            yield Workers(lambda: number, _submission(client))


def _submission(client: Client) -> Callable[[Task], Any]:
    return lambda task: client.submit(task, pure=False)


@contextmanager
def _connected(address: str) -> Iterator[Client]:
    from distributed import Client

    with _silent("distributed.client"):  # that the scheduler is lost is told by an error of ours
        try:
            client = Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no dask scheduler answers at {address} ({one_line(error)}); give its address as it prints it, "
                "tcp://HOST:PORT"
            ) from error
        with client:
            yield client


@contextmanager
def _silent(logger: str) -> Iterator[None]:
    """Let a library print nothing."""
    before = logging.getLogger(logger).level
    logging.getLogger(logger).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logging.getLogger(logger).setLevel(before)


def _refuse_if_no_address(address: str) -> None:
    """Refuse what dask would try for ever."""
    from distributed.comm.registry import backends

    scheme, _, place = address.rpartition("://")
    try:
        url = urlsplit(f"//{place}")
        whole = scheme == "inproc" or bool(url.hostname and url.port)
    except ValueError:  # a port that is none
        whole = False
    if not whole or scheme not in {"", *backends}:
        raise InputError(
            f"a dask scheduler's address is like tcp://HOST:8786, not {address!r}; give it as it prints it"
        )


def _refuse_if_no_memory(memory: str) -> None:
    from dask.utils import parse_bytes

    try:
        enough = parse_bytes(memory) >= _LEAST_MEMORY
    except ValueError:
        enough = False
    if not enough:
        raise InputError(f"memory (--memory) is an amount of 100MiB or more, like 1GiB or 800MB, not {memory!r}")


@contextmanager
def _local_cluster(count: int, memory: str) -> Iterator[Client]:
    import dask
    from distributed import Client, LocalCluster

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
