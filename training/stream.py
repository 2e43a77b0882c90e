"""Batches made ahead of time in threads, in order and in bounded number."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(make: Callable[[int], T], start: int, stop: int, *, ahead: int = 4, threads: int = 1) -> Iterator[T]:
    """Yield make(start), ..., make(stop - 1), computing up to `ahead` of them in advance.

    `make` gets the index of the batch and nothing else, so a resumed run sees the same batches.

    Examples
    --------
    >>> list(prefetch(lambda i: i * i, 2, 5))
    [4, 9, 16]
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="prefetch")
    pending: deque[Future[T]] = deque()
    following = start
    try:
        while pending or following < stop:
            while following < stop and len(pending) < ahead:
                pending.append(pool.submit(make, following))
                following += 1
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
