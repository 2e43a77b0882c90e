"""What every augmenter is: fitted on labelled images, it gives more of a class that is asked for."""

from __future__ import annotations

import reprlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from hdgan.augmenters.images import (
    LEAST,
    MOST,
    LabelledImages,
    Pixels,
    check_classes,
    check_pixels,
    fingerprint_of,
)
from hdgan.augmenters.sources import ImageSource, as_images
from hdgan.augmenters.work import Task, Work, together
from hdgan.checks import check_choice, check_number, check_texts, plain
from hdgan.labels import Image
from tiling.errors import InputError
from tiling.progress import note
from tiling.stage import Stage
from tiling.wording import first_few
from training.checkpoint import load_weights, save_weights

KIND = "augmenter"
HEADER = ("method", "config", "shape", "licence")
AUGMENTER = "augmenter.safetensors"
SHEETS = "samples"
PRECISIONS = ("auto", "fp32", "bf16")
ORIGINS = {"images": "other images, or other labels", "classes": "other classes, or other numbers of images"}
LAST_SEED = 2**63 - 1
_SAMPLES_AT_ONCE = 64


@dataclass(frozen=True)
class Shape:
    """What an augmenter makes.

    Attributes
    ----------
    size
        Edge of the images, px.
    channels
        1 (grey) or 3 (RGB).
    classes
        Names, in the order of the labels.
    """

    size: int
    channels: int
    classes: tuple[str, ...]

    @classmethod
    def of(cls, images: LabelledImages) -> Shape:
        """That of images."""
        return cls(images.shape[0], images.shape[2], images.classes)

    def __str__(self) -> str:
        return f"{self.size} px, {'RGB' if self.channels == 3 else 'grey'}, of {first_few(self.classes)}"

    @classmethod
    def read(cls, about: object) -> Shape:
        """That in a file's header, checked."""
        if not isinstance(about, dict) or set(about) != {"size", "channels", "classes"}:
            raise InputError(f"the shape of an augmenter is its size, channels and classes, not {reprlib.repr(about)}")
        check_number("size", about["size"], LEAST, MOST)
        check_number("channels", about["channels"], 1, 3)
        if about["channels"] == 2:
            raise InputError("channels must be 1 or 3, not 2")
        check_texts("classes", about["classes"])
        check_classes(about["classes"])
        return cls(about["size"], about["channels"], tuple(about["classes"]))


