"""The work of one fit, as each method does it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdgan.augmenters.images import LabelledImages, Pixels
from tiling.files import remove
from tiling.stage import Stage
from training.host import Host


@dataclass(frozen=True)
class Task:
    """What :meth:`hdgan.augmenters.base.Augmenter.fit` was asked for."""

    labelled: LabelledImages
    unlabelled: Pixels | None
    run: Path
    seed: int
    device: str
    precision: str
    tensorboard: bool
    inputs: dict[str, Path]


class Work(ABC):
    """What a method does for a fit, between the beginning of its stage and the end.

    Attributes
    ----------
    task
        What was asked for.
    host
        This process among those that fit together.
    settings
        What the result depends on, besides the method's settings and the images.
    summary
        For the record.
    temporary
        What only a fit that is not complete needs, if there is such a thing.
    """

    temporary: Path | None = None

    def __init__(self, task: Task, host: Host) -> None:
        self.task, self.host = task, host
        self.settings: dict[str, Any] = {}
        self.summary: dict[str, Any] = {}

    @abstractmethod
    def train(self) -> None:
        """Done by every process; what was stopped goes on."""

    @abstractmethod
    def take_over(self) -> None:
        """Give the augmenter what was trained, and write what the method leaves besides; the main process alone."""


def together(
    host: Host, begin: Callable[[], Stage], make: Callable[[Stage | None], object], *, temporary: Path | None
) -> None:
    """Do a stage by all processes, unless it is complete: the main one begins it, and `make` gets it there alone.

    What is temporary is removed at the end, and of a stage that is complete, too: it may have been killed just there.
    """
    with host.led(begin) or nullcontext() as stage:
        if host.told(stage is not None and not stage.complete):
            make(stage)
        if stage is not None and temporary is not None:
            remove(temporary)
    host.told()
