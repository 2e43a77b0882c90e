"""Fit a segmentation network on image-mask pairs; a killed run goes on to the same result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from hdgan.labels import UNLABELLED, ClassList
from hdgan.segment.crops import LabelledImages, draw_crop, survey
from hdgan.segment.network import STRIDE, UNet
from hdgan.segment.precision import autocast
from hdgan.segment.predict import WEIGHTS, Segmenter, place_network, to_network
from tiling.errors import InputError
from tiling.files import remove
from tiling.stage import Stage
from training.devices import choose_device
from training.draws import numpy_draws
from training.loop import CHECKPOINTS, LoopConfig, run_loop
from training.metrics import read_metrics


@dataclass(frozen=True)
class FitConfig:
    """How a network is fitted; everything here decides the result."""

    steps: int
    batch: int
    """Crops in a step."""
    crop: int
    """Side of a crop, px, a multiple of 8."""
    seed: int
    balanced: bool
    """Draw crops by class, so that rare classes are seen as often as common ones."""
    width: int
    """Channels of the network at full resolution."""
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "crop", "width", "learning_rate"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}")
        if self.crop % STRIDE:
            raise InputError(f"crop must be a multiple of {STRIDE} px, not {self.crop}")
        if self.seed < 0 or self.weight_decay < 0:
            raise InputError(f"seed and weight_decay must not be negative, not {self.seed} and {self.weight_decay}")

    def rate_at(self, step: int) -> float:
        """Learning rate: linear over the first twentieth, then half a cosine down to zero."""
        warm_up = max(1, self.steps // 20)
        decayed = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * min(1.0, (step + 1) / warm_up) * decayed


def fit_segmenter(
    pairs: LabelledImages,
    out: Path,
    *,
    classes: ClassList,
    steps: int = 400,
    batch: int = 16,
    crop: int = 96,
    seed: int = 0,
    balanced: bool = True,
    width: int = 16,
    inputs: Mapping[str, Path] | None = None,
    checkpoint_every: int = 100,
    device: str = "cpu",
    redo: bool = False,
) -> Segmenter:
    """Fit a U-Net by cross-entropy and soft Dice (Milletari et al. 2016, V-Net, section 3); 255 is ignored.

    Every crop's draws are keyed by the seed and the crop's number: a run that was killed goes on from its last
    checkpoint when called again, and ends with the weights of one that was not (on the same kind of machine and
    number of threads).

    Parameters
    ----------
    pairs
        (H, W, 3) uint8 images and (H, W) uint8 labels by index, read as they are drawn.
    out
        Folder for weights, `classes.json`, `metrics.jsonl` (loss by step) and the record of the stage.
    classes
        The classes of the labels.
    steps, batch, crop, seed, balanced, width
        As in :class:`FitConfig`; the defaults suit about a hundred tiles of 128 px.
    inputs
        The folders that the pairs come from: their fingerprints and licences are recorded. The pairs' own
        fingerprint always is.
    checkpoint_every
        Steps between checkpoints.
    device
        Where to fit: "auto" (a GPU if there is one), "cpu" or "cuda".
    redo
        Discard what is in `out`.

    Returns
    -------
    Segmenter
        The fitted network; read back when `out` is complete already.

    Raises
    ------
    InputError
        For pairs that cannot be learnt from, or an `out` made from other pairs or settings.
    """
    config = FitConfig(steps=steps, batch=batch, crop=crop, seed=seed, balanced=balanced, width=width)
    loop = LoopConfig(steps=config.steps, checkpoint_every=checkpoint_every)
    surveyed = survey(pairs, classes, crop=config.crop)
    settings = asdict(config) | {"classes": classes.names, "pairs": surveyed.fingerprint}
    origins = {"pairs": "other pairs"}
    with Stage.begin(out, name="segment", config=settings, inputs=inputs or {}, origins=origins, redo=redo) as stage:
        if not stage.complete:
            trainer = SegmenterTrainer(pairs, surveyed.present, config, choose_device(device))
            run_loop(trainer, out, loop, "fitting a segmenter")
            Segmenter(trainer.network, classes).save(out)
            loss = read_metrics(out)[-1]["loss"]
            stage.finish(principal=[out / WEIGHTS], summary={"steps": config.steps, "loss": loss})
            remove(out / CHECKPOINTS)
    return Segmenter.load(out, device=device)


class SegmenterTrainer:
    """A U-Net and its optimiser, a batch of crops at a time. Fits :class:`training.loop.Trainer`.

    Parameters
    ----------
    pairs
        The image-mask pairs.
    present
        (N, K) bool: whether pair n has pixels of class k.
    """

    def __init__(
        self, pairs: LabelledImages, present: npt.NDArray[np.bool_], config: FitConfig, device: torch.device
    ) -> None:
        self._pairs, self._present, self._config, self._device = pairs, present, config, device
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            network = UNet(present.shape[1], width=config.width)
        self.network = place_network(network, device).train()
        self._optimiser = torch.optim.AdamW(self.network.parameters(), weight_decay=config.weight_decay)

    def step(self, index: int) -> Mapping[str, float]:
        """Learn from batch `index`."""
        images, labels = self._batch(index)
        for group in self._optimiser.param_groups:
            group["lr"] = self._config.rate_at(index)
        with autocast(self._device):
            logits = self.network(to_network(images.to(self._device)))
        loss = segmentation_loss(logits.float(), labels.to(self._device))
        self._optimiser.zero_grad()
        loss.backward()
        self._optimiser.step()
        return {"loss": loss.item()}

    def state(self) -> Mapping[str, Any]:
        """Everything that later steps depend on."""
        return {"network": self.network.state_dict(), "optimiser": self._optimiser.state_dict()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])

    def _batch(self, index: int) -> tuple[Tensor, Tensor]:
        """The crops (batch, crop, crop, 3) uint8 of a step and their labels (batch, crop, crop) uint8."""
        config = self._config
        crops = [
            draw_crop(
                self._pairs,
                self._present,
                numpy_draws(config.seed, "crop", number),
                crop=config.crop,
                balanced=config.balanced,
            )
            for number in range(index * config.batch, (index + 1) * config.batch)
        ]
        images, labels = (np.stack(part) for part in zip(*crops, strict=True))
        return torch.from_numpy(images), torch.from_numpy(labels)


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus soft Dice loss over the labelled pixels.

    Parameters
    ----------
    logits
        (N, K, H, W) float32.
    labels
        (N, H, W) uint8, 255 ignored.

    Returns
    -------
    Tensor
        Scalar; the Dice part averages over the classes that occur in the batch, 0 where nothing is labelled.
    """
    known = labels != UNLABELLED
    target = torch.where(known, labels, 0).long()
    entropy = (functional.cross_entropy(logits, target, reduction="none") * known).sum() / known.sum().clamp(min=1)
    truth = functional.one_hot(target, logits.shape[1]).movedim(-1, 1) * known[:, None]
    probabilities = logits.softmax(dim=1) * known[:, None]
    area = truth.sum(dim=(0, 2, 3))
    overlap = (probabilities * truth).sum(dim=(0, 2, 3))
    dice = (2 * overlap + 1) / (probabilities.sum(dim=(0, 2, 3)) + area + 1)
    present = area > 0
    return entropy + ((1 - dice) * present).sum() / present.sum().clamp(min=1)
