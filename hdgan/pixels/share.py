"""The members of an ensemble that a process trains, where several processes train one ensemble."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from hdgan.pixels.ensemble import has_members, rows_of
from training.host import Host


@dataclass(frozen=True, eq=False)
class Share:
    """A process's part of the members, and the ways from tensors of all members to tensors of these and back.

    Attributes
    ----------
    host
        The process.
    members
        How many there are in all processes.
    """

    host: Host
    members: int

    @property
    def own(self) -> range:
        """Which members are this process's."""
        return self.host.part(self.members)

    def drawn(self, draw: Callable[[int], Tensor]) -> Tensor:
        """(own, ...) of what is drawn for so many members (M, ...): the same numbers, however they are shared out."""
        return rows_of(self.own, draw(self.members), self.members)

    def cut(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """This process's part of named tensors of all members; what members do not have is as it was."""
        return {
            name: rows_of(self.own, value, self.members) if _is_of_members(name, value) else value
            for name, value in named.items()
        }

    def joined(self, named: Mapping[str, Any]) -> dict[str, Any]:
        """Named tensors of all members from what all processes give of theirs, each its part."""
        return {
            name: self.joined_rows(value) if _is_of_members(name, value) else value for name, value in named.items()
        }

    def joined_rows(self, own: Tensor) -> Tensor:
        """The same of one tensor."""
        by_member = own.unflatten(0, (len(self.own), -1))
        return self.host.joined(by_member, self.members).flatten(0, 1)


def _is_of_members(name: str, value: Any) -> bool:
    return isinstance(value, Tensor) and has_members(name, value)
