"""Mappings whose values are made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LazyMapping(Mapping[int, Value], Generic[Value]):
    """Values by index, each read at every access and held by nobody.

    Parameters
    ----------
    indices
        The keys, in order.
    read
        Gives the value of one.
    """

    def __init__(self, indices: Collection[int], read: Callable[[int], Value]) -> None:
        self._indices, self._read = dict.fromkeys(indices), read

    def __getitem__(self, index: int) -> Value:
        if index not in self._indices:
            raise KeyError(index)
        return self._read(index)

    def __contains__(self, index: object) -> bool:
        return index in self._indices  # the inherited test would read the value

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)
