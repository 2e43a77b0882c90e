"""Augmenters whose samples come from a network that is trained by steps."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from hdgan.augmenters.base import AUGMENTER, CONFIG, ORIGINS, SHEETS, Augmenter, Shape
from hdgan.augmenters.batches import as_rgb, one_hot, to_pixels
from hdgan.augmenters.images import LabelledImages, Pixels, fingerprint_of
from hdgan.augmenters.trainer import SamplerTrainer
from hdgan.labels import Image
from hdgan.pictures import contact_sheet, write_png
from hdgan.provenance import digest
from tiling.errors import InputError
from tiling.files import remove, write_json
from tiling.progress import note
from tiling.stage import Stage
from training.checkpoint import build_network
from training.draws import sample_draws
from training.host import Host
from training.loop import CHECKPOINTS, LoopConfig, run_loop

_COLUMNS, _MOST_ROWS, _THUMBNAIL = 8, 12, 64
_SHEETS = 10  # in the course of a training


class NetworkConfig(Protocol):
    """What the settings of all these methods have."""

    @property
    def steps(self) -> int:
        """Of the training."""

    @property
    def batch(self) -> int:
        """Images in a step, over all processes."""

    @property
    def latent(self) -> int:
        """Dimensions of z."""


class NetworkAugmenter(Augmenter):
    """An augmenter that asks a network for images (n, C, H, W) in [-1, 1] of z (n, latent) and classes (n, K) one-hot.

    A method gives the network and what trains it.
    """

    config: NetworkConfig

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__(config)
        self._network: nn.Module | None = None

    @abstractmethod
    def build(self, shape: Shape) -> nn.Module:
        """The network that samples come from, initialised by PyTorch's own draws."""

    @abstractmethod
    def trainer(self, images: LabelledImages, *, unlabelled: Pixels | None, seed: int, host: Host) -> SamplerTrainer:
        """What trains the network, at its beginning."""

    def finish(self, trainer: SamplerTrainer, run: Path) -> None:
        """Write what a method leaves besides the network that samples come from."""

    def fit(
        self,
        labelled: LabelledImages,
        *,
        unlabelled: Pixels | None = None,
        run: Path | str,
        seed: int = 0,
        device: str = "auto",
        inputs: Mapping[str, Path] | None = None,
        redo: bool = False,
    ) -> Self:
        """As :meth:`Augmenter.fit`. Started by `torchrun` or `accelerate launch`, processes share every batch."""
        labelled.require_classes()
        run, host = Path(run), Host(device)
        trainer = self.trainer(labelled, unlabelled=unlabelled, seed=seed, host=host)
        settings = {
            "method": self.name,
            **asdict(self.config),  # type: ignore[call-overload]
            "parts": trainer.share.count,
            "seed": seed,
            "classes": labelled.counts,
            "images": _digest(labelled, unlabelled),
        }
        loop = LoopConfig(
            steps=self.config.steps, picture_every=max(self.config.steps // _SHEETS, 1), images=self.config.batch
        )
        shape = Shape.of(labelled)
        stage = host.led(
            lambda: Stage.begin(
                run, name="augment", config=settings, inputs=dict(inputs or {}), origins=ORIGINS, redo=redo
            )
        )
        if stage is None:
            if host.told():
                run_loop(trainer, run, loop, self.name, host=host)
            host.told()
            return self.take(run / AUGMENTER)
        with stage:
            host.told(not stage.complete)
            if not stage.complete:
                write_json(run / CONFIG, settings)
                note(
                    f"{self.name}: training on {len(labelled)} images of {shape.size} px, {loop.steps} steps of "
                    f"{self.config.batch}"
                )
                picture = self._picture(trainer, shape, run)
                run_loop(trainer, run, loop, self.name, picture=picture, host=host)
                self._shape, self.licence = shape, tuple(sorted({*labelled.licence, *stage.record["licence"]}))
                self._network = trainer.sampler().cpu()
                self.save(run / AUGMENTER)
                self.finish(trainer, run)
                stage.finish(principal=[run / AUGMENTER], summary={"steps": loop.steps}, licence=self.licence)
                remove(run / CHECKPOINTS)
        host.told()
        return self.take(run / AUGMENTER)

    def _picture(self, trainer: SamplerTrainer, shape: Shape, run: Path) -> Callable[[int], None]:
        """Writes a contact sheet of the samples as they are now, a row for each class."""

        def picture(done: int) -> None:
            self._shape, self._network = shape, trainer.sampler()
            rows = [self.sample(_COLUMNS, label, seed=0) for label in range(min(len(shape.classes), _MOST_ROWS))]
            images = [as_rgb(image) for row in rows for image in row]
            captions = [name for name in shape.classes[:_MOST_ROWS] for _ in range(_COLUMNS)]
            (run / SHEETS).mkdir(exist_ok=True)
            sheet = contact_sheet(images, columns=_COLUMNS, captions=captions, size=max(shape.size, _THUMBNAIL))
            write_png(run / SHEETS / f"step-{done:08d}.png", sheet)

        return picture

    def _draw(self, label: int, seed: int, samples: Sequence[int]) -> Image:
        network = self._fitted()
        z = self._latents(label, seed, samples)
        c = one_hot(torch.full((len(samples),), label), len(self.classes))
        device = next(network.parameters()).device
        with torch.no_grad():
            return to_pixels(network(z.to(device), c.to(device)))

    def _latents(self, label: int, seed: int, samples: Sequence[int]) -> Tensor:
        """z of some samples of a class, (n, latent) float32 on the CPU."""
        draws = sample_draws(seed, f"samples of class {label}", 0, samples)
        return torch.stack([torch.randn(self.config.latent, generator=each) for each in draws])

    def _fitted(self) -> nn.Module:
        if self._network is None:
            raise InputError(f"this {self.name} augmenter is not fitted: call fit, or load one that was saved")
        return self._network

    def _tensors(self) -> Mapping[str, Tensor]:
        return self._fitted().state_dict()

    def _restore(self, tensors: Mapping[str, Tensor], path: Path) -> None:
        network = build_network(lambda: self.build(self.shape), tensors, path)
        self._network = network.eval().requires_grad_(False)


def _digest(labelled: LabelledImages, unlabelled: Pixels | None) -> str:
    """Fingerprint of what is trained on."""
    of = {"labels": digest({"labels": labelled.labels}), "labelled": fingerprint_of(labelled.pixels)}
    if unlabelled is not None:
        of["unlabelled"] = fingerprint_of(unlabelled)
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()
