"""What of every batch one process computes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tiling.errors import InputError
from tiling.wording import counted
from training.host import Host


@dataclass(frozen=True)
class Share:
    """The samples of a batch that a process computes, in parts that go through the networks one at a time.

    Batch norm compares the samples of a part. So into how many parts a batch is cut decides what is trained; how many
    processes compute them does not.

    Attributes
    ----------
    batch
        Samples in a batch, over all processes.
    parts
        This process's, as places in the batch.
    count
        How many parts the batch has, over all processes.
    """

    batch: int
    parts: Sequence[range]
    count: int

    @classmethod
    def of(cls, batch: int, host: Host, parts: int | None = None) -> Share:
        """That of a process; by default each computes one part."""
        count = host.count if parts is None else parts
        if count < 1 or batch % count or count % host.count:
            processes = counted(host.count, "process", "processes")
            raise InputError(
                f"a batch of {batch} cannot be cut into {counted(count, 'part')} for {processes}: take a multiple of "
                "the processes that divides the batch"
            )
        size = batch // count
        return cls(batch, [range(part * size, (part + 1) * size) for part in host.part(count)], count)

    @property
    def samples(self) -> range:
        """All of this process's."""
        return range(self.parts[0].start, self.parts[-1].stop)