class Augmenter(ABC):
    """One method with its settings; made by :func:`hdgan.augmenters.create`.

    Attributes
    ----------
    name
        Of the method, in the registry.
    config
        Its settings.
    shape
        What it makes, once it is fitted.
    licence
        Terms of what it was fitted on.
    """

    name: ClassVar[str]
    settings: ClassVar[type[Any]]
    """The dataclass of its settings."""
    learns_unlabelled: ClassVar[bool] = False
    """Whether it learns from unlabelled images, too."""

    holds_images: ClassVar[bool] = False
    """Whether its file holds the images that it was fitted on, in the clear."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.licence: tuple[str, ...] = ()
        self._shape: Shape | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.config})"

    @classmethod
    def settings_of(cls, config: Mapping[str, Any]) -> Any:
        """The method's settings, its defaults but for some; an :class:`InputError` for one that it does not have."""
        known = [field.name for field in fields(cls.settings)]
        if unknown := [key for key in config if key not in known]:
            raise InputError(f"{cls.name} has no setting {unknown[0]!r}; there are: {', '.join(known)}")
        return cls.settings(**{key: plain(value) for key, value in config.items()})

    @property
    def shape(self) -> Shape:
        """What it makes; an :class:`InputError` if it is not fitted."""
        if self._shape is None:
            raise InputError(f"this {self.name} augmenter is not fitted: call fit, or load one that was saved")
        return self._shape

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the labels."""
        return self.shape.classes

    def place(self, label: int | str) -> int:
        """The place of a class, given that (a text of digits, too) or its name; an :class:`InputError` for no class."""
        if isinstance(label, str) and label in self.classes:
            return self.classes.index(label)
        if isinstance(label, str) and label.isdecimal() and int(label) < len(self.classes):
            return int(label)
        label = plain(label)
        if isinstance(label, int) and not isinstance(label, bool) and 0 <= label < len(self.classes):
            return label
        raise InputError(f"no class {label!r}; there are: {', '.join(self.classes)}")

    def check(self, images: LabelledImages) -> None:
        """An :class:`InputError` for images that it cannot learn from, which is known before anything is trained."""
        images.require_classes()

    def fit(
        self,
        labelled: ImageSource,
        *,
        unlabelled: Pixels | None = None,
        run: Path | str,
        seed: int = 0,
        device: str = "auto",
        precision: str = "auto",
        tensorboard: bool = False,
        inputs: Mapping[str, Path] | None = None,
        redo: bool = False,
    ) -> Self:
        """Learn from images; a fit that was stopped goes on when it is called again.

        Parameters
        ----------
        labelled
            Images of two classes or more: :class:`LabelledImages`; a pair of arrays, images (N, H, W) or (N, H, W, C)
            uint8 and labels (N,) from 0; or a place, of which :func:`open_images` gives what is to train on.
        unlabelled
            More images (N, H, W, C) uint8 of the same size, for methods that learn from them. For others they are
            passed over, with a note.
        run
            Folder for `augmenter.safetensors`, `metrics.jsonl` (every loss by its name) and `samples/` (contact sheets,
            a row for each class).
        seed
            Of all draws.
        device
            "auto" (a GPU if there is one), "cpu" or "cuda".
        precision
            What networks compute in: "fp32", "bf16", or "auto" (bf16 on GPUs that have it); GMCL's in float32 in any
            case. Weights, losses and what samples are normalised by are float32. It is not in the record.
        tensorboard
            Log for TensorBoard, too, into `tensorboard/`.
        inputs
            The folders and files that the images come from; their fingerprints and licences are recorded.
        redo
            Discard what is there.

        Returns
        -------
        Augmenter
            Itself, fitted.

        Raises
        ------
        InputError
            For images of one class, fewer than a batch, or of a size that the method cannot make.
        """
        seed = plain(seed)
        check_number("seed", seed, 0, LAST_SEED)
        check_choice("precision", precision, PRECISIONS)
        run, labelled = Path(run), as_images(labelled)
        self.check(labelled)
        shape, used = Shape.of(labelled), self._used(unlabelled, labelled)
        work = self._begin(Task(labelled, used, run, seed, device, precision, tensorboard, dict(inputs or {})))
        settings = {
            "method": self.name,
            **asdict(self.config),
            **work.settings,
            "classes": labelled.counts,
            "images": labelled.fingerprint() if used is None else [labelled.fingerprint(), fingerprint_of(used)],
        }
        defaults = asdict(self.settings())

        def make(stage: Stage | None) -> None:
            if stage is None:
                work.train()
                return
            if unlabelled is not None and used is None:
                note(f"{self.name} learns nothing from unlabelled images")
            work.train()
            self._shape, self.licence = shape, tuple(sorted({*labelled.licence, *stage.record["licence"]}))
            work.take_over()
            self.save(run / AUGMENTER)
            stage.finish(principal=[run / AUGMENTER], summary=work.summary, licence=self.licence)

        begin = partial(
            Stage.begin, run, name="augment", config=settings, inputs=work.task.inputs, origins=ORIGINS,
            as_now=lambda made: {**defaults, **made}, redo=redo,
        )  # fmt: skip
        together(work.host, begin, make, temporary=work.temporary)
        return self.take(run / AUGMENTER).to(work.host.device)

    def _used(self, unlabelled: Pixels | None, labelled: LabelledImages) -> Pixels | None:
        """Unlabelled images, checked, if it learns from them."""
        if unlabelled is None:
            return None
        check_pixels(unlabelled)
        if unlabelled.shape[1:] != labelled.shape:
            raise InputError(
                f"unlabelled images are {tuple(unlabelled.shape[1:])}, and those with labels {labelled.shape}: bring "
                "them to one size and colour"
            )
        return unlabelled if self.learns_unlabelled else None

    @abstractmethod
    def _begin(self, task: Task) -> Work:
        """What is to be done for a fit; an InputError for images that the method cannot learn from."""

    @abstractmethod
    def _draw(self, label: int, seed: int, samples: Sequence[int]) -> Image:
        """Samples of a class by their numbers, (n, H, W, C) uint8."""

    @abstractmethod
    def _tensors(self) -> Mapping[str, Tensor]:
        """All that samples come from."""

    @abstractmethod
    def _restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        """Take over what :meth:`_tensors` gave, for the shape that is set."""

    def sample(self, n: int, label: int | str, *, seed: int = 0, first: int = 0) -> Image:
        """Draw images of a class.

        Parameters
        ----------
        n
            How many. Sample i depends on the seed, the class and i alone.
        label
            The class, by its place or name.
        seed
            Of all draws.
        first
            Number of the first: samples that were drawn before are left out.

        Returns
        -------
        Image
            (n, H, W, C) uint8.
        """
        n, first, seed = plain(n), plain(first), plain(seed)
        check_number("n", n, 1, 2**31)
        check_number("first", first, 0, 2**62)
        check_number("seed", seed, 0, LAST_SEED)
        which = self.place(label)
        end = first + n
        parts = [range(at, min(at + _SAMPLES_AT_ONCE, end)) for at in range(first, end, _SAMPLES_AT_ONCE)]
        return np.concatenate([self._draw(which, seed, part) for part in parts])

    def save(self, path: Path | str) -> None:
        """Write it atomically, as safetensors with JSON in the header."""
        about = {
            "method": self.name,
            "config": asdict(self.config),
            "shape": asdict(self.shape),
            "licence": list(self.licence),
        }
        save_weights(Path(path), self._tensors(), kind=KIND, about=about)

    def to(self, device: torch.device) -> Self:
        """Compute samples there from now on; returns itself. Those of a GPU differ from the CPU's by rounding."""
        return self

    def take(self, path: Path | str) -> Self:
        """Become the augmenter that a file holds, which is of this method and these settings."""
        tensors, about = load_weights(Path(path), kind=KIND, needs=HEADER)
        if about["method"] != self.name or self.settings_of(about["config"]) != self.config:
            raise InputError(f"{path} is of {about['method']} with other settings; load it by augmenters.load")
        check_texts("licence", about["licence"])
        self._shape, self.licence = Shape.read(about["shape"]), tuple(about["licence"])
        self._restore(tensors, Path(path))
        return self
